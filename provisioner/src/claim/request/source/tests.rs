//! Upstream's TestProvisionFromSnapshot and TestProvisionFromPVC, within one namespace (docs/upstream/provisioner.md, "Test
//! cases"). What follows the decision, such as the cleanup after a reply without a source, is tested in the simulated world.

mod grants;

use csi::v1;
use kubernetes::object::{
    Snapshot, SnapshotContent, SourceClaim, Volume, WireGrant, WireSnapshot, WireSnapshotContent,
    WireSourceClaim,
};
use serde_json::{Value, json};

use super::super::super::outcome::State;
use super::super::prepare;
use super::*;
use crate::fixture::{claim_from, class, config, volume};
use crate::topology::Known;

const RESTORED: &str = "snapshot-id";
const CLONED: &str = "volume-id";

/// What a case changes: JSON pointers and their values, beginning with the object's name. Null takes the field away.
type Changes<'a> = &'a [(&'a str, Value)];
/// The id that is sent, or a part of the error.
type Expected<'a> = Result<&'a str, &'a str>;

fn able() -> Config {
    let mut config = config();
    (config.can.snapshots, config.can.clones) = (true, true);
    config
}

/// A claim's spec, and a source that it may use.
fn world() -> Value {
    json!({
        "claim": {"dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"}},
        "snapshot": {
            "metadata": {"name": "s", "namespace": "fake-ns", "uid": "snapshot-uid"},
            "status": {"boundVolumeSnapshotContentName": "content", "readyToUse": true, "restoreSize": "100"},
        },
        "content": {
            "metadata": {"name": "content", "annotations": {}},
            "spec": {
                "driver": "test-driver",
                "volumeSnapshotRef": {"name": "s", "namespace": "fake-ns", "uid": "snapshot-uid"},
            },
            "status": {"snapshotHandle": RESTORED},
        },
        "source": {
            "metadata": {"name": "src", "namespace": "fake-ns", "uid": "source-uid"},
            "spec": {"storageClassName": "other", "volumeName": "pv", "resources": {"requests": {"storage": "100"}}},
            "status": {"phase": "Bound"},
        },
        "volume": {
            "metadata": {"name": "pv"},
            "spec": {
                "csi": {"driver": "test-driver", "volumeHandle": CLONED},
                "claimRef": {"name": "src", "namespace": "fake-ns", "uid": "source-uid"},
            },
            "status": {"phase": "Bound"},
        },
    })
}

fn set(world: &mut Value, pointer: &str, value: Value) {
    let mut place = world;
    for part in pointer.split('/') {
        let map = place.as_object_mut().unwrap_or_else(|| panic!("{pointer}"));
        place = map.entry(part.replace("~1", "/")).or_insert_with(|| json!({}));
    }
    *place = value;
}

fn read<W: serde::de::DeserializeOwned>(world: &Value, name: &str) -> Option<W> {
    world
        .get(name)
        .filter(|object| !object.is_null())
        .map(|object| serde_json::from_value(object.clone()).unwrap())
}

fn found(world: &Value) -> Found {
    Found {
        snapshot: read::<WireSnapshot>(world, "snapshot").map(Snapshot::from),
        content: read::<WireSnapshotContent>(world, "content").map(SnapshotContent::from),
        claim: read::<WireSourceClaim>(world, "source").map(SourceClaim::from),
        volume: read::<Value>(world, "volume").map(volume) as Option<Volume>,
        grants: read::<WireGrant>(world, "grant").into_iter().collect(),
        ..Found::default()
    }
}

fn sent(config: &Config, world: &Value) -> Result<Option<Type>, (String, State)> {
    let claim = claim_from(json!({}), world["claim"].clone());
    let prepared = prepare(config, &claim, &class(), "test-testi".into(), &Known::default(), &found(world));
    match prepared {
        Ok(prepared) => Ok(prepared.request.volume_content_source.map(|source| source.r#type.unwrap())),
        Err(error) => Err((error.to_string(), error.state(false, false))),
    }
}

fn check(config: &Config, world: &Value, name: &str, expected: Expected<'_>, state: State) {
    match (sent(config, world), expected) {
        (Ok(source), Ok(id)) => {
            let (snapshot_id, volume_id) = (id.to_owned(), id.to_owned());
            let source = source.unwrap();
            let wanted = match id {
                RESTORED => Type::Snapshot(v1::volume_content_source::SnapshotSource { snapshot_id }),
                _ => Type::Volume(v1::volume_content_source::VolumeSource { volume_id }),
            };
            assert_eq!(source, wanted, "{name}");
        }
        (Err((text, left)), Err(part)) => {
            assert!(text.contains(part), "{name}: {text}");
            assert_eq!(left, state, "{name}");
        }
        (result, _) => panic!("{name}: {result:?}"),
    }
}

fn cases(base: &Value, cases: &[(&str, Changes<'_>, Expected<'_>)]) {
    for (name, changes, expected) in cases {
        let mut world = base.clone();
        changes.iter().for_each(|(pointer, value)| set(&mut world, pointer, value.clone()));
        check(&able(), &world, name, *expected, State::NoChange);
    }
}

const OURS: &str = "provisioner.storage.kubernetes.io/volumesnapshot-as-source-protection";
const THEN: &str = "2026-01-01T00:00:00Z";

#[test]
fn restoring_needs_a_snapshot_that_is_ready_and_no_larger() {
    cases(
        &world(),
        &[
            ("plain", &[], Ok(RESTORED)),
            ("larger", &[("claim/resources", json!({"requests": {"storage": "101"}}))], Ok(RESTORED)),
            ("no restoreSize", &[("snapshot/status/restoreSize", json!(null))], Ok(RESTORED)),
            (
                "too small",
                &[("snapshot/status/restoreSize", json!("101"))],
                Err(
                    "requested volume size 100 is less than the size 101 of the source VolumeSnapshot fake-ns/s",
                ),
            ),
            (
                "size is no quantity",
                &[("snapshot/status/restoreSize", json!("much"))],
                Err("is not a quantity"),
            ),
            (
                "missing",
                &[("snapshot", json!(null))],
                Err("the source VolumeSnapshot fake-ns/s is not found"),
            ),
            ("no status", &[("snapshot/status", json!(null))], Err("VolumeSnapshot fake-ns/s is not bound")),
            (
                "no content named",
                &[("snapshot/status/boundVolumeSnapshotContentName", json!(null))],
                Err("VolumeSnapshot fake-ns/s is not bound"),
            ),
            (
                "content missing",
                &[("content", json!(null))],
                Err("VolumeSnapshotContent content is not found"),
            ),
            ("not ready", &[("snapshot/status/readyToUse", json!(false))], Err("is not ready to use")),
            (
                "nobody says whether ready",
                &[("snapshot/status/readyToUse", json!(null))],
                Err("is not ready to use"),
            ),
        ],
    );
}

#[test]
fn restoring_needs_a_content_that_is_the_snapshot_s_own() {
    let not_bound = Err("VolumeSnapshot fake-ns/s is not what VolumeSnapshotContent content is bound to");
    cases(
        &world(),
        &[
            ("bound to another uid", &[("content/spec/volumeSnapshotRef/uid", json!("x"))], not_bound),
            ("bound to no uid", &[("content/spec/volumeSnapshotRef/uid", json!(""))], not_bound),
            (
                "bound to another namespace",
                &[("content/spec/volumeSnapshotRef/namespace", json!("x"))],
                not_bound,
            ),
            ("bound to another name", &[("content/spec/volumeSnapshotRef/name", json!("x"))], not_bound),
            (
                "another driver's",
                &[("content/spec/driver", json!("x"))],
                Err("the source VolumeSnapshot fake-ns/s is of the driver x, not of test-driver"),
            ),
            ("content without status", &[("content/status", json!(null))], Err("has no snapshotHandle")),
            ("no handle", &[("content/status/snapshotHandle", json!(null))], Err("has no snapshotHandle")),
        ],
    );
}

#[test]
fn snapshot_that_is_being_deleted_will_do_if_we_hold_it() {
    cases(
        &world(),
        &[
            (
                "being deleted",
                &[("snapshot/metadata/deletionTimestamp", json!(THEN))],
                Err("is being deleted"),
            ),
            (
                "being deleted, held by another",
                &[
                    ("snapshot/metadata/deletionTimestamp", json!(THEN)),
                    ("snapshot/metadata/finalizers", json!(["x"])),
                ],
                Err("is being deleted"),
            ),
            (
                "being deleted, held by us",
                &[
                    ("snapshot/metadata/deletionTimestamp", json!(THEN)),
                    ("snapshot/metadata/finalizers", json!(["x", OURS])),
                ],
                Ok(RESTORED),
            ),
        ],
    );
}

#[test]
fn restoring_in_another_mode_needs_an_administrator_s_word() {
    const MODE: &str = "content/spec/sourceVolumeMode";
    const ALLOW: &str =
        "content/metadata/annotations/snapshot.storage.kubernetes.io~1allow-volume-mode-change";
    let block = ("claim/volumeMode", json!("Block"));
    let from_files = (MODE, json!("Filesystem"));
    let refused = Err("volumeMode Block is not the mode Filesystem of the source VolumeSnapshot fake-ns/s");
    cases(
        &world(),
        &[
            ("same", &[block.clone(), (MODE, json!("Block"))], Ok(RESTORED)),
            ("the content does not say", std::slice::from_ref(&block), Ok(RESTORED)),
            ("the claim does not say", &[(MODE, json!("Block"))], Ok(RESTORED)),
            ("other", &[block.clone(), from_files.clone()], refused),
            ("allowed", &[block.clone(), from_files.clone(), (ALLOW, json!("true"))], Ok(RESTORED)),
            (
                "allowed, as Go reads it",
                &[block.clone(), from_files.clone(), (ALLOW, json!("T"))],
                Ok(RESTORED),
            ),
            ("refused", &[block.clone(), from_files.clone(), (ALLOW, json!("false"))], refused),
            ("no boolean", &[block.clone(), from_files.clone(), (ALLOW, json!("yes"))], refused),
        ],
    );
    let mut unchecked = world();
    [block, from_files].into_iter().for_each(|(pointer, value)| set(&mut unchecked, pointer, value));
    let config = Config { prevent_mode_conversion: false, ..able() };
    check(&config, &unchecked, "not checked", Ok(RESTORED), State::NoChange);
}

fn cloning() -> Value {
    let mut world = world();
    set(&mut world, "claim/dataSource", json!({"kind": "PersistentVolumeClaim", "name": "src"}));
    world
}

#[test]
fn cloning_needs_a_bound_claim_and_a_volume_that_is_its_own() {
    let missing = Err("the source PersistentVolumeClaim fake-ns/src is not found");
    let not_bound = Err("the source PersistentVolumeClaim fake-ns/src is not bound");
    let strange = Err("PersistentVolumeClaim fake-ns/src is not what PersistentVolume pv is bound to");
    let phase = |phase| [("volume/status/phase", json!(phase))];
    let unbound = Err("the source PersistentVolume pv is not bound");
    cases(
        &cloning(),
        &[
            ("another class of the driver", &[], Ok(CLONED)),
            ("a class without a name", &[("source/spec/storageClassName", json!(""))], Ok(CLONED)),
            ("larger", &[("claim/resources", json!({"requests": {"storage": "101"}}))], Ok(CLONED)),
            (
                "too small",
                &[("source/spec/resources/requests/storage", json!("101"))],
                Err("less than the size 101"),
            ),
            ("size unknown", &[("source/spec/resources", json!({}))], Err("is not a quantity")),
            ("missing", &[("source", json!(null))], missing),
            ("no class", &[("source/spec/storageClassName", json!(null))], Err("names no StorageClass")),
            (
                "volume missing",
                &[("volume", json!(null))],
                Err("the source PersistentVolume pv is not found"),
            ),
            ("pending", &[("source/status/phase", json!("Pending"))], not_bound),
            ("lost", &[("source/status/phase", json!("Lost"))], not_bound),
            ("no phase", &[("source/status", json!(null))], not_bound),
            ("no volume named", &[("source/spec/volumeName", json!(""))], not_bound),
            ("being deleted", &[("source/metadata/deletionTimestamp", json!(THEN))], Err("is being deleted")),
            ("volume released", &phase("Released"), unbound),
            ("volume failed", &phase("Failed"), unbound),
            ("volume pending", &phase("Pending"), unbound),
            ("volume available", &phase("Available"), unbound),
            ("volume of nobody", &[("volume/spec/claimRef", json!(null))], strange),
            ("volume of another uid", &[("volume/spec/claimRef/uid", json!("x"))], strange),
            ("volume of another namespace", &[("volume/spec/claimRef/namespace", json!("x"))], strange),
            ("volume of another name", &[("volume/spec/claimRef/name", json!("x"))], strange),
            (
                "another driver's",
                &[("volume/spec/csi/driver", json!("x"))],
                Err("the source PersistentVolume pv is of the driver x, not of test-driver"),
            ),
            (
                "no CSI volume",
                &[("volume/spec/csi", json!(null))],
                Err("of the driver an in-tree plugin, not of"),
            ),
        ],
    );
}

#[test]
fn clone_has_the_mode_of_its_source() {
    for (source, wanted, same) in [
        (json!("Block"), json!("Block"), true),
        (json!("Filesystem"), json!("Filesystem"), true),
        (json!(null), json!(null), true),
        (json!(null), json!("Filesystem"), true),
        (json!("Filesystem"), json!("Block"), false),
        (json!(null), json!("Block"), false),
        (json!("Block"), json!("Filesystem"), false),
    ] {
        let expected = if same { Ok(CLONED) } else { Err("of the source PersistentVolumeClaim fake-ns/src") };
        cases(
            &cloning(),
            &[(
                &format!("{source} to {wanted}"),
                &[("source/spec/volumeMode", source), ("claim/volumeMode", wanted)],
                expected,
            )],
        );
    }
}

#[test]
fn data_source_that_no_driver_can_use_is_refused_for_good() {
    let snapshot =
        |group: &str, kind: &str, name: &str| json!({"apiGroup": group, "kind": kind, "name": name});
    let group = "snapshot.storage.k8s.io";
    for (name, source, expected) in [
        ("no name", snapshot(group, "VolumeSnapshot", ""), "has no name"),
        ("another group", snapshot("x", "VolumeSnapshot", "s"), "VolumeSnapshot of the API group \"x\""),
        ("no group", json!({"kind": "VolumeSnapshot", "name": "s"}), "VolumeSnapshot of the API group \"\""),
        ("claim without a name", json!({"kind": "PersistentVolumeClaim", "name": ""}), "has no name"),
        ("another kind", snapshot("x", "Dump", "s"), "a Dump of the API group \"x\""),
    ] {
        let mut world = world();
        set(&mut world, "claim/dataSource", source);
        check(&able(), &world, name, Err(expected), State::Finished);
    }
}

#[test]
fn driver_must_be_able_to_restore_and_to_clone() {
    let cannot = |world: Value, expected| check(&config(), &world, expected, Err(expected), State::Finished);
    cannot(world(), "CREATE_DELETE_SNAPSHOT");
    cannot(cloning(), "CLONE_VOLUME");
}

#[test]
fn older_field_wins_and_a_namespace_is_refused() {
    let claim = json!({"kind": "PersistentVolumeClaim", "name": "src"});
    let mut world = world();
    set(&mut world, "claim/dataSourceRef", claim.clone());
    check(&able(), &world, "both", Ok(RESTORED), State::NoChange);
    set(&mut world, "claim/dataSource", json!(null));
    check(&able(), &world, "the newer one", Ok(CLONED), State::NoChange);
    set(&mut world, "claim/dataSourceRef/namespace", json!(""));
    check(&able(), &world, "an empty namespace", Ok(CLONED), State::NoChange);
    set(&mut world, "claim/dataSourceRef/namespace", json!("fake-ns"));
    check(&able(), &world, "a namespace", Err("spec.dataSourceRef.namespace"), State::Finished);
    assert_eq!(sent(&able(), &json!({"claim": {}})), Ok(None));
}
