//! The driver, the binder and the faults, seen through the sidecars' own connection and client.

use std::sync::Arc;
use std::time::Duration;

use base::metrics::Metrics;
use csi::v1::*;
use csi::{CallLog, Client as Caller, LinkState};
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use sim::{Fault, Reply, Settings, World};
use tonic::Code;

const DEADLINE: Duration = Duration::from_secs(10);

fn caller(world: &World) -> Arc<Caller> {
    Arc::new(Caller::new(world.connection(), Metrics::new(), CallLog::default()))
}

fn create(name: &str) -> CreateVolumeRequest {
    CreateVolumeRequest {
        name: name.to_owned(),
        volume_capabilities: vec![VolumeCapability::default()],
        ..CreateVolumeRequest::default()
    }
}

fn code<T>(result: Result<T, tonic::Status>) -> Code {
    result.err().map_or(Code::Ok, |status| status.code())
}

#[tokio::test(start_paused = true)]
async fn volume_made_again_has_another_id() {
    let world = World::default();
    let caller = caller(&world);
    let mut ids = Vec::new();
    for _ in 0..3 {
        for _ in 0..2 {
            ids.push(
                caller.call(create("a"), DEADLINE).await.expect("created").volume.expect("one").volume_id,
            );
        }
        let volume_id = ids.last().cloned().unwrap_or_default();
        let delete = DeleteVolumeRequest { volume_id, ..DeleteVolumeRequest::default() };
        caller.call(delete, DEADLINE).await.expect("deleted");
    }
    let first = sim::id_of("a");
    assert_eq!(ids, ["", "", "-2", "-2", "-3", "-3"].map(|number| format!("{first}{number}")));
}

#[tokio::test(start_paused = true)]
async fn keeps_volumes_by_name_and_publications_by_node() {
    let world = World::default();
    let caller = caller(&world);
    let volume = caller.call(create("a"), DEADLINE).await.expect("created").volume.expect("a volume");
    assert_eq!(volume.volume_id, sim::id_of("a"));
    caller.call(create("a"), DEADLINE).await.expect("the same again");
    let mut other = create("a");
    other.parameters.insert("x".to_owned(), "y".to_owned());
    assert_eq!(code(caller.call(other, DEADLINE).await), Code::AlreadyExists);

    let publish = |node: &str| ControllerPublishVolumeRequest {
        volume_id: sim::id_of("a"),
        node_id: node.to_owned(),
        volume_capability: Some(VolumeCapability::default()),
        ..ControllerPublishVolumeRequest::default()
    };
    caller.call(publish("n1"), DEADLINE).await.expect("published");
    assert_eq!(code(caller.call(publish("n2"), DEADLINE).await), Code::FailedPrecondition);
    assert_eq!(world.driver.publications(), [(sim::id_of("a"), "n1".to_owned())]);
    let delete = DeleteVolumeRequest { volume_id: sim::id_of("a"), ..DeleteVolumeRequest::default() };
    assert_eq!(code(caller.call(delete.clone(), DEADLINE).await), Code::FailedPrecondition);
    let unpublish = ControllerUnpublishVolumeRequest { volume_id: sim::id_of("a"), ..Default::default() };
    caller.call(unpublish, DEADLINE).await.expect("from all nodes");
    caller.call(delete, DEADLINE).await.expect("deleted");
    assert!(world.driver.volumes().is_empty());
    let methods: Vec<String> = world.driver.calls().into_iter().map(|call| call.method).collect();
    assert_eq!(methods.len(), 8, "{methods:?}");
    assert_eq!(world.steps.count(), 8);
    let first = &world.driver.calls()[0];
    assert_eq!(first.request::<CreateVolumeRequest>().map(|request| request.name.as_str()), Some("a"));
    assert_eq!(first.code, Some(Code::Ok));
}

#[tokio::test(start_paused = true)]
async fn follows_the_script_then_is_honest_again() {
    let world = World::default();
    let caller = caller(&world);
    world.driver.script(
        "CreateVolume",
        [
            Reply::error(Code::ResourceExhausted, "full"),
            Reply::Ok.after(Duration::from_secs(60)),
            Reply::LostReply,
            Reply::edit(|reply: &mut CreateVolumeResponse| reply.volume = None),
        ],
    );
    assert_eq!(code(caller.call(create("a"), DEADLINE).await), Code::ResourceExhausted);
    assert!(world.driver.volumes().is_empty());
    // The caller gives up after ten seconds, the driver does not.
    assert_eq!(code(caller.call(create("a"), DEADLINE).await), Code::DeadlineExceeded);
    assert!(world.driver.volumes().is_empty());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.driver.volumes().len(), 1);
    assert_eq!(code(caller.call(create("b"), DEADLINE).await), Code::DeadlineExceeded);
    assert_eq!(world.driver.volumes().len(), 2);
    assert_eq!(caller.call(create("a"), DEADLINE).await.expect("an odd reply").volume, None);
    assert!(caller.call(create("a"), DEADLINE).await.expect("honest").volume.is_some());
    assert_eq!(world.driver.overlaps(), [] as [String; 0]);
}

/// Nobody could make up for a late effect, or for a final code that is not true.
#[tokio::test(start_paused = true)]
async fn keeps_the_contract_when_asked_to() {
    let world = World::new(Settings { keeps_contract: true, ..Settings::default() });
    let caller = caller(&world);
    world.driver.script("CreateVolume", [Reply::Ok.after(2 * DEADLINE), Reply::error(Code::Internal, "no")]);
    assert_eq!(code(caller.call(create("a"), DEADLINE).await), Code::DeadlineExceeded);
    assert_eq!(code(caller.call(create("a"), DEADLINE).await), Code::Aborted, "the first one goes on");
    assert_eq!(code(caller.call(create("b"), DEADLINE).await), Code::Ok);
    tokio::time::sleep(2 * DEADLINE).await;
    assert!(world.driver.volumes().contains_key(&sim::id_of("a")));
    world
        .driver
        .script("CreateVolume", [Reply::error(Code::Internal, "no"), Reply::error(Code::Aborted, "no")]);
    assert_eq!(code(caller.call(create("a"), DEADLINE).await), Code::Ok, "there is such a volume");
    assert_eq!(code(caller.call(create("a"), DEADLINE).await), Code::Aborted);
}

#[tokio::test(start_paused = true)]
async fn notices_two_calls_about_one_volume() {
    let world = World::default();
    let caller = caller(&world);
    let both =
        futures::future::join(caller.call(create("a"), DEADLINE), caller.call(create("a"), DEADLINE)).await;
    assert!(both.0.is_ok() && both.1.is_ok());
    assert_eq!(world.driver.overlaps(), [format!("CreateVolume {}", sim::id_of("a"))]);
}

#[tokio::test(start_paused = true)]
async fn loses_the_connection_at_once_when_the_driver_restarts() {
    let world = World::default();
    let caller = caller(&world);
    caller.call(create("a"), DEADLINE).await.expect("created");
    let mut state = caller.connection().state();
    assert!(matches!(*state.borrow_and_update(), LinkState::Up { .. }));
    world.driver.stop();
    state.wait_for(|state| matches!(state, LinkState::Down)).await.expect("told");
    assert_eq!(code(caller.call(create("a"), DEADLINE).await), Code::Unavailable);
    world.driver.start();
    state.wait_for(|state| matches!(state, LinkState::Up { .. })).await.expect("told");
    caller.call(create("a"), DEADLINE).await.expect("what it had survives");
    assert_eq!(world.driver.volumes().len(), 1);
}

fn claim(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": { "name": name },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "late",
            "resources": { "requests": { "storage": "1Gi" } },
        },
    })
}

fn volume_for(claim: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": { "name": "pv" },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": { "storage": "2Gi" },
            "csi": { "driver": "driver.example", "volumeHandle": "h" },
            "claimRef": { "namespace": "default", "name": "data", "uid": claim.pointer("/metadata/uid") },
        },
    })
}

#[tokio::test(start_paused = true)]
async fn binds_releases_and_unprotects() {
    let world = World::default();
    let _binder = world.binder();
    world.api.put(json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": { "name": "late" },
        "provisioner": "driver.example",
        "volumeBindingMode": "WaitForFirstConsumer",
    }));
    world.api.put(claim("data"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let asked = "/metadata/annotations/volume.kubernetes.io~1storage-provisioner";
    let found = |pointer: &str| world.api.get("persistentvolumeclaims", "data")?.pointer(pointer).cloned();
    assert_eq!(found(asked), None, "no node is selected yet");
    world.api.edit("persistentvolumeclaims", "data", |claim| {
        claim["metadata"]["annotations"] = json!({ "volume.kubernetes.io/selected-node": "n1" });
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(found(asked), Some(json!("driver.example")));
    let data = world.api.get("persistentvolumeclaims", "data").expect("there");
    world.api.put(volume_for(&data));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(found("/status/phase"), Some(json!("Bound")));
    assert_eq!(found("/status/capacity/storage"), Some(json!("2Gi")));
    world.api.delete("persistentvolumeclaims", "data");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.api.count("persistentvolumeclaims"), 0);
    let volume = world.api.get("persistentvolumes", "pv").expect("released, not gone");
    assert_eq!(volume["status"]["phase"], "Released");
    world.api.delete("persistentvolumes", "pv");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.api.count("persistentvolumes"), 0);
    assert_eq!(world.steps.count(), 0, "nothing of this was the process under test");
    assert!(world.api.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn breaks_the_request_that_was_planned_and_no_other() {
    let world = World::default();
    world.api.put(claim("data"));
    let data = world.api.get("persistentvolumeclaims", "data").expect("there");
    world.api.put(volume_for(&data));
    let volumes: Api<PersistentVolume> = Api::all(world.client());
    world.steps.plan(2, Fault::ApiError(403));
    world.steps.on(|step| step.is("delete", "persistentvolumes"), 1, Fault::LoseReply);
    let everything = ListParams::default();
    let list = || volumes.list(&everything);
    assert!(list().await.is_ok());
    assert!(matches!(list().await, Err(kube::Error::Api(status)) if status.code == 403));
    assert!(list().await.is_ok());
    assert!(matches!(volumes.delete("pv", &DeleteParams::default()).await, Err(kube::Error::Service(_))));
    let left = world.api.get("persistentvolumes", "pv").expect("its finalizer holds it");
    assert!(left["metadata"]["deletionTimestamp"].is_string(), "the request had its effect");
    let statuses: Vec<u16> = world.api.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [200, 403, 200, 200]);
    assert_eq!(world.steps.taken()[3].to_string(), "delete persistentvolumes pv");
}

#[tokio::test(start_paused = true)]
async fn hears_nothing_from_a_dead_process() {
    let world = World::default();
    let process = world.run(Duration::from_secs(3600), |world: World| async move {
        let volumes: Api<PersistentVolume> = Api::all(world.client());
        // A task that the process leaves behind.
        tokio::spawn(async move {
            loop {
                let _ = volumes.list(&ListParams::default()).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        std::future::pending::<()>().await;
    });
    tokio::time::sleep(Duration::from_secs(10)).await;
    let before = world.steps.count();
    assert!(before > 5, "{before}");
    process.kill();
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(world.steps.count(), before);
    assert_eq!(process.lives(), 1);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(process.lives(), 2);
    assert!(world.steps.count() > before);
}

#[tokio::test(start_paused = true)]
async fn restarts_the_driver_at_the_planned_step() {
    let world = World::default();
    let caller = caller(&world);
    caller.call(create("a"), DEADLINE).await.expect("created");
    world.steps.plan(2, Fault::RestartDriver);
    assert_eq!(
        code(caller.call(create("b"), DEADLINE).await),
        Code::Unavailable,
        "its own connection is cut"
    );
    assert_eq!(world.steps.fired(), [(2, Fault::RestartDriver)]);
    caller.call(create("b"), DEADLINE).await.expect("reconnected");
}
