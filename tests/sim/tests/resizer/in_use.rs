//! Drivers that expand only unused volumes (docs/upstream/resizer.md, "Volumes in use").

use std::time::Duration;

use serde_json::{Value, json};
use sim::objects::pod;
use sim::{Fault, Reply, Running, World};
use tokio::time::sleep;
use tonic::Code;

use crate::harness::{
    RESIZER, asking, calls, claim, conditions, events, messages, request, with, world_with, writes,
};

const REFUSED: &str = "expand id-of-pv to 2Gi FailedPrecondition";
const EXPANDED: &str = "expand id-of-pv to 2Gi Ok";

fn refusal() -> Reply {
    Reply::error(Code::FailedPrecondition, "in use")
}

/// A claim that asks for more, these pods, and a driver that refuses until told otherwise.
fn begun(
    pods: impl IntoIterator<Item = Value>,
    change: impl FnOnce(&mut resizer::Config),
) -> (World, Running) {
    let world = world_with(&["pv"]);
    asking("2Gi").into_iter().chain(pods).for_each(|object| drop(world.api.put(object)));
    world.driver.always("ControllerExpandVolume", refusal());
    let running = RESIZER.run(&world, change);
    (world, running)
}

fn asked_for_pods(world: &World) -> Vec<String> {
    let asked =
        world.api.requests().into_iter().filter(|asked| asked.resource == "pods" && asked.who == "sidecar");
    asked.map(|asked| format!("{} {}", asked.verb, asked.namespace)).collect()
}

#[tokio::test(start_paused = true)]
async fn claim_waits_for_its_pod_and_grows_when_that_goes() {
    let (world, _running) = begun([pod("user", "data"), pod("other", "elsewhere")], |_| ());
    sleep(Duration::from_secs(200)).await;
    assert_eq!(calls(&world), [REFUSED], "the driver is not asked while the pod is there");
    assert_eq!(events(&world), ["Resizing", "VolumeResizeFailed", "VolumeResizeFailed"]);
    let waits = "Unable to expand default/data because CSI driver driver.example only supports offline expansion and volume is currently in-use";
    assert!(
        messages(&world, "VolumeResizeFailed").contains(&waits.to_owned()),
        "{:?}",
        messages(&world, "VolumeResizeFailed")
    );
    assert_eq!(
        conditions(&world),
        ["ControllerResizeError", "Resizing"],
        "the status tells what it waits for"
    );
    world.driver.be_honest();
    world.api.delete("pods", "other");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(calls(&world).len(), 1);
    world.api.delete("pods", "user");
    sleep(Duration::from_millis(500)).await;
    assert_eq!(calls(&world), [REFUSED, EXPANDED], "at once, not at the end of a pause");
    assert_eq!(claim(&world)["status"]["capacity"]["storage"], "2Gi");
}

#[tokio::test(start_paused = true)]
async fn size_marked_while_in_use_is_told_when_it_is_asked_for() {
    let (world, _running) = begun([pod("user", "data")], |_| ());
    sleep(Duration::from_secs(10)).await;
    request(&world, "3Gi");
    sleep(Duration::from_secs(400)).await;
    assert_eq!(claim(&world)["status"]["allocatedResources"]["storage"], "3Gi");
    assert_eq!(messages(&world, "Resizing").len(), 1, "the driver was asked for 2Gi only");
    world.driver.be_honest();
    world.api.delete("pods", "user");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(calls(&world), [REFUSED, "expand id-of-pv to 3Gi Ok"]);
    assert!(events(&world).contains(&"Resizing x2".to_owned()), "{:?}", events(&world));
}

#[tokio::test(start_paused = true)]
async fn claim_that_went_during_its_call_has_no_pods_followed() {
    let (world, _running) = begun([pod("user", "data")], |_| ());
    world.driver.always("ControllerExpandVolume", refusal().after(Duration::from_secs(5)));
    sleep(Duration::from_secs(2)).await;
    world.api.delete("persistentvolumeclaims", "data");
    if world.api.get("persistentvolumeclaims", "data").is_some() {
        world.api.edit("persistentvolumeclaims", "data", |claim| claim["metadata"]["finalizers"] = json!([]));
    }
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.api.count("persistentvolumeclaims"), 0);
    assert_eq!(calls(&world), [REFUSED]);
    assert_eq!(asked_for_pods(&world), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn pod_that_has_ended_uses_nothing() {
    for phase in ["Succeeded", "Failed"] {
        let (world, _running) = begun([pod("user", "data")], |_| ());
        sleep(Duration::from_secs(100)).await;
        assert_eq!(calls(&world), [REFUSED]);
        world.driver.be_honest();
        world.api.edit("pods", "user", |pod| pod["status"]["phase"] = json!(phase));
        sleep(Duration::from_millis(500)).await;
        assert_eq!(calls(&world), [REFUSED, EXPANDED], "{phase}");
        let (world, _running) =
            begun([with(pod("user", "data"), json!({"status": {"phase": phase}}))], |_| ());
        sleep(Duration::from_secs(2)).await;
        assert_eq!(calls(&world).len(), 2, "{phase}: the driver is asked again");
    }
}

#[tokio::test(start_paused = true)]
async fn last_of_several_pods_counts() {
    let ephemeral = json!({"spec": {"volumes": [{"name": "x", "ephemeral": {}}]}});
    let others = with(pod("late", "data"), json!({"status": {"phase": "Pending"}}));
    let (world, _running) = begun([pod("a", "data"), others, with(pod("e", "data"), ephemeral)], |_| ());
    sleep(Duration::from_secs(10)).await;
    world.driver.be_honest();
    world.api.delete("pods", "a");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(calls(&world), [REFUSED]);
    world.api.delete("pods", "late");
    sleep(Duration::from_millis(500)).await;
    assert_eq!(calls(&world), [REFUSED, EXPANDED]);
}

#[tokio::test(start_paused = true)]
async fn without_a_pod_the_driver_is_asked_again() {
    let (world, _running) = begun([pod("other", "elsewhere")], |_| ());
    sleep(Duration::from_secs(5)).await;
    assert_eq!(calls(&world), [REFUSED, REFUSED, REFUSED], "0 s, 1 s, 3 s");
}

#[tokio::test(start_paused = true)]
async fn pods_are_followed_only_while_a_claim_waits() {
    let (world, _running) = begun([pod("user", "data")], |_| ());
    world.api.put(with(pod("far", "data"), json!({"metadata": {"namespace": "elsewhere"}})));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(asked_for_pods(&world), ["watch default"], "one namespace");
    world.driver.be_honest();
    world.api.delete("pods", "user");
    sleep(Duration::from_secs(10)).await;
    let asked = asked_for_pods(&world).len();
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(asked_for_pods(&world).len(), asked, "nobody waits any more");
    // A claim that grows without a word of this looks at no pod.
    request(&world, "3Gi");
    sleep(Duration::from_secs(60)).await;
    assert_eq!((asked_for_pods(&world).len(), calls(&world).len()), (asked, 3));
}

#[tokio::test(start_paused = true)]
async fn claim_that_is_gone_waits_no_more() {
    let (world, _running) = begun([pod("user", "data")], |_| ());
    sleep(Duration::from_secs(10)).await;
    world.api.edit("persistentvolumeclaims", "data", |claim| claim["metadata"]["finalizers"] = json!([]));
    world.api.delete("persistentvolumeclaims", "data");
    let asked = asked_for_pods(&world).len();
    sleep(Duration::from_secs(3600)).await;
    assert_eq!((asked_for_pods(&world).len(), calls(&world).len()), (asked, 1));
}

#[tokio::test(start_paused = true)]
async fn flag_off_looks_at_no_pod_and_asks_at_each_pause() {
    let (world, _running) = begun([pod("user", "data")], |config| config.looks_at_pods = false);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(calls(&world), [REFUSED; 5]);
    assert_eq!((asked_for_pods(&world), conditions(&world).len()), (Vec::new(), 2));
    request(&world, "1536Mi");
    world.driver.be_honest();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(
        calls(&world).last().unwrap(),
        "expand id-of-pv to 1536Mi Ok",
        "a refusal lets the user ask for less"
    );
}

#[tokio::test(start_paused = true)]
async fn without_permission_for_pods_the_driver_is_asked_again() {
    let (world, _running) = begun([pod("user", "data")], |_| ());
    world.steps.on(
        |step| step.is("watch", "pods") || step.is("list", "pods"),
        usize::MAX,
        Fault::ApiError(403),
    );
    sleep(Duration::from_secs(30)).await;
    let asked = calls(&world).len();
    assert_eq!(asked, 5, "0 s, 6 s (after a wait for the list), then the pauses of the back-off");
    assert!(writes(&world).iter().all(|write| !write.contains('(')));
}
