//! What an update of a claim says that is new, and to whom (docs/upstream/resizer.md, "Which claims").

use kubernetes::object::annotation::STORAGE_RESIZER;
use kubernetes::object::{Claim, ConditionKind};

use crate::queues::Who;

/// Whether an update says something new about the size, or about whose the volume is.
pub(crate) fn is_growth_news(old: &Claim, new: &Claim) -> bool {
    let about = |claim: &Claim| {
        let status = claim.status.as_deref();
        status.map(|status| {
            let pending = status.has(ConditionKind::FileSystemResizePending);
            (status.bound, status.capacity.clone(), status.allocated.clone(), status.state, pending)
        })
    };
    let resizer = |claim: &Claim| claim.meta.annotations.get(STORAGE_RESIZER).map(str::to_owned);
    old.meta.uid != new.meta.uid
        || old.request != new.request
        || old.volume != new.volume
        || resizer(old) != resizer(new)
        || about(old) != about(new)
}

/// Whether an update says something new about the attributes.
pub(crate) fn is_modification_news(old: &Claim, new: &Claim) -> bool {
    let about = |claim: &Claim| {
        let status = claim.status.as_deref();
        status.map(|status| (status.bound, status.attributes_class.clone(), status.modify.clone()))
    };
    old.meta.uid != new.meta.uid
        || old.volume != new.volume
        || old.attributes_class != new.attributes_class
        || about(old) != about(new)
}

/// Whom it concerns what a claim shows after a write of `who`, beside what the write itself has changed: the user may have
/// changed the specification, and the other, or the kubelet, the rest of the status.
pub(crate) fn shown(who: Who, before: &Claim, after: &Claim) -> Vec<Who> {
    let growth = match who {
        Who::Growth => before.request != after.request,
        Who::Modification => is_growth_news(before, after),
    };
    let modification = match who {
        Who::Modification => before.attributes_class != after.attributes_class,
        Who::Growth => is_modification_news(before, after),
    };
    [(Who::Growth, growth), (Who::Modification, modification)]
        .into_iter()
        .filter_map(|(who, concerned)| concerned.then_some(who))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::claim;
    use serde_json::json;

    #[test]
    fn conditions_of_errors_alone_are_no_news() {
        let condition = |kind: &str| json!({"status": {"conditions": [{"type": kind, "status": "True"}]}});
        for (name, change, growth, modification) in [
            ("nothing that is kept", json!({"metadata": {"labels": {"a": "b"}}}), false, false),
            ("a final error", condition("ControllerResizeError"), false, false),
            ("a failed modification", condition("ModifyVolumeError"), false, false),
            ("the node has still to expand", condition("FileSystemResizePending"), true, false),
            ("a request", json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}}), true, false),
            ("the capacity", json!({"status": {"capacity": {"storage": "2Gi"}}}), true, false),
            (
                "the state",
                json!({"status": {"allocatedResourceStatuses": {"storage": "NodeResizeInfeasible"}}}),
                true,
                false,
            ),
            (
                "whose the volume is",
                json!({"metadata": {"annotations": {STORAGE_RESIZER: "d"}}}),
                true,
                false,
            ),
            ("a class", json!({"spec": {"volumeAttributesClassName": "gold"}}), false, true),
            (
                "the state of a modification",
                json!({"status": {"modifyVolumeStatus": {"status": "Pending"}}}),
                false,
                true,
            ),
            ("bound", json!({"status": {"phase": "Lost"}}), true, true),
            ("re-created", json!({"metadata": {"uid": "other"}}), true, true),
        ] {
            let (old, new) = (claim(json!({})), claim(change));
            assert_eq!(is_growth_news(&old, &new), growth, "{name}");
            assert_eq!(is_modification_news(&old, &new), modification, "{name}");
        }
    }

    #[test]
    fn reply_tells_what_others_have_changed() {
        use Who::*;
        let before = claim(json!({}));
        for (name, change, after_growth, after_modification) in [
            ("nothing", json!({}), &[][..], &[][..]),
            (
                "a request",
                json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}}),
                &[Growth],
                &[Growth],
            ),
            (
                "a class",
                json!({"spec": {"volumeAttributesClassName": "c"}}),
                &[Modification],
                &[Modification],
            ),
            ("the kubelet", json!({"status": {"capacity": {"storage": "2Gi"}}}), &[], &[Growth]),
            (
                "the other's status",
                json!({"status": {"modifyVolumeStatus": {"status": "Pending"}}}),
                &[Modification],
                &[],
            ),
        ] {
            let after = claim(change);
            assert_eq!(shown(Growth, &before, &after), after_growth, "{name}");
            assert_eq!(shown(Modification, &before, &after), after_modification, "{name}");
        }
    }
}
