//! Decides the next step on the way of one volume to its replacement.
//!
//! A PersistentVolume's source cannot be changed, so the object is deleted and created anew under its name. The order makes
//! each moment a good one to crash in:
//!
//! 1. The API server is asked whether it would take the new volume.
//! 2. The reclaim policy becomes Retain. From here to the end nobody deletes the volume behind the object.
//! 3. The claim gets a mark, under which the API server refuses to call it Lost (see `hold`); that it does is tried out.
//! 4. Everything is read and judged again. If it is no longer as it was written down, the way begins anew.
//! 5. The old object is deleted, and the finalizers that keep it come off. The new one is created.
//!    If the API server refuses it after all, the old one is created again.
//! 6. Once the new volume and the claim are bound, the policy becomes what it was, and the mark goes.
//!
//! The next step follows from the objects alone, and from what the undo file says. What others do meanwhile is respected: an
//! object that we have not deleted is not created anew, a policy or a mark that is not ours is left alone. Two moments stay open:
//! a crash between the line that says that we delete and the deletion, and one between the creation and the line that says that.
//! If somebody else deletes the volume after such a crash, it is created anew: one volume too many is better than one too few.

use serde_json::Value;

use crate::change::{begins_at, ends_at};
use crate::journal::Deleting;
use crate::record::{
    BoundClaim, Ended, RETAIN, Record, comes_again, finalizers, is_attachers, is_marked, policy, retained,
    text,
};

/// What there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) record: &'a Record,
    /// The PersistentVolume of the name.
    pub(super) volume: Option<&'a Value>,
    /// The claim with the uid that is written down.
    pub(super) claim: Option<&'a Value>,
    /// What the undo file says that we delete.
    pub(super) deleting: Option<&'a Deleting>,
    /// The uid of the new volume, if the undo file says that we have created it.
    pub(super) created: Option<&'a str>,
    /// Why the API server refuses the new volume, though it said that it would take it.
    pub(super) unfit: Option<&'a str>,
    /// The API server would take the new volume.
    pub(super) tried: bool,
    /// The API server refuses to call this claim Lost.
    pub(super) proved: bool,
    /// Everything was read and judged since the last step.
    pub(super) judged: bool,
    /// What stands against going on, as long as nothing has been deleted.
    pub(super) against: Option<&'a str>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Read everything, judge it, and write down what is to be done if that has changed.
    Judge,
    /// Ask the API server whether it would take the new volume.
    Try,
    /// Set the reclaim policy to Retain.
    Retain,
    /// Mark the claim, and change its annotations.
    Mark,
    /// Try whether the claim can be called Lost.
    Prove,
    /// Write down that we delete the old volume, and delete it, if it is still as it was seen.
    Delete,
    /// Write down that we have not deleted it.
    Spare,
    /// Take off the finalizers that keep the deleted volume and come again by themselves.
    Release,
    /// Wait for others to take off theirs.
    AwaitRelease,
    /// Write down that the old volume is deleted.
    NoteDeleted,
    /// Create the new volume.
    Create,
    /// Create the old volume again.
    Restore,
    /// Write down that we have created it.
    NoteCreated,
    /// Wait for kube-controller-manager to bind the new volume.
    AwaitBound,
    /// Let go of the reclaim policy; set it to this if it is still our Retain.
    PutBack(Option<String>),
    /// Take the mark off the claim; also its changes if `undone`.
    Unmark { undone: bool },
    /// Nothing is left to be done.
    End(Ended, Option<String>),
}

/// The next step.
pub(super) fn decide(view: &View<'_>) -> Step {
    let old = text(&view.record.volume, "/metadata/uid");
    let deleting = view.deleting.filter(|deleting| deleting.uid == old);
    let Some(volume) = view.volume else {
        return match (deleting, view.created) {
            (Some(_), None) if view.unfit.is_some() => Step::Restore,
            (Some(_), None) => Step::Create,
            // A bound volume goes only when its finalizers are taken off it, as we do. So the undo file lacks a line.
            (None, None) if view.claim.is_some_and(is_marked) => Step::NoteDeleted,
            _ => free(view, Ended::Gone, "somebody deleted it".to_owned()),
        };
    };
    let uid = text(volume, "/metadata/uid");
    if uid != old {
        return match (deleting, view.created) {
            (Some(_), Some(created)) if created == uid => settle(view, volume),
            (Some(_), None) if is_ours(view, volume) => Step::NoteCreated,
            _ => give_up(view, volume, "somebody else has replaced it".to_owned()),
        };
    }
    if volume.pointer("/metadata/deletionTimestamp").is_some() {
        return match deleting {
            Some(_) if finalizers(volume).any(comes_off) => Step::Release,
            Some(_) => Step::AwaitRelease,
            None => give_up(view, volume, "somebody else is deleting it".to_owned()),
        };
    }
    if deleting.is_some() {
        return Step::Spare;
    }
    match obstacle(view, volume) {
        Some(why) => give_up(view, volume, why),
        None => replace(view, volume),
    }
}

/// Whether we have created this volume. The old form is known by the policy that we hold too.
fn is_ours(view: &View<'_>, volume: &Value) -> bool {
    let is_old_form = view.unfit.is_some() && begins_at(volume, &view.record.changes);
    ends_at(volume, &view.record.changes) || is_old_form || retained(volume).is_some()
}

/// What stands against deleting the old volume.
fn obstacle(view: &View<'_>, volume: &Value) -> Option<String> {
    if let Some(against) = view.against {
        return Some(against.to_owned());
    }
    if !begins_at(volume, &view.record.changes) {
        return Some("somebody else has changed its source".to_owned());
    }
    match (&view.record.claim, view.claim) {
        (Some(_), None) => Some("its claim was deleted".to_owned()),
        (Some(bound), Some(_)) if text(volume, "/spec/claimRef/uid") != bound.uid => {
            Some("it is no longer bound to its claim".to_owned())
        }
        _ => held(volume),
    }
}

/// Who else keeps the volume from being deleted.
pub(crate) fn held(volume: &Value) -> Option<String> {
    let other = finalizers(volume).find(|one| !comes_off(one));
    other.map(|finalizer| format!("the finalizer {finalizer} keeps it"))
}

/// Whether we take the finalizer off a volume that we have deleted.
pub(super) fn comes_off(finalizer: &str) -> bool {
    comes_again(finalizer) || is_attachers(finalizer)
}

fn replace(view: &View<'_>, volume: &Value) -> Step {
    if !view.tried {
        return if view.judged { Step::Try } else { Step::Judge };
    }
    if policy(volume) != RETAIN {
        return Step::Retain;
    }
    match view.claim {
        Some(claim) if !is_marked(claim) => Step::Mark,
        Some(_) if !view.proved => Step::Prove,
        _ if !view.judged => Step::Judge,
        _ => Step::Delete,
    }
}

/// Makes everything of ours as it was.
fn give_up(view: &View<'_>, volume: &Value, why: String) -> Step {
    put_back(volume).unwrap_or_else(|| free(view, Ended::AsItWas, why))
}

/// The end, once the claim is free of our mark and our changes.
fn free(view: &View<'_>, how: Ended, why: String) -> Step {
    match view.claim {
        Some(claim) if is_marked(claim) => Step::Unmark { undone: true },
        _ => Step::End(how, Some(why)),
    }
}

/// Lets go of the policy, if we hold it.
fn put_back(volume: &Value) -> Option<Step> {
    let before = retained(volume)?;
    Some(Step::PutBack((policy(volume) == RETAIN).then(|| before.to_owned())))
}

/// The volume that we have created is there: the new one, or the old form again.
fn settle(view: &View<'_>, volume: &Value) -> Step {
    let is_new = view.unfit.is_none();
    let claim = match (&view.record.claim, view.claim) {
        (None, _) => None,
        (Some(_), Some(claim)) => Some(claim),
        (Some(_), None) if retained(volume).is_some() => return Step::PutBack(None),
        (Some(BoundClaim { namespace, name, .. }), None) => {
            let why = format!(
                "claim {namespace}/{name} was deleted meanwhile: its reclaim policy stays {}",
                policy(volume)
            );
            return Step::End(if is_new { Ended::Kept } else { Ended::AsItWas }, Some(why));
        }
    };
    let is_bound = |object: &Value| text(object, "/status/phase") == "Bound";
    if claim.is_some_and(|claim| !is_bound(claim) || !is_bound(volume)) {
        return Step::AwaitBound;
    }
    if let Some(step) = put_back(volume) {
        return step;
    }
    match claim {
        Some(claim) if is_marked(claim) => Step::Unmark { undone: !is_new },
        _ if is_new => Step::End(Ended::Replaced, None),
        _ => Step::End(Ended::AsItWas, view.unfit.map(str::to_owned)),
    }
}

#[cfg(test)]
mod tests;
