//! The bodies of the writes of a modification: strategic merge patches of the claim's status and of the volume.

use kubernetes::condition::removed;
use kubernetes::object::{Claim, ConditionKind, ModifyPhase, ModifyStatus, Volume};
use serde_json::{Map, Value, json};

/// An answer that was no success, as the conditions tell it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure<'a> {
    /// Whether the driver may be at it.
    pub(super) is_open: bool,
    /// Whether the driver cannot do it.
    pub(super) is_infeasible: bool,
    /// Name of the gRPC code.
    pub(super) code: &'a str,
    /// The driver's words.
    pub(super) text: &'a str,
}

/// Condition ModifyingVolume before the call.
fn begun_text(class: &str) -> String {
    format!("Modifying volume to \"{class}\" is in progress.")
}

/// Condition ModifyingVolume after a final error. [`super::decide`] reads this text back after a restart: it must stay word
/// for word, also for claims that the Go resizer marked.
pub(super) fn failed_text(class: &str) -> String {
    format!("Modifying volume to \"{class}\" failed. Waiting for retry.")
}

fn open_text(class: &str) -> String {
    format!("Modifying volume to \"{class}\" is still in progress.")
}

/// The class is missing, or cannot be used. Target and conditions stay. `None` if the status says so already.
pub(super) fn pending(claim: &Claim) -> Option<Value> {
    let is_said = last(claim).is_some_and(|last| last.phase == ModifyPhase::Pending);
    (!is_said).then(|| json!({"status": {"modifyVolumeStatus": {"status": ModifyPhase::Pending.as_str()}}}))
}

/// Before the call. `None` if the status says so already, so that a crash during the call leaves it uncertain.
pub(super) fn begun(claim: &Claim, class: &str, now: &str) -> Option<Value> {
    let known = message(claim, ConditionKind::ModifyingVolume);
    let is_said =
        last(claim).is_some_and(|last| last.phase == ModifyPhase::InProgress && *last.target == *class);
    if is_said && known.is_some_and(|known| *known == begun_text(class) || *known == open_text(class)) {
        return None;
    }
    let conditions = json!([condition(claim, ConditionKind::ModifyingVolume, "", &begun_text(class), now)]);
    Some(
        json!({"status": {"modifyVolumeStatus": status(ModifyPhase::InProgress, class), "conditions": conditions}}),
    )
}

/// After a call that failed.
pub(super) fn failed(claim: &Claim, class: &str, failure: Failure<'_>, now: &str) -> Value {
    let phase = if failure.is_infeasible { ModifyPhase::Infeasible } else { ModifyPhase::InProgress };
    let text = if failure.is_open { open_text(class) } else { failed_text(class) };
    let conditions = json!([
        condition(claim, ConditionKind::ModifyingVolume, "", &text, now),
        condition(claim, ConditionKind::ModifyVolumeError, failure.code, failure.text, now),
    ]);
    json!({"status": {"modifyVolumeStatus": status(phase, class), "conditions": conditions}})
}

/// The claim has this class.
pub(super) fn finished(claim: &Claim, class: &str) -> Value {
    let mut status = Map::new();
    status.insert("currentVolumeAttributesClassName".to_owned(), json!(class));
    status.insert("modifyVolumeStatus".to_owned(), Value::Null);
    let gone = ConditionKind::MODIFY.into_iter().filter(|kind| has(claim, *kind));
    let gone: Vec<Value> = gone.map(|kind| removed(kind.as_str())).collect();
    if !gone.is_empty() {
        status.insert("conditions".to_owned(), Value::Array(gone));
    }
    json!({"status": status})
}

/// The claim no longer names a class: it is no longer modifying. What the last modification came to stays.
pub(super) fn cancelled() -> Value {
    json!({"status": {"conditions": [removed(ConditionKind::ModifyingVolume.as_str())]}})
}

/// The volume has this class. `None` if it says so already.
pub(super) fn of_class(volume: &Volume, class: &str) -> Option<Value> {
    let is_said = volume.size.as_ref().is_some_and(|known| *known.attributes_class == *class);
    (!is_said).then(|| json!({"spec": {"volumeAttributesClassName": class}}))
}

fn last(claim: &Claim) -> Option<&ModifyStatus> {
    claim.status.as_ref()?.modify.as_deref()
}

fn has(claim: &Claim, kind: ConditionKind) -> bool {
    claim.status.as_ref().is_some_and(|status| status.has(kind))
}

fn message(claim: &Claim, kind: ConditionKind) -> Option<&str> {
    Some(&claim.status.as_ref()?.condition(kind)?.message)
}

fn status(phase: ModifyPhase, class: &str) -> Value {
    json!({"status": phase.as_str(), "targetVolumeAttributesClassName": class})
}

/// A condition that is True. Its lastTransitionTime changes with the reason only.
fn condition(claim: &Claim, kind: ConditionKind, reason: &str, message: &str, now: &str) -> Value {
    let mut condition =
        json!({"type": kind.as_str(), "status": "True", "lastProbeTime": now, "message": message});
    let known = claim.status.as_ref().and_then(|status| status.condition(kind));
    if let Some(map) = condition.as_object_mut() {
        if !reason.is_empty() {
            map.insert("reason".to_owned(), json!(reason));
        }
        if known.is_none_or(|known| *known.reason != *reason) {
            map.insert("lastTransitionTime".to_owned(), json!(now));
        }
    }
    condition
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{NOW, claim, volume};

    const LATER: &str = "2026-01-01T00:01:00Z";

    fn after(patch: &Value) -> Claim {
        claim(patch.clone())
    }

    #[test]
    fn begun_is_written_once_a_try() {
        let body = begun(&claim(json!({})), "gold", NOW).unwrap();
        let condition = json!({
            "type": "ModifyingVolume", "status": "True", "lastProbeTime": NOW, "lastTransitionTime": NOW,
            "message": "Modifying volume to \"gold\" is in progress.",
        });
        let last = json!({"status": "InProgress", "targetVolumeAttributesClassName": "gold"});
        assert_eq!(body, json!({"status": {"modifyVolumeStatus": last, "conditions": [condition]}}));
        assert_eq!(begun(&after(&body), "gold", LATER), None);
        assert!(begun(&after(&body), "silver", LATER).is_some());
        let told = |is_open| Failure { is_open, is_infeasible: false, code: "Internal", text: "no" };
        assert_eq!(begun(&after(&failed(&after(&body), "gold", told(true), NOW)), "gold", LATER), None);
        let again = begun(&after(&failed(&after(&body), "gold", told(false), NOW)), "gold", LATER).unwrap();
        let condition = &again["status"]["conditions"][0];
        assert_eq!((condition.get("lastTransitionTime"), &condition["lastProbeTime"]), (None, &json!(LATER)));
    }

    #[test]
    fn failure_is_told_in_both_conditions() {
        for (is_open, is_infeasible, phase, message) in [
            (true, false, "InProgress", "Modifying volume to \"gold\" is still in progress."),
            (false, false, "InProgress", "Modifying volume to \"gold\" failed. Waiting for retry."),
            (false, true, "Infeasible", "Modifying volume to \"gold\" failed. Waiting for retry."),
        ] {
            let told = Failure { is_open, is_infeasible, code: "Internal", text: "no" };
            let body = failed(&claim(json!({})), "gold", told, NOW);
            let status = &body["status"];
            assert_eq!(status["modifyVolumeStatus"]["status"], phase);
            assert_eq!(status["conditions"][0]["message"], message);
            let error = json!({
                "type": "ModifyVolumeError", "status": "True", "reason": "Internal", "message": "no",
                "lastProbeTime": NOW, "lastTransitionTime": NOW,
            });
            assert_eq!(status["conditions"][1], error);
            let again = failed(&after(&body), "gold", Failure { code: "Unknown", ..told }, LATER);
            let times =
                [0, 1].map(|index| again["status"]["conditions"][index].get("lastTransitionTime").cloned());
            assert_eq!(times, [None, Some(json!(LATER))], "only a new reason is a transition");
        }
    }

    #[test]
    fn success_and_cancellation_clear_conditions() {
        let told = Failure { is_open: false, is_infeasible: true, code: "InvalidArgument", text: "no" };
        let tried = after(&failed(&claim(json!({})), "gold", told, NOW));
        let gone = |kind: &str| json!({"type": kind, "$patch": "delete"});
        assert_eq!(
            finished(&tried, "gold"),
            json!({"status": {
                "currentVolumeAttributesClassName": "gold", "modifyVolumeStatus": null,
                "conditions": [gone("ModifyingVolume"), gone("ModifyVolumeError")],
            }})
        );
        assert_eq!(cancelled(), json!({"status": {"conditions": [gone("ModifyingVolume")]}}));
    }

    #[test]
    fn missing_class_leaves_the_old_target() {
        let body = json!({"status": {"modifyVolumeStatus": {"status": "Pending"}}});
        assert_eq!(pending(&claim(json!({}))), Some(body.clone()));
        assert_eq!(pending(&after(&body)), None);
    }

    #[test]
    fn volume_is_told_its_class_once() {
        assert_eq!(
            of_class(&volume(json!({})), "gold"),
            Some(json!({"spec": {"volumeAttributesClassName": "gold"}}))
        );
        assert_eq!(of_class(&volume(json!({"spec": {"volumeAttributesClassName": "gold"}})), "gold"), None);
    }
}
