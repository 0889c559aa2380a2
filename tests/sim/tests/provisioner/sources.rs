//! Claims that are filled from a snapshot or another claim (docs/upstream/provisioner.md, "Content sources").

mod adopted;
mod crashes;
pub(crate) mod elsewhere;
pub(crate) mod holding;
mod meddled;
mod open;
mod secret;
mod waking;
mod watched;

use std::time::Duration;

use csi::v1::volume_content_source::{SnapshotSource, Type, VolumeSource};
use csi::v1::{CreateVolumeRequest, VolumeContentSource, controller_service_capability::rpc::Type as Rpc};
use provisioner::Config;
use serde_json::{Value, json};
use sim::objects::{self, DRIVER, class, with};
use sim::{Case, Reply, Snapshot, Volume, World};
use tokio::time::sleep;
use tonic::Code;

use crate::harness::{PROVISIONER, calls, claim, events, waiting, writes};

/// What is written for a clone.
const CLONED: [&str; 2] = ["update persistentvolumeclaims 200", "create persistentvolumes 201"];
pub(crate) const PROTECTION: &str = "provisioner.storage.kubernetes.io/cloning-protection";
/// What the driver's snapshot is called there.
const HANDLE: &str = "id-of-cut";
/// What is written for a restore: the snapshot is held meanwhile.
const RESTORED: [&str; 3] =
    ["update volumesnapshots 200", "create persistentvolumes 201", "update volumesnapshots 200"];
const MADE: &[&str] = &["CreateVolume Some(Ok)"];

pub(crate) use crashes::begin_clone;

pub(crate) fn able(config: &mut Config) {
    (config.can.snapshots, config.can.clones) = (true, true);
}

/// VolumeSnapshot `default/snap` and its content, bound to each other, of 1 Gi.
pub(crate) fn snapshot() -> [Value; 2] {
    let snapshot = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
        "metadata": {"name": "snap", "namespace": "default"},
        "spec": {"source": {"persistentVolumeClaimName": "gone"}},
        "status": {"boundVolumeSnapshotContentName": "content", "readyToUse": true, "restoreSize": "1Gi"},
    });
    // The uid depends on the name only.
    let uid = sim::ApiServer::new().put(snapshot.clone())["metadata"]["uid"].clone();
    let content = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
        "metadata": {"name": "content"},
        "spec": {
            "driver": DRIVER, "deletionPolicy": "Delete", "source": {"snapshotHandle": HANDLE},
            "volumeSnapshotRef": {"name": "snap", "namespace": "default", "uid": uid},
        },
        "status": {"snapshotHandle": HANDLE},
    });
    [snapshot, content]
}

fn from(claim: Value, group: Value, kind: &str, name: &str) -> Value {
    let source = json!({"apiGroup": group, "kind": kind, "name": name});
    with(claim, json!({"spec": {"dataSource": source.clone(), "dataSourceRef": source}}))
}

pub(crate) fn restoring(claim: Value) -> Value {
    from(claim, json!("snapshot.storage.k8s.io"), "VolumeSnapshot", "snap")
}

pub(crate) fn cloning(claim: Value) -> Value {
    from(claim, Value::Null, "PersistentVolumeClaim", "source")
}

/// The snapshot is at the driver.
pub(crate) fn cut(world: &World) {
    world.driver.change(|settings| settings.controller.extend([Rpc::CreateDeleteSnapshot, Rpc::CloneVolume]));
    world.driver.change_model(|model| {
        let cut = Snapshot { id: HANDLE.into(), name: "cut".into(), source: "gone".into(), size: 1 << 30 };
        model.snapshots.insert(HANDLE.into(), cut);
    });
}

/// Both sources are at the driver.
fn stock(world: &World) {
    cut(world);
    world.driver.change_model(|model| {
        let id = sim::id_of("source-volume");
        let source =
            Volume { id: id.clone(), name: "source-volume".into(), capacity: 1 << 30, ..Volume::default() };
        model.volumes.insert(id, source);
    });
}

/// Half a second after the start the driver has its stock, and the claim comes.
fn case(name: &'static str, objects: Vec<Value>, wanted: Value) -> Case<Config> {
    let objects = objects.into_iter().chain([class()]);
    PROVISIONER.case(name, objects).config(able).meanwhile(move |world| {
        stock(world);
        world.api.put(wanted.clone());
    })
}

fn from_snapshot() -> VolumeContentSource {
    VolumeContentSource { r#type: Some(Type::Snapshot(SnapshotSource { snapshot_id: HANDLE.into() })) }
}

fn from_volume() -> VolumeContentSource {
    VolumeContentSource {
        r#type: Some(Type::Volume(VolumeSource { volume_id: sim::id_of("source-volume") })),
    }
}

/// The content source of each CreateVolume.
fn sent(world: &World) -> Vec<Option<VolumeContentSource>> {
    let calls = world.driver.calls_of("CreateVolume");
    calls
        .iter()
        .map(|call| call.request::<CreateVolumeRequest>().unwrap().volume_content_source.clone())
        .collect()
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Whether the source is there, with our finalizer.
fn is_held(world: &World) -> bool {
    let source = world.api.get("persistentvolumeclaims", "source");
    source.is_some_and(|source| {
        source["metadata"]["finalizers"].as_array().is_some_and(|all| all.iter().any(|one| one == PROTECTION))
    })
}

fn failed_with(world: &World, text: &str) -> bool {
    events(world).iter().any(|event| event.starts_with("ProvisioningFailed: ") && event.contains(text))
}

#[tokio::test(start_paused = true)]
async fn snapshot_of_the_claim_s_namespace_is_restored() {
    let case = case("restore", snapshot().into(), restoring(waiting("data")));
    let world = case.ends_with(MADE, &RESTORED).await;
    assert_eq!(sent(&world), [Some(from_snapshot())]);
}

#[tokio::test(start_paused = true)]
async fn claim_of_the_same_namespace_is_cloned() {
    let source = objects::bound("source", "source-volume");
    let world = case("clone", source.into(), cloning(waiting("data"))).ends_with(MADE, &CLONED).await;
    assert_eq!(sent(&world), [Some(from_volume())]);
    assert!(is_held(&world), "it stays until the source is deleted");
}

/// Nothing is asked of the driver for a source that the claim may not have. What may change is looked at again.
#[tokio::test(start_paused = true)]
async fn source_that_cannot_be_used_is_named_and_looked_at_again() {
    let [good, content] = snapshot();
    let [claim, volume] = objects::bound("source", "source-volume");
    let restore = restoring(waiting("data"));
    let clone = cloning(waiting("data"));
    let stolen = with(content.clone(), json!({"spec": {"volumeSnapshotRef": {"namespace": "theirs"}}}));
    let foreign = with(content.clone(), json!({"spec": {"driver": "other.example"}}));
    let unready = with(good.clone(), json!({"status": {"readyToUse": false}}));
    let taken = with(volume.clone(), json!({"spec": {"claimRef": {"uid": "another"}}}));
    let pending = with(claim.clone(), json!({"status": {"phase": "Pending"}}));
    for (name, objects, wanted, mend, text) in [
        ("no snapshot", vec![content.clone()], &restore, &good, "VolumeSnapshot default/snap is not found"),
        ("no content", vec![good.clone()], &restore, &content, "VolumeSnapshotContent content is not found"),
        (
            "another's content",
            vec![good.clone(), stolen],
            &restore,
            &content,
            "not what VolumeSnapshotContent",
        ),
        ("another driver's", vec![good.clone(), foreign], &restore, &content, "of the driver other.example"),
        ("not ready", vec![content.clone(), unready], &restore, &good, "is not ready to use"),
        (
            "no claim",
            vec![volume.clone()],
            &clone,
            &claim,
            "PersistentVolumeClaim default/source is not found",
        ),
        ("no volume", vec![claim.clone()], &clone, &volume, "PersistentVolume source-volume is not found"),
        ("another's volume", vec![claim.clone(), taken], &clone, &volume, "not what PersistentVolume"),
        ("not bound", vec![volume.clone(), pending], &clone, &claim, "default/source is not bound"),
    ] {
        let world = case(name, objects, wanted.clone()).ends_with(&[], &[]).await;
        assert!(failed_with(&world, text), "{name}: {:?}", events(&world));
        world.api.put(mend.clone());
        sleep(Duration::from_secs(120)).await;
        let written: &[&str] = if *wanted == clone { &CLONED } else { &RESTORED };
        assert_eq!(
            (&*calls(&world), &*writes(&world)),
            (&[MADE[0].to_owned()][..], &*owned(written)),
            "{name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn driver_that_cannot_fill_volumes_is_not_asked() {
    let restore = restoring(waiting("data"));
    let clone = cloning(waiting("data"));
    for (name, wanted, text) in
        [("restore", restore, "CREATE_DELETE_SNAPSHOT missing"), ("clone", clone, "CLONE_VOLUME missing")]
    {
        let objects =
            snapshot().into_iter().chain(objects::bound("source", "source-volume")).chain([class(), wanted]);
        let world = PROVISIONER.case(name, objects).ends_with(&[], &[]).await;
        assert!(failed_with(&world, text), "{name}: {:?}", events(&world));
        let read = ["volumesnapshots", "volumesnapshotcontents"];
        assert!(world.api.requests().iter().all(|request| !read.contains(&&*request.resource)), "{name}");
    }
}

/// The API server takes any text as the name of a source. None of these may lead to another object.
#[tokio::test(start_paused = true)]
async fn name_that_no_object_can_have_is_refused_unseen() {
    let names = [
        "snap?a=b",
        "snap#a",
        "snap/status",
        "./snap",
        "..",
        ".",
        "sna%70",
        "../volumesnapshots/snap",
        "Snap",
        "snap ",
    ];
    for name in names {
        for (kind, group) in
            [("VolumeSnapshot", json!("snapshot.storage.k8s.io")), ("PersistentVolumeClaim", Value::Null)]
        {
            let objects = snapshot().into_iter().chain(objects::bound("snap", "source-volume"));
            let wanted = from(waiting("data"), group, kind, name);
            let world = case("bad name", objects.collect(), wanted).ends_with(&[], &[]).await;
            assert!(
                failed_with(&world, "which no object can have as its name"),
                "{kind} {name}: {:?}",
                events(&world)
            );
            let kinds = ["volumesnapshots", "persistentvolumeclaims"];
            let read = |one: &&sim::Request| one.verb == "get" && kinds.contains(&&*one.resource);
            assert_eq!(world.api.requests().iter().filter(read).count(), 0, "{kind} {name}");
        }
    }
}

/// A driver that answers without the source may have made an empty volume.
#[tokio::test(start_paused = true)]
async fn volume_without_the_content_is_deleted_and_made_again() {
    let empty = Reply::edit(|reply: &mut csi::v1::CreateVolumeResponse| {
        if let Some(volume) = &mut reply.volume {
            volume.content_source = None;
        }
    });
    let case = case("empty", snapshot().into(), restoring(waiting("data"))).driver("CreateVolume", [empty]);
    let world = case
        .ends_with(&["CreateVolume Some(Ok)", "DeleteVolume Some(Ok)", "CreateVolume Some(Ok)"], &RESTORED)
        .await;
    assert_eq!(sent(&world), [Some(from_snapshot()), Some(from_snapshot())]);
    assert!(failed_with(&world, "the CSI driver made an empty volume"), "{:?}", events(&world));
    assert_eq!(world.driver.volumes().len(), 2, "the source and the one that the object names");
}

/// What may be under way is sent again as it was, whether the snapshot is still there or not.
#[tokio::test(start_paused = true)]
async fn retry_sends_the_source_that_was_sent() {
    let case = PROVISIONER
        .case("gone meanwhile", snapshot().into_iter().chain([class(), restoring(waiting("data"))]))
        .config(able)
        .driver("CreateVolume", [Reply::error(Code::DeadlineExceeded, "slow")])
        .meanwhile(|world| {
            stock(world);
            assert!(world.api.delete("volumesnapshots", "default/snap"));
        });
    let world =
        case.ends_with(&["CreateVolume Some(DeadlineExceeded)", "CreateVolume Some(Ok)"], &RESTORED).await;
    assert_eq!(sent(&world), [Some(from_snapshot()), Some(from_snapshot())]);
}

/// The finalizer is taken off a deleted source of our driver that nothing is cloned from, and off no other.
#[tokio::test(start_paused = true)]
async fn deleted_source_is_released_if_nothing_is_cloned_from_it() {
    let [claim, volume] = objects::bound("source", "source-volume");
    let held = |claim: &Value| {
        with(claim.clone(), json!({"metadata": {"finalizers": [PROTECTION, "example.com/other"]}}))
    };
    let foreign = with(volume.clone(), json!({"spec": {"csi": {"driver": "other.example"}}}));
    let elsewhere = with(cloning(waiting("data")), json!({"metadata": {"namespace": "elsewhere"}}));
    let reference =
        json!({"apiGroup": null, "kind": "PersistentVolumeClaim", "name": "source", "namespace": "default"});
    let names = json!({"metadata": {"namespace": "elsewhere"}, "spec": {"dataSourceRef": reference}});
    // The gate is off, so it can never be cloned.
    let across = with(waiting("data"), names);
    // A claim that waits has no node yet: what an earlier process may have sent for it, nobody knows.
    let late = with(class(), json!({"volumeBindingMode": "WaitForFirstConsumer"}));
    let released: &[&str] = &["update persistentvolumeclaims 200"];
    for (name, objects, deleted, expected) in [
        ("nothing is cloned", vec![held(&claim), volume.clone()], true, released),
        ("its volume is gone", vec![held(&claim)], true, released),
        ("another namespace's clone", vec![held(&claim), volume.clone(), elsewhere], true, released),
        ("another namespace names it", vec![held(&claim), volume.clone(), across], true, released),
        ("a clone waits", vec![held(&claim), volume.clone(), cloning(waiting("data"))], true, &[]),
        ("another driver's", vec![held(&claim), foreign], true, &[]),
        ("not ours to release", vec![claim.clone(), volume.clone()], true, &[]),
        ("alive", vec![held(&claim), volume.clone()], false, &[]),
    ] {
        let case = PROVISIONER.case(name, objects.into_iter().chain([late.clone()])).config(able);
        let case = if deleted { case.deleted("persistentvolumeclaims", "source") } else { case };
        let world = case.ends_with(&[], expected).await;
        let left = world.api.get("persistentvolumeclaims", "source").expect("another finalizer holds it");
        let others =
            left["metadata"]["finalizers"].as_array().unwrap().iter().filter(|one| **one != PROTECTION);
        assert!(others.count() >= 1, "{name}: {left}");
        let stays = expected.is_empty() && name != "not ours to release";
        assert_eq!(is_held(&world), stays, "{name}");
    }
}

/// The source is deleted while it is cloned; in the second run the clone's claim too.
#[tokio::test(start_paused = true)]
async fn source_stays_until_its_clone_is_made() {
    for gives_up in [false, true] {
        let world = World::default();
        begin_clone(&world);
        let _binder = world.binder();
        world.driver.script("CreateVolume", [Reply::Ok.after(Duration::from_secs(5))]);
        let _running = PROVISIONER.run(&world, able);
        world.api.put(cloning(claim("data")));
        sleep(Duration::from_secs(1)).await;
        world.api.delete("persistentvolumeclaims", "source");
        if gives_up {
            world.api.delete("persistentvolumeclaims", "data");
        }
        sleep(Duration::from_secs(3)).await;
        assert!(is_held(&world), "{gives_up}");
        sleep(Duration::from_secs(60)).await;
        let left = usize::from(!gives_up);
        assert_eq!(world.api.count("persistentvolumeclaims"), left, "{gives_up}");
        assert_eq!(sent(&world), [Some(from_volume())], "{gives_up}");
        assert_eq!(world.driver.volumes().len(), 1 + left, "{gives_up}");
    }
}
