//! What an update of a claim says that is new, and to which operation (docs/upstream/resizer.md, "Which claims").
//!
//! Each field that a `View` of `growth::decide` or `modification::decide` reads must be looked at here too, except the
//! conditions of errors, which are our own.

use kubernetes::object::annotation::STORAGE_RESIZER;
use kubernetes::object::{Claim, ConditionKind};

use crate::queues::Operation;

/// Whether an update says something new about the size, or about whose the volume is.
fn is_growth_news(old: &Claim, new: &Claim) -> bool {
    let about = |claim: &Claim| {
        let status = claim.status.as_deref();
        status.map(|status| {
            let pending = status.has(ConditionKind::FileSystemResizePending);
            (status.capacity.clone(), status.allocated.clone(), status.state, pending)
        })
    };
    asks_for_another_size(old, new) || about(old) != about(new)
}

/// Whether an update says something new about the attributes.
fn is_modification_news(old: &Claim, new: &Claim) -> bool {
    let about = |claim: &Claim| {
        let status = claim.status.as_deref();
        status.map(|status| (status.attributes_class.clone(), status.modify.clone()))
    };
    names_another_class(old, new) || about(old) != about(new)
}

fn asks_for_another_size(old: &Claim, new: &Claim) -> bool {
    let resizer = |claim: &Claim| claim.meta.annotations.get(STORAGE_RESIZER).map(str::to_owned);
    has_another_volume(old, new) || old.request != new.request || resizer(old) != resizer(new)
}

fn names_another_class(old: &Claim, new: &Claim) -> bool {
    has_another_volume(old, new) || old.attributes_class != new.attributes_class
}

fn has_another_volume(old: &Claim, new: &Claim) -> bool {
    let bound = |claim: &Claim| claim.status.as_deref().map(|status| status.bound);
    old.meta.uid != new.meta.uid || old.volume != new.volume || bound(old) != bound(new)
}

/// Whether an update says something new about what is asked for, beside what this operation itself writes.
pub(crate) fn asks_for_something_else(operation: Operation, old: &Claim, new: &Claim) -> bool {
    match operation {
        Operation::Growth => asks_for_another_size(old, new),
        Operation::Modification => names_another_class(old, new),
    }
}

/// Whether an update says something new to this operation.
pub(crate) fn is_news(operation: Operation, old: &Claim, new: &Claim) -> bool {
    match operation {
        Operation::Growth => is_growth_news(old, new),
        Operation::Modification => is_modification_news(old, new),
    }
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
            (
                "the allocated size",
                json!({"status": {"allocatedResources": {"storage": "2Gi"}}}),
                true,
                false,
            ),
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
            assert_eq!(is_news(Operation::Growth, &old, &new), growth, "{name}");
            assert_eq!(is_news(Operation::Modification, &old, &new), modification, "{name}");
        }
    }

    #[test]
    fn own_writes_ask_for_nothing_else() {
        use Operation::*;
        let before = claim(json!({}));
        for (name, change, growth, modification) in [
            ("nothing", json!({}), false, false),
            ("a request", json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}}), true, false),
            ("a class", json!({"spec": {"volumeAttributesClassName": "c"}}), false, true),
            ("the capacity", json!({"status": {"capacity": {"storage": "2Gi"}}}), false, false),
            (
                "the class's state",
                json!({"status": {"modifyVolumeStatus": {"status": "Pending"}}}),
                false,
                false,
            ),
            ("no longer bound", json!({"status": {"phase": "Lost"}}), true, true),
        ] {
            let after = claim(change);
            assert_eq!(asks_for_something_else(Growth, &before, &after), growth, "{name}");
            assert_eq!(asks_for_something_else(Modification, &before, &after), modification, "{name}");
        }
    }
}
