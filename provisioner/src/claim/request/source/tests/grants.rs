//! Upstream's TestIsGranted, and the rows with another namespace of TestProvisionFromSnapshot and TestProvisionFromPVC.

use super::*;

fn across() -> Config {
    Config { cross_namespace: true, ..able() }
}

/// A claim of `fake-ns` that is filled from what `theirs` has, and a grant for that.
fn elsewhere(kind: &str) -> Value {
    let (group, name, field) = match kind {
        "VolumeSnapshot" => ("snapshot.storage.k8s.io", "s", "snapshot"),
        _ => ("", "src", "source"),
    };
    let mut world = world();
    let source = json!({"apiGroup": group, "kind": kind, "name": name, "namespace": "theirs"});
    world["claim"] = json!({"dataSourceRef": source});
    set(&mut world, &format!("{field}/metadata/namespace"), json!("theirs"));
    set(&mut world, "content/spec/volumeSnapshotRef/namespace", json!("theirs"));
    set(&mut world, "volume/spec/claimRef/namespace", json!("theirs"));
    world["grant"] = json!({
        "metadata": {"name": "g", "namespace": "theirs"},
        "spec": {
            "from": [{"group": "", "kind": "PersistentVolumeClaim", "namespace": "fake-ns"}],
            "to": [{"group": group, "kind": kind, "name": name}],
        },
    });
    world
}

#[test]
fn grant_must_name_both_sides() {
    let from = |field: &str, value: &str| {
        let mut from = json!({"group": "", "kind": "PersistentVolumeClaim", "namespace": "fake-ns"});
        from[field] = json!(value);
        ("grant/spec/from", json!([from]))
    };
    for (kind, id, group, name) in [
        ("VolumeSnapshot", RESTORED, "snapshot.storage.k8s.io", "s"),
        ("PersistentVolumeClaim", CLONED, "", "src"),
    ] {
        let to = |field: &str, value: Value| {
            let mut to = json!({"group": group, "kind": kind, "name": name});
            to[field] = value;
            ("grant/spec/to", json!([to]))
        };
        let other = json!({"group": "x", "kind": "x", "namespace": "x"});
        let whole = json!({"group": "", "kind": "PersistentVolumeClaim", "namespace": "fake-ns"});
        for (row, change, granted) in [
            ("as it should be", None, true),
            ("for any name", Some(to("name", json!(null))), true),
            ("for an empty name", Some(to("name", json!(""))), true),
            ("one of several", Some(("grant/spec/from", json!([other, whole]))), true),
            ("no grant", Some(("grant", json!(null))), false),
            ("in another namespace", Some(("grant/metadata/namespace", json!("fake-ns"))), false),
            ("from another group", Some(from("group", "x")), false),
            ("from another kind", Some(from("kind", "x")), false),
            ("from another namespace", Some(from("namespace", "x")), false),
            ("to another group", Some(to("group", json!("x"))), false),
            ("to another kind", Some(to("kind", json!("x"))), false),
            ("to another name", Some(to("name", json!("x"))), false),
            ("from nobody", Some(("grant/spec/from", json!([]))), false),
            ("to nothing", Some(("grant/spec/to", json!([]))), false),
            ("empty", Some(("grant/spec", json!({}))), false),
        ] {
            let mut world = elsewhere(kind);
            change.into_iter().for_each(|(pointer, value)| set(&mut world, pointer, value));
            let expected = if granted { Ok(id) } else { Err("no ReferenceGrant in its namespace") };
            check(&across(), &world, &format!("{kind} {row}"), expected, State::Finished);
        }
    }
}

#[test]
fn own_namespace_needs_no_grant_and_another_one_the_gate() {
    let mut world = elsewhere("VolumeSnapshot");
    check(&able(), &world, "gate off", Err("CrossNamespaceVolumeDataSource"), State::Finished);
    set(&mut world, "claim/dataSourceRef/namespace", json!("fake-ns"));
    set(&mut world, "snapshot/metadata/namespace", json!("fake-ns"));
    set(&mut world, "content/spec/volumeSnapshotRef/namespace", json!("fake-ns"));
    set(&mut world, "grant", json!(null));
    check(&across(), &world, "own namespace", Ok(RESTORED), State::NoChange);
    check(&able(), &world, "own namespace, gate off", Err("dataSourceRef.namespace"), State::Finished);
}

/// A grant opens the namespace, not what belongs to a third party.
#[test]
fn granted_source_is_judged_as_any_other() {
    let mut world = elsewhere("VolumeSnapshot");
    set(&mut world, "content/spec/volumeSnapshotRef/namespace", json!("third"));
    check(&across(), &world, "another's content", Err("is not what VolumeSnapshotContent"), State::NoChange);
    let mut world = elsewhere("PersistentVolumeClaim");
    set(&mut world, "volume/spec/claimRef/uid", json!("x"));
    check(&across(), &world, "another's volume", Err("is not what PersistentVolume"), State::NoChange);
}
