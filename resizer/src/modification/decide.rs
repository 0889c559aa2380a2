//! Decides which VolumeAttributesClass a volume is modified to (docs/upstream/resizer.md, "Modify").

use kubernetes::object::{Claim, ConditionKind, ModifyPhase};

use super::patch::failed_text;

/// What a claim says about the attributes of its volume.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    /// The class that the claim names; empty if it names none.
    pub(crate) wanted: &'a str,
    /// The class that the volume has; empty if it has none.
    pub(crate) current: &'a str,
    /// The last modification and its class, if it has not succeeded.
    pub(crate) last: Option<(ModifyPhase, &'a str)>,
    /// Whether condition ModifyingVolume is there.
    pub(crate) has_condition: bool,
    /// Whether a modification may be under way.
    pub(crate) may_run: bool,
}

/// What to do about the attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// The volume has the class, or none is wanted.
    Nothing,
    /// The claim no longer names a class: nothing is modified any more.
    Cancel,
    /// Finish the modification to this class, whatever the claim names now.
    Resume(&'a str),
    /// Modify to this class.
    Start(&'a str),
}

impl<'a> View<'a> {
    /// `may_run` is what this process knows of its last call. If it knows nothing, the status tells: a final error leaves
    /// its text in condition ModifyingVolume, and the next try replaces that before it calls the driver.
    ///
    /// `Differs:` upstream takes every modification in progress for uncertain after a restart, and then first finishes it
    /// although the driver has refused it.
    pub(crate) fn new(claim: &'a Claim, may_run: Option<bool>) -> Option<Self> {
        let status = claim.status.as_deref()?;
        let last = status.modify.as_deref().map(|last| (last.phase, &*last.target));
        let shown = status.condition(ConditionKind::ModifyingVolume);
        let told = || match last {
            Some((ModifyPhase::InProgress, target)) => {
                shown.is_none_or(|condition| *condition.message != *failed_text(target))
            }
            Some((ModifyPhase::Pending | ModifyPhase::Infeasible, _)) | None => false,
        };
        Some(Self {
            wanted: &claim.attributes_class,
            current: &status.attributes_class,
            last,
            has_condition: shown.is_some(),
            may_run: may_run.unwrap_or_else(told),
        })
    }

    /// Whether the claim says that the modification to this class was begun.
    pub(crate) fn is_begun(&self, class: &str) -> bool {
        self.last.is_some_and(|(phase, target)| phase != ModifyPhase::Pending && target == class)
    }

    /// Whether the driver said before that it cannot do this.
    pub(crate) fn is_infeasible(&self, class: &str) -> bool {
        self.last == Some((ModifyPhase::Infeasible, class))
    }
}

/// The next step. A target that the status does not name counts as none.
pub(crate) fn decide<'a>(view: &View<'a>) -> Step<'a> {
    match (view.last, view.wanted) {
        (None, wanted) if wanted == view.current => Step::Nothing,
        (Some((ModifyPhase::InProgress, target)), wanted)
            if !target.is_empty() && (view.may_run || wanted.is_empty()) =>
        {
            Step::Resume(target)
        }
        (_, "") if view.has_condition => Step::Cancel,
        (_, "") => Step::Nothing,
        (_, wanted) => Step::Start(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::claim;
    use ModifyPhase::*;
    use Step::*;
    use serde_json::json;

    #[test]
    fn each_claim_leads_to_its_step() {
        for (wanted, current, last, uncertain, shown, expected) in [
            ("", "", None, false, false, Nothing),
            ("gold", "gold", None, false, false, Nothing),
            ("gold", "", None, false, false, Start("gold")),
            ("gold", "silver", None, false, false, Start("gold")),
            ("", "silver", None, false, false, Nothing),
            ("", "silver", None, false, true, Cancel),
            ("", "", Some((Pending, "")), false, false, Nothing),
            ("", "", Some((Infeasible, "gold")), false, true, Cancel),
            ("", "", Some((Infeasible, "gold")), false, false, Nothing),
            ("", "", Some((InProgress, "gold")), false, true, Resume("gold")),
            ("", "", Some((InProgress, "gold")), true, true, Resume("gold")),
            ("silver", "", Some((InProgress, "gold")), true, true, Resume("gold")),
            ("silver", "", Some((InProgress, "gold")), false, true, Start("silver")),
            ("gold", "", Some((InProgress, "gold")), true, true, Resume("gold")),
            ("gold", "", Some((InProgress, "gold")), false, true, Start("gold")),
            ("gold", "", Some((InProgress, "")), true, true, Start("gold")),
            ("gold", "", Some((Infeasible, "gold")), false, true, Start("gold")),
            ("gold", "", Some((Pending, "silver")), false, false, Start("gold")),
            ("gold", "gold", Some((Pending, "silver")), false, false, Start("gold")),
        ] {
            let view = View { wanted, current, last, has_condition: shown, may_run: uncertain };
            assert_eq!(decide(&view), expected, "{view:?}");
        }
    }

    #[test]
    fn status_tells_whether_a_modification_may_be_under_way() {
        let with = |phase: &str, message: &str| {
            let condition = json!([{"type": "ModifyingVolume", "status": "True", "message": message}]);
            let last = json!({"status": phase, "targetVolumeAttributesClassName": "gold"});
            claim(json!({"status": {"conditions": condition, "modifyVolumeStatus": last}}))
        };
        for (phase, message, known, expected) in [
            ("InProgress", "Modifying volume to \"gold\" is in progress.", None, true),
            ("InProgress", "Modifying volume to \"gold\" is still in progress.", None, true),
            ("InProgress", "Modifying volume to \"gold\" failed. Waiting for retry.", None, false),
            ("InProgress", "Modifying volume to \"silver\" failed. Waiting for retry.", None, true),
            ("InProgress", "Modifying volume to \"gold\" failed. Waiting for retry.", Some(true), true),
            ("InProgress", "Modifying volume to \"gold\" is in progress.", Some(false), false),
            ("Infeasible", "", None, false),
            ("Pending", "", None, false),
        ] {
            let claim = with(phase, message);
            assert_eq!(View::new(&claim, known).unwrap().may_run, expected, "{phase} {message} {known:?}");
        }
    }

    #[test]
    fn only_the_same_class_is_infeasible() {
        let last = Some((Infeasible, "gold"));
        let view = View { wanted: "gold", current: "", last, has_condition: true, may_run: false };
        assert!(view.is_infeasible("gold") && !view.is_infeasible("silver"));
    }

    #[test]
    fn a_modification_is_begun_once_it_is_no_longer_pending() {
        for (last, expected) in [
            (None, false),
            (Some((Pending, "gold")), false),
            (Some((InProgress, "gold")), true),
            (Some((Infeasible, "gold")), true),
            (Some((InProgress, "silver")), false),
            (Some((Pending, "silver")), false),
        ] {
            let view = View { wanted: "gold", current: "", last, has_condition: false, may_run: false };
            assert_eq!(view.is_begun("gold"), expected, "{last:?}");
        }
    }
}
