//! Where lists come from: streams, pages, and an etcd that was restored.

use std::time::Duration;

use csi::v1::CreateVolumeRequest;
use serde_json::json;
use sim::{Fault, World};

use crate::harness::{bound, claim, class, sidecar};

fn ready() -> World {
    let world = World::default();
    world.api.put(class());
    world
}

/// The verbs of the sidecar's reads of claims, in order.
fn reads(world: &World) -> Vec<String> {
    let requests = world.api.requests();
    let reads = requests.iter().filter(|request| {
        request.who == "sidecar" && request.resource == "persistentvolumeclaims" && !request.is_write()
    });
    reads.map(|request| format!("{} {}", request.verb, request.status)).collect()
}

#[tokio::test(start_paused = true)]
async fn server_that_refuses_streams_is_asked_for_pages() {
    let world = ready();
    world.api.refuse_streams();
    let _binder = world.binder();
    let _running = world.run(Duration::from_secs(1), sidecar);
    for number in 0..3 {
        world.api.put(claim(&format!("claim-{number}")));
        bound(&world, &format!("claim-{number}")).await;
    }
    assert_eq!(reads(&world), ["watch 422", "list 200", "watch 200"]);
}

#[tokio::test(start_paused = true)]
async fn streaming_server_is_not_asked_for_a_list() {
    let world = ready();
    let _binder = world.binder();
    let _running = world.run(Duration::from_secs(1), sidecar);
    world.api.put(claim("one"));
    bound(&world, "one").await;
    assert_eq!(reads(&world), ["watch 200"]);
}

#[tokio::test(start_paused = true)]
async fn failing_lists_are_asked_for_less_and_less_often() {
    let world = ready();
    world.steps.on(|step| step.is("watch", "persistentvolumeclaims"), 1000, Fault::ApiError(500));
    let _running = world.run(Duration::from_secs(1), sidecar);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let asked = reads(&world).len();
    assert!((20..60).contains(&asked), "{asked} requests in ten minutes");
}

/// After the restore the class has a version lower than one that we saw before.
#[tokio::test(start_paused = true)]
async fn restored_etcd_is_believed() {
    let world = ready();
    let _binder = world.binder();
    let before = world.api.snapshot();
    let mut newer = class();
    newer["parameters"] = json!({"kind": "newer"});
    world.api.put(newer);
    let _running = world.run(Duration::from_secs(1), sidecar);
    world.api.put(claim("one"));
    bound(&world, "one").await;
    world.api.restore(before);
    // The watches from versions that are in the future now are silent, until new lists are asked for.
    tokio::time::sleep(Duration::from_secs(200)).await;
    world.api.put(claim("two"));
    bound(&world, "two").await;
    let kinds: Vec<Option<String>> = world
        .driver
        .calls()
        .iter()
        .filter_map(|call| call.request::<CreateVolumeRequest>())
        .map(|request| request.parameters.get("kind").cloned())
        .collect();
    assert_eq!(kinds, [Some("newer".to_owned()), None], "the class as it is now");
}
