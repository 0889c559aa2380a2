//! The scheduler is asked for another node (docs/upstream/provisioner.md, "Outcome").

use sim::{Fault, Reply};
use tokio::time::sleep;
use tonic::Code;

use super::*;
use crate::harness::{LIMIT, bound, calls, events, writes};

fn exhausted() -> Reply {
    Reply::error(Code::ResourceExhausted, "no room")
}

/// What somebody does in between.
type Hand = fn(&World);

const FULL: &str = "CreateVolume Some(ResourceExhausted)";

#[tokio::test(start_paused = true)]
async fn full_segment_sends_the_claim_back_to_the_scheduler() {
    let case =
        PLACED.case("full", [late(), selected("data", "node-1")]).driver("CreateVolume", [exhausted()]);
    let world = case.ends_with(&[FULL], &["update persistentvolumeclaims 200"]).await;
    assert_eq!(selection(&world, "data"), None);
    sleep(LIMIT).await;
    assert_eq!(calls(&world), [FULL], "it is not tried again by itself");
    let told = events(&world);
    assert_eq!(told[1], "ProvisioningFailed: rpc error: code = ResourceExhausted desc = no room", "{told:?}");
    select(&world, "data", "node-2");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(calls(&world), [FULL, "CreateVolume Some(Ok)"], "and at once with the next node");
    assert!(terms(&world)[1].ends_with("/ zone=z2 zone=z3 zone=z1"), "{:?}", terms(&world));
}

#[tokio::test(start_paused = true)]
async fn scheduler_moves_on_until_there_is_room() {
    let world = three_zones();
    let _binder = world.binder();
    for zone in ["z1", "z2"] {
        set_room(&world, zone, 1);
    }
    world.api.put(late());
    let scheduler = Scheduler::start(&world, &["node-1", "node-2", "node-3"]);
    let _running = PLACED.run(&world, |_| {});
    world.api.put(sim::objects::claim("data"));
    bound(&world, "data").await;
    assert_eq!(scheduler.chosen(), ["node-1", "node-2", "node-3"]);
    assert_eq!(calls(&world), [FULL, FULL, "CreateVolume Some(Ok)"]);
    let put = "update persistentvolumeclaims 200";
    assert_eq!(writes(&world), [put, put, "create persistentvolumes 201"]);
    let volume = &world.api.list("persistentvolumes")[0];
    let term = &volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0];
    assert_eq!(term["values"], json!(["z3"]));
}

#[tokio::test(start_paused = true)]
async fn node_that_is_gone_sends_the_claim_back_too() {
    let case = PLACED.case("gone", [late(), selected("data", "node-9")]);
    let world = case.ends_with(&[], &["update persistentvolumeclaims 200"]).await;
    assert_eq!(selection(&world, "data"), None);
    let told = events(&world);
    let missing = "ProvisioningFailed: failed to get selected CSINode node-9: \
         csinode.storage.k8s.io \"node-9\" not found";
    assert_eq!(told[1], missing, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn csi_node_that_our_cache_lacks_is_read_first() {
    let world = three_zones();
    world.api.put(late());
    let _running = PLACED.run(&world, |_| {});
    sleep(Duration::from_secs(1)).await;
    world.api.delay_watch(Duration::from_secs(5));
    put_node(&world, "node-4", "z4", &["zone"]);
    sleep(Duration::from_secs(4)).await;
    world.api.delay_watch(Duration::ZERO);
    world.api.put(selected("data", "node-4"));
    sleep(Duration::from_secs(10)).await;
    assert_eq!(selection(&world, "data").as_deref(), Some("node-4"));
    assert_eq!(calls(&world), ["CreateVolume Some(Ok)"]);
    assert_eq!(writes(&world), ["create persistentvolumes 201"]);
}

#[tokio::test(start_paused = true)]
async fn conflicts_are_tried_four_times() {
    for (conflicts, left) in [(1, false), (3, false), (4, true)] {
        let case = PLACED
            .case("conflicts", [late(), selected("data", "node-1")])
            .driver("CreateVolume", [exhausted()]);
        let conflict = |step: &sim::Step| step.is("update", "persistentvolumeclaims");
        let mut writes = vec!["update persistentvolumeclaims 409"; conflicts];
        let mut calls = vec![FULL];
        if left {
            // It is an error like another: the claim is tried again, and the driver has room by then.
            calls.push("CreateVolume Some(Ok)");
            writes.push("create persistentvolumes 201");
        } else {
            writes.push("update persistentvolumeclaims 200");
        }
        let world = case.fault(conflict, conflicts, Fault::Conflict).ends_with(&calls, &writes).await;
        assert_eq!(selection(&world, "data").is_some(), left);
    }
}

#[tokio::test(start_paused = true)]
async fn newer_choice_and_newer_claim_keep_their_node() {
    let late_refusal = || exhausted().after(Duration::from_secs(5));
    let hands: [(&str, Hand); 2] = [
        ("a newer choice", |world| select(world, "data", "node-3")),
        ("a newer claim", |world| {
            world
                .api
                .edit("persistentvolumeclaims", "data", |claim| claim["metadata"]["finalizers"] = json!([]));
            world.api.delete("persistentvolumeclaims", "data");
            world.api.put(selected("data", "node-3"));
        }),
    ];
    for (name, hand) in hands {
        let case =
            PLACED.case(name, [late(), selected("data", "node-1")]).driver("CreateVolume", [late_refusal()]);
        let expected = [FULL, "CreateVolume Some(Ok)"];
        let world = case.meanwhile(hand).ends_with(&expected, &["create persistentvolumes 201"]).await;
        assert_eq!(selection(&world, "data").as_deref(), Some("node-3"), "{name}");
        assert!(terms(&world)[1].contains("/ zone=z3"), "{name}: {:?}", terms(&world));
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_node_or_topology_the_claim_is_only_retried() {
    for (topology, claim) in [(true, waiting("data")), (false, selected("data", "node-1"))] {
        let case = PLACED.case("retried", [class(), claim]).driver("CreateVolume", [exhausted()]);
        let ended = case.config(|config| config.topology = topology);
        ended.ends_with(&[FULL, "CreateVolume Some(Ok)"], &["create persistentvolumes 201"]).await;
    }
}
