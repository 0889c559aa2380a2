use super::*;
use serde_json::json;

fn in_tree() -> Value {
    json!({
        "metadata": {"name": "pv", "uid": "u", "annotations": {"pv.kubernetes.io/provisioned-by": "kubernetes.io/cinder"}},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Delete",
            "cinder": {"volumeID": "id"}, "claimRef": {"namespace": "ns", "name": "c", "uid": "cu"},
        },
        "status": {"phase": "Bound"},
    })
}

fn claim(uid: &Value) -> DynamicObject {
    let annotations = json!({"volume.kubernetes.io/storage-provisioner": "kubernetes.io/cinder"});
    let mut metadata = json!({"namespace": "ns", "name": "c", "annotations": annotations});
    if !uid.is_null() {
        metadata["uid"] = uid.clone();
    }
    serde_json::from_value(
        json!({"metadata": metadata, "spec": {"volumeName": "pv"}, "status": {"phase": "Bound"}}),
    )
    .unwrap()
}

fn objects<'a>(volume: &'a Value, claim: &'a DynamicObject) -> Objects<'a> {
    Objects { volume, claim: Some(claim), users: Users::default() }
}

fn prepared(volume: &Value, claim: &DynamicObject) -> (Vec<String>, Record) {
    let found = prepare(&PlanInput::default(), &objects(volume, claim)).unwrap().unwrap();
    (found.entry.obstacles, found.record.unwrap())
}

/// The volume converted, as it is stored then.
fn converted_volume(there: &Record) -> Value {
    let mut volume = there.created(None);
    volume["metadata"]["uid"] = json!("new");
    volume["spec"]["persistentVolumeReclaimPolicy"] = json!("Delete");
    volume["status"] = json!({"phase": "Bound"});
    volume
}

#[test]
fn a_claim_is_taken_by_its_uid_alone() {
    let with = |uid: Value| {
        let mut volume = in_tree();
        volume["spec"]["claimRef"]["uid"] = uid;
        volume
    };
    let (none, other) = (json!(null), json!("other"));
    for (volume, claim, taken) in [
        (in_tree(), claim(&json!("cu")), true),
        (in_tree(), claim(&other), false),
        (with(none.clone()), claim(&json!("cu")), false),
        // Nothing equals nothing, and says nothing.
        (with(none.clone()), claim(&none), false),
    ] {
        let (against, record) = prepared(&volume, &claim);
        assert_eq!(
            (record.claim.is_some(), against.is_empty()),
            (taken, taken),
            "{volume} {claim:?}: {against:?}"
        );
    }
}

/// A claim was made again under its name, with another volume.
#[test]
fn pods_of_another_claim_of_the_name_do_not_use_the_volume() {
    let mut volume = in_tree();
    volume["status"]["phase"] = json!("Released");
    volume["spec"]["persistentVolumeReclaimPolicy"] = json!("Retain");
    let users = || Users { pods: vec!["ns/web".to_owned()], ..Users::default() };
    for (uid, expected) in
        [("other", &[][..]), ("cu", &["it is used by ns/web", "its claim is not bound to it"])]
    {
        let mut claim = claim(&json!(uid));
        claim.data["spec"]["volumeName"] = json!("another");
        let objects = Objects { users: users(), ..objects(&volume, &claim) };
        let found = prepare(&PlanInput::default(), &objects).unwrap().unwrap();
        assert_eq!(found.entry.obstacles, expected, "{uid}");
    }
}

#[test]
fn the_class_in_a_volumes_annotation_comes_first() {
    let with = |annotations: Value| {
        let volume = json!({"metadata": {"annotations": annotations}, "spec": {"storageClassName": "spec"}});
        serde_json::from_value::<PersistentVolume>(volume).unwrap()
    };
    assert_eq!(class_name(&with(json!({CLASS_BETA: "beta"}))).unwrap(), "beta");
    assert_eq!(class_name(&with(json!({}))).unwrap(), "spec");
}

#[test]
fn the_way_back_undoes_the_claims_changes_too() {
    let before = claim(&json!("cu"));
    let (_, there) = prepared(&in_tree(), &before);
    let after = converted_claim(Plugin::Cinder, before.clone());
    let volume = converted_volume(&there);
    let back = prepare_back(&PlanInput::default(), &objects(&volume, &after), &there).unwrap().unwrap();
    let bound = |record: &Record| record.claim.clone().unwrap().changes;
    assert_eq!(bound(&back), reversed(&bound(&there)));
    // A way back that came to nothing: the next one goes the same way.
    let again =
        prepare_back(&PlanInput::default(), &objects(&volume, &after), &back.conversion()).unwrap().unwrap();
    assert_eq!((bound(&again), again.changes), (bound(&back), back.changes));
}

/// A change of the volume, who uses it, and what stands against it then.
type Case = (fn(&mut Value), Users, &'static str);

#[test]
fn what_stands_against_a_conversion_stands_against_its_undoing() {
    let claim = claim(&json!("cu"));
    let (_, there) = prepared(&in_tree(), &claim);
    let back = |change: fn(&mut Value), users: Users| {
        let mut volume = converted_volume(&there);
        change(&mut volume);
        let objects = Objects { users, ..objects(&volume, &claim) };
        prepare_back(&PlanInput::default(), &objects, &there).unwrap().map(|_| ())
    };
    let pods = Users { pods: vec!["ns/web".to_owned()], ..Users::default() };
    let deleted =
        |volume: &mut Value| volume["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let cases: [Case; 7] = [
        (|_| {}, pods, "it is used by ns/web"),
        (deleted, Users::default(), "it is being deleted"),
        (
            |volume| {
                volume["status"]["phase"] = json!("Released");
                volume["spec"]["claimRef"]["uid"] = json!("other");
            },
            Users::default(),
            "it is Released: its volume is about to be deleted",
        ),
        (
            |volume| volume["status"]["phase"] = json!("Failed"),
            Users::default(),
            "it is Failed: its volume is about to be deleted",
        ),
        (
            |volume| volume["spec"]["claimRef"]["uid"] = json!(""),
            Users::default(),
            "it is kept for a claim that is not bound to it yet",
        ),
        (
            |volume| volume["metadata"]["finalizers"] = json!(["a.b/c"]),
            Users::default(),
            "the finalizer a.b/c keeps it",
        ),
        (
            |volume| volume["spec"]["csi"]["volumeHandle"] = json!("other"),
            Users::default(),
            "it is no longer the volume that was converted",
        ),
    ];
    assert_eq!(back(|_| {}, Users::default()), Ok(()));
    for (change, users, expected) in cases {
        assert_eq!(back(change, users), Err(expected.to_owned()));
    }
}
