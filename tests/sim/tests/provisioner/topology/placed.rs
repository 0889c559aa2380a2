//! What the driver is told, and what the volume's object says.

use serde_json::json;
use sim::objects::{csi_node_with, node};
use tokio::time::sleep;

use super::*;
use crate::harness::{LIMIT, bound, calls, events, writes};

/// What somebody does in between.
type Hand = fn(&World);

const ALL: &str = "zone=z1 zone=z2 zone=z3";

#[tokio::test(start_paused = true)]
async fn late_binding_claim_is_made_at_its_node() {
    let made = ["create persistentvolumes 201"];
    let world = PLACED
        .case("selected", [late(), selected("data", "node-2")])
        .ends_with(&["CreateVolume Some(Ok)"], &made)
        .await;
    assert_eq!(terms(&world), [format!("{ALL} / zone=z2 zone=z3 zone=z1")]);
    let volume = &world.api.list("persistentvolumes")[0];
    let is = json!({"key": "zone", "operator": "In", "values": ["z2"]});
    let expected = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [is]}]}});
    assert_eq!(volume["spec"]["nodeAffinity"], expected);
    assert_eq!(events(&world).len(), 2, "{:?}", events(&world));
}

#[tokio::test(start_paused = true)]
async fn flags_and_class_choose_the_terms() {
    let zones = |values: &[&str]| json!([{"matchLabelExpressions": [{"key": "zone", "values": values}]}]);
    let allows = |class: Value, values: &[&str]| with(class, json!({"allowedTopologies": zones(values)}));
    // The claim's name hashes to the same place as long as there are three terms.
    let by_name = format!("{ALL} / zone=z2 zone=z3 zone=z1");
    for (name, class, claim, (strict, immediate), expected) in [
        ("strict", late(), selected("data", "node-2"), (true, true), "zone=z2 / zone=z2"),
        (
            "allowed",
            allows(late(), &["z3", "z2"]),
            selected("data", "node-3"),
            (false, true),
            "zone=z2 zone=z3 / zone=z3 zone=z2",
        ),
        ("immediate", class(), waiting("set-0"), (false, true), by_name.as_str()),
        ("immediate and strict", class(), waiting("set-0"), (true, true), by_name.as_str()),
        ("immediate topology is off", class(), waiting("set-0"), (false, false), "anywhere"),
        (
            "immediate topology is off, allowed",
            allows(class(), &["z2"]),
            waiting("set-0"),
            (false, false),
            "zone=z2 / zone=z2",
        ),
    ] {
        let world = PLACED
            .case(name, [class, claim])
            .config(|config| (config.strict_topology, config.immediate_topology) = (strict, immediate))
            .ends_with(&["CreateVolume Some(Ok)"], &["create persistentvolumes 201"])
            .await;
        assert_eq!(terms(&world), [expected], "{name}");
    }
}

/// With the gate off, or a driver without topology, nodes are neither watched nor read.
#[tokio::test(start_paused = true)]
async fn without_topology_nodes_do_not_matter() {
    for (gate, can) in [(false, true), (true, false)] {
        let case = PLACED.case("off", [late(), selected("data", "no-such-node")]);
        let world = case
            .config(|config| {
                config.topology = gate;
                config.can.topology = can;
            })
            .driver("CreateVolume", [in_zone("z9")])
            .ends_with(&["CreateVolume Some(Ok)"], &["create persistentvolumes 201"])
            .await;
        assert_eq!(terms(&world), ["anywhere"]);
        assert_eq!(world.api.list("persistentvolumes")[0]["spec"]["nodeAffinity"], Value::Null);
        let asked = world.api.requests();
        let of_nodes: Vec<_> = asked.iter().filter(|request| request.resource.ends_with("nodes")).collect();
        assert!(of_nodes.iter().all(|request| request.who != "sidecar"), "{of_nodes:?}");
    }
}

/// The driver answers with this zone, whatever it was told.
fn in_zone(zone: &'static str) -> sim::Reply {
    sim::Reply::edit(move |reply: &mut csi::v1::CreateVolumeResponse| {
        let segments = BTreeMap::from([("zone".to_owned(), zone.to_owned())]);
        reply.volume.as_mut().unwrap().accessible_topology = vec![Topology { segments }];
    })
}

/// Nodes are watched by their metadata only: a heartbeat is neither sent nor looked at.
#[tokio::test(start_paused = true)]
async fn heartbeats_of_nodes_wake_nobody() {
    let world = PLACED.case("no keys", [late(), selected("data", "node-4")]).meanwhile(|world| {
        world.api.put(node("node-4", json!({"zone": "z4"})));
        world.api.put(csi_node_with("node-4", json!([])));
    });
    let world = world.ends_with(&[], &["update persistentvolumeclaims 200"]).await;
    select(&world, "data", "node-4");
    sleep(LIMIT).await;
    let told = events(&world);
    assert!(
        told.iter().any(|event| event
            .contains("error generating accessibility requirements: no topology key found for node node-4")),
        "{told:?}"
    );
    world.api.clear_requests();
    let tries = world.steps.count();
    for beat in 0..20 {
        let time = format!("2026-01-01T00:00:{beat:02}Z");
        world.api.edit("nodes", "node-4", |node| {
            node["status"]["conditions"] = json!([{"lastHeartbeatTime": time}])
        });
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!((world.steps.count(), writes(&world)), (tries, vec![]));
    assert_eq!(calls(&world), Vec::<String>::new());
    let other = json!([{"name": "other", "nodeID": "o", "topologyKeys": ["zone"]}]);
    world.api.edit("csinodes", "node-4", |node| node["spec"]["drivers"] = other);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(world.steps.count(), tries, "another driver registers");
    let ours = json!([{"name": DRIVER, "nodeID": "node-4", "topologyKeys": ["zone"]}]);
    world.api.edit("csinodes", "node-4", |node| node["spec"]["drivers"] = ours);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(
        terms(&world),
        [format!("{ALL} zone=z4 / zone=z4 {ALL}")],
        "the claim does not wait for its back-off"
    );
}

#[tokio::test(start_paused = true)]
async fn nodes_that_come_and_go_are_seen_by_the_next_claim() {
    let world = three_zones();
    let _binder = world.binder();
    world.api.put(class());
    let _running = PLACED.run(&world, |_| {});
    let steps: [(&str, Hand); 5] = [
        ("zone=z1 zone=z2 zone=z3", |_| {}),
        ("zone=z1 zone=z2 zone=z3 zone=z4", |world| put_node(world, "node-4", "z4", &["zone"])),
        ("zone=z1 zone=z3 zone=z4", |world| assert!(world.api.delete("csinodes", "node-2"))),
        ("zone=z1 zone=z3", |world| assert!(world.api.delete("nodes", "node-4"))),
        ("zone=z3 zone=z5", |world| {
            world.api.edit("nodes", "node-1", |node| node["metadata"]["labels"]["zone"] = json!("z5"));
        }),
    ];
    for (number, (expected, change)) in steps.into_iter().enumerate() {
        change(&world);
        sleep(Duration::from_secs(1)).await;
        let name = format!("data-{number}");
        world.api.put(waiting(&name));
        bound(&world, &name).await;
        let last = terms(&world).pop().unwrap();
        assert!(last.starts_with(&format!("{expected} / ")), "{number}: {last}");
    }
}

#[tokio::test(start_paused = true)]
async fn coarse_and_fine_registrations_are_both_offered() {
    let world = World::default();
    put_node(&world, "node-1", "z1", &["zone"]);
    put_node(&world, "node-2", "z2", &["host", "zone"]);
    world.api.put(class());
    world.api.put(waiting("data"));
    let _running = PLACED.run(&world, |_| {});
    sleep(Duration::from_secs(5)).await;
    let requisite = "zone=z1 zone=z2 host=node-2,zone=z2 / ";
    assert!(terms(&world)[0].starts_with(requisite), "{:?}", terms(&world));
}
