//! What the resizer cannot know: lost replies, calls that were not sent, caches that lag behind.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use sim::objects::{attributes_class, pod};
use sim::{Fault, Reply, Running, Step, World};
use tokio::time::{Instant, sleep};
use tonic::Code;

use crate::growth::node_needed;
use crate::harness::{
    DRIVER, EXPANDED, RESIZER, asking, calls, claim, conditions, events, messages, request, volume, with,
    world_with, writes,
};

fn begun(objects: impl IntoIterator<Item = serde_json::Value>) -> (World, Running) {
    let world = world_with(&["pv"]);
    objects.into_iter().for_each(|object| drop(world.api.put(object)));
    let running = RESIZER.run(&world, |config| config.resync = Duration::ZERO);
    (world, running)
}

fn name(world: &World, class: &str) {
    world.api.edit("persistentvolumeclaims", "data", |claim| {
        claim["spec"]["volumeAttributesClassName"] = json!(class);
    });
}

/// The second write to the status of a claim, and those after it.
fn second_status() -> impl Fn(&Step) -> bool + Send + 'static {
    let seen = AtomicUsize::new(0);
    move |step| step.is("patch", "persistentvolumeclaims/status") && seen.fetch_add(1, Ordering::Relaxed) > 0
}

async fn after(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn lost_reply_of_the_last_write_leaves_the_success_told() {
    for (reply, reason) in
        [(Reply::Ok, "VolumeResizeSuccessful"), (node_needed(), "FileSystemResizeRequired")]
    {
        let world = world_with(&["pv"]);
        asking("2Gi").into_iter().for_each(|object| drop(world.api.put(object)));
        world.driver.always("ControllerExpandVolume", reply);
        world.steps.on(second_status(), 1, Fault::LoseReply);
        let _running = RESIZER.run(&world, |config| config.resync = Duration::ZERO);
        after(60).await;
        assert_eq!(calls(&world), [EXPANDED]);
        assert_eq!(events(&world).last().map(String::as_str), Some(reason), "{:?}", events(&world));
    }
}

/// The node has finished meanwhile, and the watch has not told.
#[tokio::test(start_paused = true)]
async fn node_that_finished_after_a_lost_reply_is_not_asked_again() {
    let world = world_with(&["pv"]);
    asking("2Gi").into_iter().for_each(|object| drop(world.api.put(object)));
    world.driver.always("ControllerExpandVolume", node_needed());
    world.steps.on(second_status(), 1, Fault::LoseReply);
    let _running = RESIZER.run(&world, |config| config.resync = Duration::ZERO);
    sleep(Duration::from_millis(20)).await;
    world.api.delay_watch(Duration::from_secs(20));
    after(0).await;
    let pending = |claim: &serde_json::Value| {
        claim["status"]["allocatedResourceStatuses"]["storage"] == "NodeResizePending"
    };
    world
        .api
        .until("the node's turn", Duration::from_secs(60), |api| {
            api.get("persistentvolumeclaims", "data").filter(pending).map(drop)
        })
        .await;
    world.api.edit("persistentvolumeclaims", "data", |claim| {
        claim["status"]["capacity"]["storage"] = json!("2Gi");
        claim["status"]["allocatedResourceStatuses"] = json!({});
        claim["status"]["conditions"] = json!([]);
    });
    after(120).await;
    assert_eq!(calls(&world), [EXPANDED]);
    assert_eq!(conditions(&world), Vec::<String>::new(), "{:?}", writes(&world));
    assert_eq!(claim(&world)["status"]["allocatedResourceStatuses"], json!({}));
}

#[tokio::test(start_paused = true)]
async fn call_that_was_not_sent_binds_nobody_to_a_refused_target() {
    let (world, _running) = begun(asking("5Gi"));
    world.driver.script("ControllerExpandVolume", [Reply::error(Code::Internal, "no")]);
    sleep(Duration::from_millis(500)).await;
    world.driver.stop();
    after(20).await;
    request(&world, "2Gi");
    world.driver.start();
    after(120).await;
    let expected = ["expand id-of-pv to 5Gi Internal", EXPANDED];
    assert_eq!(calls(&world), expected);
}

#[tokio::test(start_paused = true)]
async fn size_whose_secret_was_missing_can_be_taken_back() {
    let place =
        json!({"spec": {"csi": {"controllerExpandSecretRef": {"namespace": "secrets", "name": "expand"}}}});
    let [claim, volume] = asking("9Gi");
    let (world, _running) = begun([claim, with(volume, place)]);
    after(5).await;
    request(&world, "2Gi");
    world.api.put(sim::objects::secret("secrets", "expand", json!({"user": "YWRtaW4="})));
    after(400).await;
    assert_eq!(calls(&world), [EXPANDED]);
}

#[tokio::test(start_paused = true)]
async fn class_whose_secret_was_missing_can_be_taken_back() {
    let annotations = json!({"volume.kubernetes.io/controller-modify-secret-name": "modify",
        "volume.kubernetes.io/controller-modify-secret-namespace": "secrets"});
    let [claim, volume] = asking("1Gi");
    let names = json!({"spec": {"volumeAttributesClassName": "gold"}});
    let classes = ["gold", "silver"].map(|name| attributes_class(name, DRIVER));
    let objects = [with(claim, names), with(volume, json!({"metadata": {"annotations": annotations}}))];
    let (world, _running) = begun(objects.into_iter().chain(classes));
    after(5).await;
    name(&world, "silver");
    world.api.put(sim::objects::secret("secrets", "modify", json!({"user": "YWRtaW4="})));
    after(400).await;
    assert_eq!(calls(&world), ["modify id-of-pv iops=silver Ok"]);
}

/// Nobody can finish what a class began that is gone.
#[tokio::test(start_paused = true)]
async fn class_that_vanished_makes_room_for_the_next() {
    for still_named in [false, true] {
        let [claim, volume] = asking("1Gi");
        let names = json!({"spec": {"volumeAttributesClassName": "gold"}});
        let classes = ["gold", "silver"].map(|name| attributes_class(name, DRIVER));
        let (world, _running) = begun([with(claim, names), volume].into_iter().chain(classes));
        world.driver.script("ControllerModifyVolume", [Reply::error(Code::Aborted, "busy")]);
        sleep(Duration::from_millis(500)).await;
        world
            .api
            .edit("volumeattributesclasses", "gold", |class| class["metadata"]["finalizers"] = json!([]));
        world.api.delete("volumeattributesclasses", "gold");
        if still_named {
            after(100).await;
            assert_eq!(self::claim(&world)["status"]["modifyVolumeStatus"]["status"], "Pending");
        }
        name(&world, "silver");
        after(100).await;
        let expected = ["modify id-of-pv iops=gold Aborted", "modify id-of-pv iops=silver Ok"];
        assert_eq!(calls(&world), expected, "still named: {still_named}");
    }
}

#[tokio::test(start_paused = true)]
async fn class_refused_once_and_then_open_is_finished_first() {
    let [claim, volume] = asking("1Gi");
    let names = json!({"spec": {"volumeAttributesClassName": "gold"}});
    let classes = ["gold", "silver"].map(|name| attributes_class(name, DRIVER));
    let (world, _running) = begun([with(claim, names), volume].into_iter().chain(classes));
    let replies = [Reply::error(Code::Internal, "no"), Reply::error(Code::DeadlineExceeded, "late")];
    world.driver.script("ControllerModifyVolume", replies);
    after(2).await;
    assert_eq!(calls(&world).len(), 2, "{:?}", calls(&world));
    name(&world, "silver");
    after(100).await;
    let expected = ["gold Internal", "gold DeadlineExceeded", "gold Ok", "silver Ok"];
    assert_eq!(calls(&world), expected.map(|call| format!("modify id-of-pv iops={call}")));
}

#[tokio::test(start_paused = true)]
async fn refusal_that_cannot_be_written_is_asked_again_soon() {
    let (world, _running) = begun(asking("2Gi"));
    world.driver.always("ControllerExpandVolume", Reply::error(Code::OutOfRange, "no"));
    world.steps.on(second_status(), 1, Fault::ApiError(500));
    after(10).await;
    assert_eq!(calls(&world).len(), 2, "not after five minutes without a word in the status");
    assert_eq!(claim(&world)["status"]["allocatedResourceStatuses"]["storage"], "ControllerResizeInfeasible");
    after(100).await;
    assert_eq!(calls(&world).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn claim_gone_while_its_refusal_is_written_has_no_pods_followed() {
    let [claim, volume] = asking("2Gi");
    let (world, _running) = begun([claim, volume, pod("user", "data")]);
    world.driver.always("ControllerExpandVolume", Reply::error(Code::FailedPrecondition, "in use"));
    world.steps.on(second_status(), 1, Fault::Delay(Duration::from_secs(5)));
    after(2).await;
    world.api.edit("persistentvolumeclaims", "data", |claim| claim["metadata"]["finalizers"] = json!([]));
    world.api.delete("persistentvolumeclaims", "data");
    after(60).await;
    let before = world.api.requests().len();
    world.api.break_watches();
    after(60).await;
    let asked = world.api.requests().split_off(before);
    assert!(asked.iter().all(|asked| asked.resource != "pods"), "pods are still followed");
}

#[tokio::test(start_paused = true)]
async fn edit_of_a_label_during_a_write_ends_no_pause() {
    let (world, _running) = begun(asking("2Gi"));
    world.driver.always("ControllerExpandVolume", Reply::error(Code::Internal, "no"));
    world.steps.on(second_status(), 1, Fault::Delay(Duration::from_millis(600)));
    let start = Instant::now();
    sleep(Duration::from_millis(300)).await;
    world.api.edit("persistentvolumeclaims", "data", |claim| claim["metadata"]["labels"] = json!({"a": "b"}));
    after(5).await;
    let times: Vec<u64> =
        world.driver.calls().iter().map(|call| call.at.duration_since(start).as_secs()).collect();
    assert_eq!(times, [0, 1, 3]);
}

/// After a restore, the cache takes no write of ours until the watch has found out.
#[tokio::test(start_paused = true)]
async fn restored_etcd_makes_no_hot_loop() {
    let (world, _running) = begun(asking("1Gi"));
    let before = world.api.snapshot();
    for number in 0..50 {
        world.api.edit("persistentvolumeclaims", "data", |claim| {
            claim["metadata"]["labels"] = json!({"n": number.to_string()});
        });
    }
    request(&world, "2Gi");
    world.driver.script("ControllerExpandVolume", [Reply::error(Code::Internal, "no")]);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(calls(&world).len(), 1);
    world.api.restore(before);
    request(&world, "2Gi");
    after(170).await;
    assert!(calls(&world).len() < 12, "{}", calls(&world).len());
}

#[tokio::test(start_paused = true)]
async fn former_size_of_the_next_growth_is_remembered() {
    let [claim, volume_object] = asking("3Gi");
    let has = json!({"status": {"capacity": {"storage": "2Gi"}}});
    let remembers = json!({
        "metadata": {"annotations": {"volume.alpha.kubernetes.io/pre-resize-capacity": "1Gi"}},
        "spec": {"capacity": {"storage": "2Gi"}},
    });
    let world = world_with(&["pv"]);
    [with(claim, has), with(volume_object, remembers)]
        .into_iter()
        .for_each(|object| drop(world.api.put(object)));
    world.driver.always("ControllerExpandVolume", node_needed());
    let _running = RESIZER.run(&world, |_| ());
    after(10).await;
    let annotations = volume(&world)["metadata"]["annotations"].clone();
    assert_eq!(annotations["volume.alpha.kubernetes.io/pre-resize-capacity"], "2Gi");
}

#[tokio::test(start_paused = true)]
async fn growth_that_is_taken_back_leaves_nothing_behind() {
    let [claim, volume] = asking("2Gi");
    let (world, _running) = begun([claim, volume, pod("user", "data")]);
    world.driver.always("ControllerExpandVolume", Reply::error(Code::FailedPrecondition, "in use"));
    after(10).await;
    request(&world, "1Gi");
    after(400).await;
    let before = world.api.requests().len();
    world.api.break_watches();
    after(10).await;
    let asked = world.api.requests().split_off(before);
    assert!(asked.iter().all(|asked| asked.resource != "pods"), "pods are still followed");
    assert_eq!((calls(&world).len(), messages(&world, "VolumeResizeSuccessful").len()), (1, 0));
}
