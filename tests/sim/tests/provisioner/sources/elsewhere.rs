//! Sources in another namespace, where a ReferenceGrant allows them.

use std::time::Duration;

use provisioner::Config;
use serde_json::{Value, json};
use sim::objects::{self, class, with};
use sim::{ApiServer, Reply, World};
use tokio::time::sleep;

use super::holding::HOLD;
use super::{PROTECTION, able, failed_with, from_snapshot, from_volume, sent, snapshot, stock};
use crate::harness::{PROVISIONER, bound, calls, claim, events, waiting};

pub(super) const THERE: &str = "theirs";

pub(super) fn across(config: &mut Config) {
    able(config);
    config.cross_namespace = true;
}

/// The claim is filled from an object of this group, kind and name in the other namespace.
fn from(claim: Value, group: Value, kind: &str, name: &str) -> Value {
    let source = json!({"apiGroup": group, "kind": kind, "name": name, "namespace": THERE});
    with(claim, json!({"spec": {"dataSourceRef": source}}))
}

pub(crate) fn restoring(claim: Value) -> Value {
    from(claim, json!("snapshot.storage.k8s.io"), "VolumeSnapshot", "snap")
}

fn cloning(claim: Value) -> Value {
    from(claim, Value::Null, "PersistentVolumeClaim", "source")
}

/// Lets claims of the default namespace use objects of this group and kind.
pub(crate) fn grant(group: &str, kind: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant",
        "metadata": {"name": "grant", "namespace": THERE},
        "spec": {
            "from": [{"group": "", "kind": "PersistentVolumeClaim", "namespace": "default"}],
            "to": [{"group": group, "kind": kind}],
        },
    })
}

/// Puts the object into the other namespace. Gives what refers to it.
fn put_there(world: &World, object: Value) -> Value {
    let there = with(object, json!({"metadata": {"namespace": THERE}}));
    json!({"namespace": THERE, "uid": world.api.put(there)["metadata"]["uid"]})
}

/// The snapshot, in the other namespace.
pub(crate) fn put_snapshot(world: &World) {
    let [snapshot, content] = snapshot();
    let reference = put_there(world, snapshot);
    world.api.put(with(content, json!({"spec": {"volumeSnapshotRef": reference}})));
}

/// Both sources, in the other namespace.
pub(super) fn sources(world: &World) {
    put_snapshot(world);
    let [claim, volume] = objects::bound("source", "source-volume");
    let reference = put_there(world, claim);
    world.api.put(with(volume, json!({"spec": {"claimRef": reference}})));
    world.api.put(class());
    stock(world);
}

#[tokio::test(start_paused = true)]
async fn granted_source_is_used_and_held_in_its_own_namespace() {
    let snapshots = grant("snapshot.storage.k8s.io", "VolumeSnapshot");
    let claims = grant("", "PersistentVolumeClaim");
    for (name, wanted, grant, source, held) in [
        ("restore", restoring(claim("data")), snapshots, from_snapshot(), "theirs/snap"),
        ("clone", cloning(claim("data")), claims, from_volume(), "theirs/source"),
    ] {
        let world = World::default();
        sources(&world);
        world.api.put(grant);
        let _binder = world.binder();
        let _running = PROVISIONER.run(&world, across);
        world.api.put(wanted);
        bound(&world, "data").await;
        sleep(Duration::from_secs(5)).await;
        assert_eq!(sent(&world), [Some(source)], "{name}");
        let updated = |request: &&sim::Request| request.verb == "update" && request.who == "sidecar";
        let objects: Vec<String> = world
            .api
            .requests()
            .iter()
            .filter(updated)
            .map(|request| format!("{}/{}", request.namespace, request.name))
            .collect();
        assert!(objects.iter().all(|object| object == held) && !objects.is_empty(), "{name}: {objects:?}");
        assert!(!super::holding::is_held(&world), "{name}");
    }
}

/// A populator's source, with a namespace: as without one, if a grant allows it.
#[tokio::test(start_paused = true)]
async fn kind_that_csi_does_not_know_is_a_populator_s_there_too() {
    let notice = "Provisioning: Assuming an external populator will provision the volume";
    for own in [false, true] {
        let world = World::default();
        sources(&world);
        let mut wanted = from(waiting("data"), json!("example.com"), "Dump", "dump");
        if own {
            wanted["spec"]["dataSourceRef"]["namespace"] = json!("default");
        }
        let _running = PROVISIONER.run(&world, across);
        world.api.put(wanted);
        sleep(Duration::from_secs(60)).await;
        let refused = failed_with(&world, "lets the claim use the source Dump theirs/dump");
        assert_eq!(refused, !own, "{:?}", events(&world));
        world.api.put(grant("example.com", "Dump"));
        sleep(Duration::from_secs(5)).await;
        let told = events(&world);
        assert_eq!(told.iter().filter(|event| *event == notice).count(), 1, "{own}: {told:?}");
        assert!(own != failed_with(&world, ""), "{told:?}");
        sleep(Duration::from_secs(600)).await;
        assert_eq!((events(&world), calls(&world)), (told, Vec::<String>::new()), "{own}: it is left alone");
    }
}

/// What a populator does is not ours to begin.
#[tokio::test(start_paused = true)]
async fn populator_s_claim_gets_the_notice_and_nothing_else() {
    let world = World::default();
    sources(&world);
    world.api.put(grant("example.com", "Dump"));
    let _running = PROVISIONER.run(&world, across);
    world.api.put(from(waiting("data"), json!("example.com"), "Dump", "dump"));
    sleep(Duration::from_secs(60)).await;
    let notice = "Provisioning: Assuming an external populator will provision the volume";
    assert_eq!((events(&world), calls(&world)), (vec![notice.to_owned()], Vec::<String>::new()));
}

/// Nothing is said about, or read of, what lies in a namespace that does not allow it.
#[tokio::test(start_paused = true)]
async fn source_that_is_not_granted_is_not_looked_at() {
    for (name, wanted) in [("restore", restoring(claim("data"))), ("clone", cloning(claim("data")))] {
        let world = World::default();
        sources(&world);
        world.api.put(grant("", "Secret"));
        let _binder = world.binder();
        let _running = PROVISIONER.run(&world, across);
        world.api.put(wanted);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(calls(&world), Vec::<String>::new(), "{name}");
        assert!(failed_with(&world, "no ReferenceGrant in its namespace"), "{name}: {:?}", events(&world));
        let looked = |request: &&sim::Request| {
            request.who == "sidecar" && request.namespace == THERE && request.resource != "referencegrants"
        };
        let requests = world.api.requests();
        assert_eq!(requests.iter().filter(looked).count(), 0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_gate_another_namespace_is_refused() {
    let world = World::default();
    sources(&world);
    world.api.put(grant("snapshot.storage.k8s.io", "VolumeSnapshot"));
    let _binder = world.binder();
    let _running = PROVISIONER.run(&world, able);
    world.api.put(restoring(claim("data")));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(calls(&world), Vec::<String>::new());
    assert!(failed_with(&world, "CrossNamespaceVolumeDataSource"), "{:?}", events(&world));
    assert!(world.api.requests().iter().all(|request| request.resource != "referencegrants"));
}

/// What an earlier process may have sent for the claim nobody knows; it has no node yet. Without a grant it has no say.
#[tokio::test(start_paused = true)]
async fn only_a_claim_that_may_use_a_source_holds_it() {
    let late = with(class(), json!({"volumeBindingMode": "WaitForFirstConsumer"}));
    for (plural, source, finalizer, wanted, to) in [
        (
            "volumesnapshots",
            "theirs/snap",
            HOLD,
            restoring(waiting("data")),
            grant("snapshot.storage.k8s.io", "VolumeSnapshot"),
        ),
        (
            "persistentvolumeclaims",
            "theirs/source",
            PROTECTION,
            cloning(waiting("data")),
            grant("", "PersistentVolumeClaim"),
        ),
    ] {
        for is_granted in [false, true] {
            let world = World::default();
            sources(&world);
            world.api.put(late.clone());
            world.api.edit(plural, source, |one| one["metadata"]["finalizers"] = json!([finalizer]));
            world.api.put(grant("", "Secret"));
            if is_granted {
                world.api.put(to.clone());
            }
            world.api.put(wanted.clone());
            world.api.delete(plural, source);
            let _running = PROVISIONER.run(&world, across);
            sleep(Duration::from_secs(600)).await;
            assert_eq!(world.api.get(plural, source).is_some(), is_granted, "{source} {is_granted}");
            world.api.delete("referencegrants", "theirs/grant");
            sleep(Duration::from_secs(600)).await;
            assert!(world.api.get(plural, source).is_none(), "{source}: the grant is withdrawn");
        }
    }
}

/// The grant goes while the driver fills the volume.
#[tokio::test(start_paused = true)]
async fn source_whose_grant_is_withdrawn_is_not_handed_out() {
    for (name, wanted, grant) in [
        ("restore", restoring(claim("data")), grant("snapshot.storage.k8s.io", "VolumeSnapshot")),
        ("clone", cloning(claim("data")), grant("", "PersistentVolumeClaim")),
    ] {
        let world = World::default();
        sources(&world);
        world.api.put(grant.clone());
        let _binder = world.binder();
        world.driver.script("CreateVolume", [Reply::Ok.after(Duration::from_secs(5))]);
        let _running = PROVISIONER.run(&world, across);
        world.api.put(wanted);
        sleep(Duration::from_secs(2)).await;
        world.api.delete("referencegrants", "theirs/grant");
        sleep(Duration::from_secs(60)).await;
        assert_eq!(calls(&world), ["CreateVolume Some(Ok)", "DeleteVolume Some(Ok)"], "{name}");
        assert!(failed_with(&world, "no ReferenceGrant in its namespace"), "{name}: {:?}", events(&world));
        world.api.put(grant);
        sleep(Duration::from_secs(5)).await;
        assert_eq!(calls(&world).len(), 3, "{name}: it goes on at once");
        bound(&world, "data").await;
    }
}

/// Where grants cannot be listed nobody can use them.
#[tokio::test(start_paused = true)]
async fn deleted_source_goes_where_grants_cannot_be_listed() {
    for is_hidden in [false, true] {
        let world = World::default();
        sources(&world);
        if is_hidden {
            world.api.hide("referencegrants");
        } else {
            let rules = json!([
                {"apiGroups": ["", "storage.k8s.io", "snapshot.storage.k8s.io"], "resources": ["*"], "verbs": ["*"]},
            ]);
            world.api.grant_only("sidecar", ApiServer::rules(rules).expect("rules"));
        }
        for (plural, source, finalizer) in [
            ("volumesnapshots", "theirs/snap", HOLD),
            ("persistentvolumeclaims", "theirs/source", PROTECTION),
        ] {
            world.api.edit(plural, source, |one| one["metadata"]["finalizers"] = json!([finalizer]));
            world.api.delete(plural, source);
        }
        world.api.put(with(restoring(waiting("data")), json!({"metadata": {"name": "restore"}})));
        world.api.put(with(cloning(waiting("data")), json!({"metadata": {"name": "clone"}})));
        let _running = PROVISIONER.run(&world, across);
        sleep(Duration::from_secs(600)).await;
        let left = [("volumesnapshots", "theirs/snap"), ("persistentvolumeclaims", "theirs/source")];
        let left = left.map(|(plural, source)| world.api.get(plural, source).is_some());
        assert_eq!(left, [false; 2], "{is_hidden}");
    }
}

/// Nobody gets the volume of a claim that is gone: that grants cannot be listed any more keeps neither it nor the source.
#[tokio::test(start_paused = true)]
async fn copy_for_a_gone_claim_goes_where_grants_cannot_be_listed() {
    let world = World::default();
    sources(&world);
    world.api.put(grant("snapshot.storage.k8s.io", "VolumeSnapshot"));
    let _binder = world.binder();
    world.driver.script("CreateVolume", [Reply::Ok.after(Duration::from_secs(5))]);
    let _running = PROVISIONER.run(&world, across);
    world.api.put(restoring(claim("data")));
    sleep(Duration::from_secs(2)).await;
    world.api.delete("persistentvolumeclaims", "data");
    world.api.hide("referencegrants");
    sleep(Duration::from_secs(600)).await;
    assert_eq!(calls(&world), ["CreateVolume Some(Ok)", "DeleteVolume Some(Ok)"]);
}
