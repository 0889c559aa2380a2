//! Decides the next step on the way of one volume to its replacement.
//!
//! A PersistentVolume's source cannot be changed, so the object is deleted and created anew under its name. The order makes
//! each moment a good one to crash in:
//!
//! 1. The API server is asked whether it would take the new volume.
//! 2. The reclaim policy becomes Retain. From here to the end nobody deletes the volume behind the object.
//! 3. The claim gets a mark, under which the API server refuses to call it Lost (see `hold`); that it does is tried out.
//! 4. The old object is deleted, and the finalizers that keep it come off. The new one is created.
//! 5. Once the new volume and the claim are bound, the policy becomes what it was, and the mark goes.
//!
//! The next step follows from the objects alone, and from what the undo file says.

use serde_json::Value;

use crate::change::{begins_at, ends_at};
use crate::record::{
    BoundClaim, Ended, MARK, RETAIN, Record, comes_again, finalizers, is_attachers, policy, text,
};

/// What there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) record: &'a Record,
    /// The PersistentVolume of the name.
    pub(super) volume: Option<&'a Value>,
    /// The claim with the uid that is written down.
    pub(super) claim: Option<&'a Value>,
    /// The undo file says that the new volume was created.
    pub(super) created: bool,
    /// The API server would take the new volume.
    pub(super) tried: bool,
    /// The API server refuses to call this claim Lost.
    pub(super) proved: bool,
    /// What stands against going on, as long as nothing has been deleted.
    pub(super) against: Option<&'a str>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Write down the volume as it is now.
    WriteDown,
    /// Ask the API server whether it would take the new volume.
    Try,
    /// Set the reclaim policy to Retain.
    Retain,
    /// Mark the claim, and change its annotations.
    Mark,
    /// Try whether the claim can be called Lost.
    Prove,
    /// Delete the old volume, if it is still as it was seen.
    Delete,
    /// Take off the finalizers that keep the deleted volume.
    Release,
    /// Create the new volume.
    Create,
    /// Wait for kube-controller-manager to bind the new volume.
    AwaitBound,
    /// Set the reclaim policy to what it was.
    PutBack,
    /// Take the mark off the claim; also its changes if `undone`.
    Unmark { undone: bool },
    /// Nothing is left to be done.
    End(Ended, Option<String>),
}

/// The next step.
pub(super) fn decide(view: &View<'_>) -> Step {
    let Some(volume) = view.volume else {
        return if view.created {
            Step::End(Ended::Gone, Some("somebody deleted it".to_owned()))
        } else {
            Step::Create
        };
    };
    if ends_at(volume, &view.record.changes) {
        return settle(view, volume);
    }
    let same = text(volume, "/metadata/uid") == text(&view.record.volume, "/metadata/uid");
    if !same || !begins_at(volume, &view.record.changes) {
        return give_up(view, volume, "somebody else has replaced it".to_owned());
    }
    if volume.pointer("/metadata/deletionTimestamp").is_some() {
        return Step::Release;
    }
    match obstacle(view, volume) {
        Some(why) => give_up(view, volume, why),
        None => replace(view, volume),
    }
}

/// What stands against deleting the old volume.
fn obstacle(view: &View<'_>, volume: &Value) -> Option<String> {
    if let Some(against) = view.against {
        return Some(against.to_owned());
    }
    if view.record.claim.is_some() && view.claim.is_none() {
        return Some("its claim was deleted".to_owned());
    }
    held(volume)
}

/// Who else keeps the volume from being deleted.
pub(crate) fn held(volume: &Value) -> Option<String> {
    let other = finalizers(volume).find(|one| !comes_again(one) && !is_attachers(one));
    other.map(|finalizer| format!("the finalizer {finalizer} keeps it"))
}

fn replace(view: &View<'_>, volume: &Value) -> Step {
    if !view.record.is_of(volume) {
        return Step::WriteDown;
    }
    if !view.tried {
        return Step::Try;
    }
    if policy(volume) != RETAIN {
        return Step::Retain;
    }
    match view.claim {
        Some(claim) if !is_marked(claim) => Step::Mark,
        Some(_) if !view.proved => Step::Prove,
        _ => Step::Delete,
    }
}

/// Makes everything as it was. Only while the old volume is there.
fn give_up(view: &View<'_>, volume: &Value, why: String) -> Step {
    let same = text(volume, "/metadata/uid") == text(&view.record.volume, "/metadata/uid");
    if same && policy(volume) != view.record.policy {
        return Step::PutBack;
    }
    match view.claim {
        Some(claim) if is_marked(claim) => Step::Unmark { undone: true },
        _ => Step::End(Ended::AsItWas, Some(why)),
    }
}

/// The new volume is there.
fn settle(view: &View<'_>, volume: &Value) -> Step {
    let claim = match (&view.record.claim, view.claim) {
        (None, _) => None,
        (Some(_), Some(claim)) => Some(claim),
        (Some(BoundClaim { namespace, name, .. }), None) => {
            let why =
                format!("claim {namespace}/{name} was deleted meanwhile: its reclaim policy stays Retain");
            return Step::End(Ended::Kept, Some(why));
        }
    };
    let is_bound = |object: &Value| text(object, "/status/phase") == "Bound";
    if claim.is_some_and(|claim| !is_bound(claim) || !is_bound(volume)) {
        return Step::AwaitBound;
    }
    if policy(volume) != view.record.policy {
        return Step::PutBack;
    }
    match claim {
        Some(claim) if is_marked(claim) => Step::Unmark { undone: false },
        _ => Step::End(Ended::Replaced, None),
    }
}

fn is_marked(claim: &Value) -> bool {
    claim.pointer("/metadata/annotations").and_then(|all| all.get(MARK)).is_some()
}

#[cfg(test)]
mod tests;
