//! A request that may be under way is sent again with the same terms.

use sim::Reply;
use sim::objects::{csi_node_with, node};
use tokio::time::sleep;
use tonic::Code;

use super::*;
use crate::harness::{LIMIT, calls, events, logged, writes};

/// TestProvisionWithDeletedNodeFromCache: late and immediate, strict or not, with allowed topologies or without.
#[tokio::test(start_paused = true)]
async fn retry_sends_the_same_terms_although_the_node_is_gone() {
    let allowed = json!({"allowedTopologies": [
        {"matchLabelExpressions": [{"key": "zone", "values": ["z1", "z2"]}]},
    ]});
    for (is_late, strict, allows) in [
        (true, false, false),
        (true, false, true),
        (true, true, false),
        (true, true, true),
        (false, false, false),
        (false, false, true),
        (false, true, false),
        (false, true, true),
    ] {
        let base = if is_late { late() } else { class() };
        let class = if allows { with(base, allowed.clone()) } else { base };
        let claim = if is_late { selected("data", "node-2") } else { waiting("data") };
        let case = PLACED
            .case("gone in between", [class, claim])
            .driver("CreateVolume", [Reply::error(Code::DeadlineExceeded, "slow")])
            .config(|config| config.strict_topology = strict)
            .meanwhile(|world| {
                for name in ["node-1", "node-2", "node-3"] {
                    world.api.delete("csinodes", name);
                    world.api.delete("nodes", name);
                }
            });
        let expected = ["CreateVolume Some(DeadlineExceeded)", "CreateVolume Some(Ok)"];
        let world = case.ends_with(&expected, &["create persistentvolumes 201"]).await;
        let told = terms(&world);
        assert!(told[0] == told[1] && told[0].contains("zone=z2"), "{is_late} {strict} {allows}: {told:?}");
    }
}

/// TestNodeTopologyLabelFallback: the label comes later than the CSINode.
#[tokio::test(start_paused = true)]
async fn claim_goes_on_as_soon_as_the_label_appears() {
    let world = three_zones();
    world.api.put(late());
    world.api.put(node("node-4", json!({"other": "label"})));
    let ours = json!([{"name": DRIVER, "nodeID": "node-4", "topologyKeys": ["zone"]}]);
    world.api.put(csi_node_with("node-4", ours));
    world.api.put(selected("data", "node-4"));
    let _running = PLACED.run(&world, |_| {});
    sleep(LIMIT).await;
    assert_eq!((calls(&world), writes(&world)), (vec![], vec![]));
    let told = events(&world);
    assert!(told.iter().any(|event| event.contains("does not match topology keys")), "{told:?}");
    world.api.edit("nodes", "node-4", |node| node["metadata"]["labels"]["zone"] = json!("z4"));
    sleep(Duration::from_millis(100)).await;
    assert_eq!(terms(&world), ["zone=z1 zone=z2 zone=z3 zone=z4 / zone=z4 zone=z1 zone=z2 zone=z3"]);
}

/// How often a claim is tried in ten minutes whose node lacks the label `zone`, while this other label changes each second.
fn tries_while_a_label_changes(label: &'static str) -> usize {
    let log = logged(async move {
        let world = World::default();
        world.api.put(late());
        world.api.put(node("node-4", json!({"other": "label"})));
        let ours = json!([{"name": DRIVER, "nodeID": "node-4", "topologyKeys": ["zone", "rack"]}]);
        world.api.put(csi_node_with("node-4", ours));
        world.api.put(selected("data", "node-4"));
        let _running = PLACED.run(&world, |_| {});
        for second in 0..600 {
            world.api.edit("nodes", "node-4", |node| {
                node["metadata"]["labels"][label] = json!(second.to_string())
            });
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(calls(&world), Vec::<String>::new());
    });
    log.matches("Provisioning failed").count()
}

/// The back-off alone makes ten tries of ten minutes.
#[test]
fn label_that_is_no_topology_key_ends_no_back_off() {
    let tries = tries_while_a_label_changes("heartbeat");
    assert!((5..12).contains(&tries), "{tries}");
}

#[test]
fn topology_that_keeps_changing_does_not_wake_without_pause() {
    let tries = tries_while_a_label_changes("rack");
    assert!((12..40).contains(&tries), "{tries}");
}

/// Many claims wait for the driver's first registration: none of them waits for its back-off.
#[tokio::test(start_paused = true)]
async fn claims_go_on_with_the_first_registration() {
    let world = World::default();
    world.api.put(class());
    for number in 0..20 {
        world.api.put(waiting(&format!("data-{number}")));
    }
    let _running = PLACED.run(&world, |_| {});
    sleep(LIMIT).await;
    assert_eq!(calls(&world), Vec::<String>::new());
    put_node(&world, "node-1", "z1", &["zone"]);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(terms(&world), vec!["zone=z1 / zone=z1"; 20]);
}

/// A class made anew begins nothing before the scheduler has chosen a node; what was sent is sent again.
#[tokio::test(start_paused = true)]
async fn new_class_does_not_begin_without_a_node() {
    let slow = || Reply::error(Code::DeadlineExceeded, "slow");
    let case = PLACED
        .case("class made anew", [late(), selected("data", "node-2")])
        .driver("CreateVolume", [slow(), slow()])
        .meanwhile(|world| {
            world.api.delete("storageclasses", "fast");
            world.api.put(with(late(), json!({"parameters": {"made": "anew"}})));
            world.api.edit("persistentvolumeclaims", "data", |claim| {
                claim["metadata"]["annotations"].as_object_mut().unwrap().remove(SELECTED);
            });
        });
    let calls = [
        "CreateVolume Some(DeadlineExceeded)",
        "CreateVolume Some(DeadlineExceeded)",
        "CreateVolume Some(Ok)",
    ];
    let world = case.ends_with(&calls, &["create persistentvolumes 201"]).await;
    assert_eq!(terms(&world), vec!["zone=z1 zone=z2 zone=z3 / zone=z2 zone=z3 zone=z1"; 3]);
}
