use super::*;
use crate::change::changes;
use crate::record::Direction;
use serde_json::json;

fn volume(policy: &str, phase: &str, source: Value) -> Value {
    let mut volume = json!({
        "metadata": {"name": "pv", "uid": "old", "resourceVersion": "1", "finalizers": ["kubernetes.io/pv-protection"]},
        "spec": {"persistentVolumeReclaimPolicy": policy, "capacity": {"storage": "1Gi"}},
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

fn claim(marked: bool, phase: &str) -> Value {
    let annotations = if marked { json!({MARK: "pv"}) } else { json!({"a": "b"}) };
    json!({"metadata": {"name": "c", "annotations": annotations}, "status": {"phase": phase}})
}

fn record() -> Record {
    let claim =
        BoundClaim { namespace: "ns".into(), name: "c".into(), uid: "cu".into(), changes: Vec::new() };
    Record {
        direction: Direction::ToCsi,
        changes: changes(&old("Delete"), &new("Delete", "Bound")),
        volume: old("Delete"),
        policy: "Delete".to_owned(),
        claim: Some(claim),
    }
}

/// Volume, claim, what is known (created, tried, proved), what stands against it, the next step.
type Row = (Option<Value>, Option<Value>, [bool; 3], Option<&'static str>, Step);

fn check(record: &Record, rows: Vec<Row>) {
    for (volume, claim, [created, tried, proved], against, expected) in rows {
        let view =
            View { record, volume: volume.as_ref(), claim: claim.as_ref(), created, tried, proved, against };
        assert_eq!(decide(&view), expected, "{volume:?} {claim:?} {created} {tried} {proved}");
    }
}

const NOTHING: [bool; 3] = [false; 3];
const TRIED: [bool; 3] = [false, true, false];
const PROVED: [bool; 3] = [false, true, true];

#[test]
fn a_bound_volume_goes_this_way() {
    let mut deleted = old("Retain");
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let plain = || Some(claim(false, "Bound"));
    let marked = || Some(claim(true, "Bound"));
    check(
        &record(),
        vec![
            (Some(old("Delete")), plain(), NOTHING, None, Step::Try),
            (Some(old("Delete")), plain(), TRIED, None, Step::Retain),
            (Some(old("Retain")), plain(), TRIED, None, Step::Mark),
            (Some(old("Retain")), marked(), TRIED, None, Step::Prove),
            (Some(old("Retain")), marked(), PROVED, None, Step::Delete),
            (Some(deleted), marked(), NOTHING, Some("in use"), Step::Release),
            (None, marked(), NOTHING, Some("in use"), Step::Create),
            (Some(new("Retain", "Pending")), marked(), NOTHING, None, Step::AwaitBound),
            (Some(new("Retain", "Bound")), Some(claim(true, "Lost")), NOTHING, None, Step::AwaitBound),
            (Some(new("Retain", "Bound")), marked(), NOTHING, None, Step::PutBack),
            (Some(new("Delete", "Bound")), marked(), NOTHING, None, Step::Unmark { undone: false }),
            (Some(new("Delete", "Bound")), plain(), NOTHING, None, Step::End(Ended::Replaced, None)),
        ],
    );
}

#[test]
fn a_volume_without_a_claim_waits_for_nobody() {
    let record = Record { claim: None, policy: "Retain".to_owned(), ..record() };
    check(
        &record,
        vec![
            (Some(old("Retain")), None, TRIED, None, Step::Delete),
            (Some(new("Retain", "Pending")), None, NOTHING, None, Step::End(Ended::Replaced, None)),
        ],
    );
}

#[test]
fn what_stands_against_it_puts_everything_back() {
    let end = |why: &str| Step::End(Ended::AsItWas, Some(why.to_owned()));
    let undone = Step::Unmark { undone: true };
    let mut held = old("Delete");
    held["metadata"]["finalizers"] = json!(["backup.example/keep", "external-attacher/d"]);
    let mut other = old("Retain");
    other["metadata"]["uid"] = json!("other");
    let mut moved = old("Retain");
    moved["spec"]["cinder"]["volumeID"] = json!("other");
    let marked = || Some(claim(true, "Bound"));
    let plain = || Some(claim(false, "Bound"));
    check(
        &record(),
        vec![
            (Some(old("Retain")), marked(), PROVED, Some("in use"), Step::PutBack),
            (Some(old("Delete")), marked(), PROVED, Some("in use"), undone.clone()),
            (Some(old("Delete")), plain(), PROVED, Some("in use"), end("in use")),
            (Some(old("Delete")), None, PROVED, None, end("its claim was deleted")),
            (Some(held), plain(), TRIED, None, end("the finalizer backup.example/keep keeps it")),
            (Some(other.clone()), marked(), TRIED, None, undone),
            (Some(other), plain(), TRIED, None, end("somebody else has replaced it")),
            (Some(moved), plain(), TRIED, None, Step::PutBack),
        ],
    );
}

#[test]
fn what_others_do_meanwhile_is_respected() {
    let mut grown = old("Retain");
    grown["spec"]["capacity"]["storage"] = json!("2Gi");
    let why = "claim ns/c was deleted meanwhile: its reclaim policy stays Retain".to_owned();
    check(
        &record(),
        vec![
            (Some(grown), Some(claim(true, "Bound")), PROVED, None, Step::WriteDown),
            (
                None,
                None,
                [true, true, true],
                None,
                Step::End(Ended::Gone, Some("somebody deleted it".to_owned())),
            ),
            (Some(new("Retain", "Released")), None, NOTHING, None, Step::End(Ended::Kept, Some(why))),
        ],
    );
}
