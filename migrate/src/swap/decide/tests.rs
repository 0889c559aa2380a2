use super::*;
use crate::change::changes;
use crate::record::{Direction, MARK, RETAINED};
use serde_json::json;

fn volume(policy: &str, phase: &str, source: Value) -> Value {
    let mut volume = json!({
        "metadata": {"name": "pv", "uid": "old", "resourceVersion": "1", "finalizers": ["kubernetes.io/pv-protection"]},
        "spec": {
            "persistentVolumeReclaimPolicy": policy, "capacity": {"storage": "1Gi"},
            "claimRef": {"namespace": "ns", "name": "c", "uid": "cu"},
        },
        "status": {"phase": phase},
    });
    for (key, value) in source.as_object().unwrap() {
        volume["spec"][key] = value.clone();
    }
    volume
}

fn old(policy: &str) -> Value {
    volume(policy, "Bound", json!({"cinder": {"volumeID": "id"}}))
}

fn new(policy: &str, phase: &str) -> Value {
    let mut volume = volume(policy, phase, json!({"csi": {"driver": "d", "volumeHandle": "id"}}));
    volume["metadata"]["uid"] = json!("new");
    volume
}

/// A volume whose policy we hold.
fn held_at_retain(mut volume: Value) -> Value {
    volume["metadata"]["annotations"] = json!({RETAINED: "Delete"});
    volume
}

fn going(mut volume: Value) -> Value {
    volume["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    volume
}

fn claim(marked: bool, phase: &str) -> Value {
    let annotations = if marked { json!({MARK: "pv"}) } else { json!({"a": "b"}) };
    json!({"metadata": {"name": "c", "annotations": annotations}, "status": {"phase": phase}})
}

fn plain() -> Option<Value> {
    Some(claim(false, "Bound"))
}

fn marked() -> Option<Value> {
    Some(claim(true, "Bound"))
}

fn record() -> Record {
    let claim =
        BoundClaim { namespace: "ns".into(), name: "c".into(), uid: "cu".into(), changes: Vec::new() };
    Record {
        direction: Direction::ToCsi,
        changes: changes(&old("Delete"), &new("Delete", "Bound")),
        volume: old("Delete"),
        claim: Some(claim),
    }
}

/// What this run knows, and what the undo file says.
#[derive(Debug, Clone, Copy, Default)]
struct Facts {
    tried: bool,
    proved: bool,
    judged: bool,
    deleting: Option<&'static str>,
    created: Option<&'static str>,
    unfit: Option<&'static str>,
    against: Option<&'static str>,
}

const NOTHING: Facts = Facts {
    tried: false,
    proved: false,
    judged: false,
    deleting: None,
    created: None,
    unfit: None,
    against: None,
};
const JUDGED: Facts = Facts { judged: true, ..NOTHING };
const TRIED: Facts = Facts { tried: true, ..NOTHING };
const PROVED: Facts = Facts { proved: true, ..TRIED };
const READY: Facts = Facts { judged: true, ..PROVED };
const DELETING: Facts = Facts { deleting: Some("old"), ..NOTHING };
const CREATED: Facts = Facts { created: Some("new"), ..DELETING };

fn but(against: &'static str, facts: Facts) -> Facts {
    Facts { against: Some(against), ..facts }
}

/// Volume, claim, what is known, the next step.
type Row = (Option<Value>, Option<Value>, Facts, Step);

fn check(record: &Record, rows: Vec<Row>) {
    for (volume, claim, facts, expected) in rows {
        let deleting = facts.deleting.map(|uid| Deleting { uid: uid.to_owned(), retained: None });
        let view = View {
            record,
            volume: volume.as_ref(),
            claim: claim.as_ref(),
            deleting: deleting.as_ref(),
            created: facts.created,
            unfit: facts.unfit,
            tried: facts.tried,
            proved: facts.proved,
            judged: facts.judged,
            against: facts.against,
        };
        assert_eq!(decide(&view), expected, "{volume:?} {claim:?} {facts:?}");
    }
}

fn as_it_was(why: &str) -> Step {
    Step::End(Ended::AsItWas, Some(why.to_owned()))
}

fn gone() -> Step {
    Step::End(Ended::Gone, Some("somebody deleted it".to_owned()))
}

const UNDONE: Step = Step::Unmark { undone: true };

#[test]
fn a_bound_volume_goes_this_way() {
    let retained = || Some(held_at_retain(old("Retain")));
    let let_go = || Step::PutBack(Some("Delete".to_owned()));
    check(
        &record(),
        vec![
            (Some(old("Delete")), plain(), NOTHING, Step::Judge),
            (Some(old("Delete")), plain(), JUDGED, Step::Try),
            (Some(old("Delete")), plain(), TRIED, Step::Retain),
            (retained(), plain(), TRIED, Step::Mark),
            (retained(), marked(), TRIED, Step::Prove),
            (retained(), marked(), PROVED, Step::Judge),
            (retained(), marked(), READY, Step::Delete),
            (Some(going(old("Retain"))), marked(), but("in use", DELETING), Step::Release),
            (None, marked(), but("in use", DELETING), Step::Create),
            (Some(new("Retain", "Pending")), marked(), DELETING, Step::NoteCreated),
            (Some(new("Retain", "Pending")), marked(), CREATED, Step::AwaitBound),
            (Some(new("Retain", "Bound")), Some(claim(true, "Lost")), CREATED, Step::AwaitBound),
            (Some(held_at_retain(new("Retain", "Bound"))), marked(), CREATED, let_go()),
            (Some(new("Delete", "Bound")), marked(), CREATED, Step::Unmark { undone: false }),
            (Some(new("Delete", "Bound")), plain(), CREATED, Step::End(Ended::Replaced, None)),
        ],
    );
}

/// The API server has refused the new one.
#[test]
fn the_old_form_created_again_becomes_as_it_was() {
    let again = |policy: &str, phase: &str| {
        let mut volume = volume(policy, phase, json!({"cinder": {"volumeID": "id"}}));
        volume["metadata"]["uid"] = json!("new");
        volume
    };
    let ours = |phase: &str| Some(held_at_retain(again("Retain", phase)));
    let kept = "claim ns/c was deleted meanwhile: its reclaim policy stays Retain";
    let unfit = |facts| Facts { unfit: Some("not so"), ..facts };
    check(
        &record(),
        vec![
            (None, marked(), unfit(DELETING), Step::Restore),
            (ours("Pending"), marked(), unfit(DELETING), Step::NoteCreated),
            (Some(again("Retain", "Pending")), marked(), unfit(DELETING), Step::NoteCreated),
            (ours("Pending"), marked(), unfit(CREATED), Step::AwaitBound),
            (ours("Bound"), marked(), unfit(CREATED), Step::PutBack(Some("Delete".to_owned()))),
            (Some(again("Delete", "Bound")), marked(), unfit(CREATED), UNDONE),
            (Some(again("Delete", "Bound")), plain(), unfit(CREATED), as_it_was("not so")),
            (ours("Released"), None, unfit(CREATED), Step::PutBack(None)),
            (Some(again("Retain", "Released")), None, unfit(CREATED), as_it_was(kept)),
            (Some(again("Delete", "Bound")), marked(), DELETING, UNDONE),
        ],
    );
}

/// Admission may change what we create.
#[test]
fn a_new_volume_that_is_not_quite_as_asked_is_new() {
    let mut changed = new("Delete", "Bound");
    changed["spec"]["csi"]["volumeAttributes"] = json!({"by": "a webhook"});
    check(
        &record(),
        vec![
            (Some(changed.clone()), marked(), CREATED, Step::Unmark { undone: false }),
            (Some(changed), plain(), CREATED, Step::End(Ended::Replaced, None)),
        ],
    );
}

/// A copy of the undo file lacks the last line: a marked claim has lost its volume to us.
#[test]
fn a_marked_claims_missing_volume_is_created() {
    check(
        &record(),
        vec![
            (None, marked(), NOTHING, Step::NoteDeleted),
            (None, marked(), but("in use", NOTHING), Step::NoteDeleted),
            (None, marked(), DELETING, Step::Create),
            (None, marked(), CREATED, UNDONE),
            (None, plain(), NOTHING, gone()),
        ],
    );
}

#[test]
fn a_volume_without_a_claim_waits_for_nobody() {
    let record = Record { claim: None, ..record() };
    let end = Step::End(Ended::Replaced, None);
    check(
        &record,
        vec![
            (Some(old("Retain")), None, TRIED, Step::Judge),
            (Some(old("Retain")), None, Facts { judged: true, ..TRIED }, Step::Delete),
            (Some(new("Retain", "Pending")), None, CREATED, end),
        ],
    );
}

#[test]
fn what_stands_against_it_puts_back_what_is_ours() {
    let mut held = old("Delete");
    held["metadata"]["finalizers"] = json!(["backup.example/keep", "external-attacher/d"]);
    let mut moved = old("Delete");
    moved["spec"]["cinder"]["volumeID"] = json!("other");
    let mut rebound = old("Delete");
    rebound["spec"]["claimRef"]["uid"] = json!("other");
    let against = || but("in use", READY);
    let put_back = |policy: Option<&str>| Step::PutBack(policy.map(str::to_owned));
    check(
        &record(),
        vec![
            (Some(held_at_retain(old("Retain"))), marked(), against(), put_back(Some("Delete"))),
            // Somebody has set another policy over ours, or Retain before us.
            (Some(held_at_retain(old("Recycle"))), marked(), against(), put_back(None)),
            (Some(old("Retain")), marked(), against(), UNDONE),
            (Some(old("Retain")), plain(), against(), as_it_was("in use")),
            (Some(old("Delete")), None, PROVED, as_it_was("its claim was deleted")),
            (Some(rebound), plain(), PROVED, as_it_was("it is no longer bound to its claim")),
            (Some(held), plain(), TRIED, as_it_was("the finalizer backup.example/keep keeps it")),
            (Some(moved), plain(), TRIED, as_it_was("somebody else has changed its source")),
        ],
    );
}

#[test]
fn what_others_delete_or_replace_is_theirs() {
    let mut other = old("Retain");
    other["metadata"]["uid"] = json!("other");
    let theirs = "somebody else has replaced it";
    let deleting_other = Facts { deleting: Some("older"), ..NOTHING };
    check(
        &record(),
        vec![
            // Deleted without a line of ours.
            (None, plain(), NOTHING, gone()),
            (None, plain(), deleting_other, gone()),
            (Some(going(old("Retain"))), plain(), READY, as_it_was("somebody else is deleting it")),
            (
                Some(going(held_at_retain(old("Retain")))),
                marked(),
                READY,
                Step::PutBack(Some("Delete".to_owned())),
            ),
            // Deleted after we had created it.
            (None, marked(), CREATED, UNDONE),
            (None, plain(), CREATED, gone()),
            // Announced, and not done.
            (Some(old("Retain")), marked(), DELETING, Step::Spare),
            // Replaced.
            (Some(other.clone()), marked(), TRIED, UNDONE),
            (Some(other.clone()), plain(), TRIED, as_it_was(theirs)),
            (Some(other), plain(), DELETING, as_it_was(theirs)),
            (Some(new("Delete", "Bound")), plain(), TRIED, as_it_was(theirs)),
            (
                Some(new("Retain", "Bound")),
                plain(),
                Facts { created: Some("newer"), ..CREATED },
                as_it_was(theirs),
            ),
        ],
    );
}

#[test]
fn a_deleted_volume_waits_for_the_finalizers_of_others() {
    let mut kept = going(old("Retain"));
    kept["metadata"]["finalizers"] = json!(["backup.example/keep", "kubernetes.io/pv-protection"]);
    let mut last = kept.clone();
    last["metadata"]["finalizers"] = json!(["backup.example/keep"]);
    check(
        &record(),
        vec![
            (Some(kept), marked(), DELETING, Step::Release),
            (Some(last), marked(), DELETING, Step::AwaitRelease),
        ],
    );
}

#[test]
fn a_volume_whose_claim_was_deleted_meanwhile_is_kept() {
    let why = "claim ns/c was deleted meanwhile: its reclaim policy stays Retain".to_owned();
    check(
        &record(),
        vec![
            (Some(held_at_retain(new("Retain", "Released"))), None, CREATED, Step::PutBack(None)),
            (Some(new("Retain", "Released")), None, CREATED, Step::End(Ended::Kept, Some(why))),
        ],
    );
}
