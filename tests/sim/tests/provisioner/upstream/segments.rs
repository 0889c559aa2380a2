//! TestNodeTopology: the segments that nodes make up, seen as capacity objects of one class.

use std::time::Duration;

use serde_json::{Value, json};
use sim::World;
use sim::objects::{DRIVER, csi_node_with, node};
use tokio::time::sleep;

use crate::capacity::{PUBLISHING, published, telling};
use crate::topology::late;

/// Labels of a Node, and the topology keys that a driver registered; `None`: the object is not there.
type Described<'a> = (&'a str, Option<Value>, Option<(&'a str, &'a [&'a str])>);

/// What somebody does afterwards.
type Change<'a> = Box<dyn Fn(&World) + 'a>;

fn registration(name: &str, driver: &str, keys: &[&str]) -> Value {
    csi_node_with(name, json!([{"name": driver, "nodeID": name, "topologyKeys": keys}]))
}

fn put(world: &World, nodes: &[Described<'_>]) {
    for (name, labels, registered) in nodes {
        if let Some(labels) = labels {
            world.api.put(node(name, labels.clone()));
        }
        if let Some((driver, keys)) = registered {
            world.api.put(registration(name, driver, keys));
        }
    }
}

/// The segments, without class and size.
fn segments(world: &World) -> Vec<String> {
    let place = |text: &String| text.split(['[', ']']).nth(1).unwrap().to_owned();
    published(world).iter().map(place).collect()
}

/// A world with these nodes, once everything is published.
async fn settled(nodes: &[Described<'_>]) -> (World, sim::Running) {
    let world = telling();
    world.api.put(late());
    put(&world, nodes);
    let running = PUBLISHING.run(&world, |_| {});
    sleep(Duration::from_secs(5)).await;
    (world, running)
}

#[tokio::test(start_paused = true)]
async fn nodes_make_up_the_segments_that_upstream_finds() {
    let zone = |zone: &str| Some(json!({"zone": zone}));
    let both = |rack: &str, zone: &str| Some(json!({"rack": rack, "zone": zone}));
    let ours: Option<(&str, &[&str])> = Some((DRIVER, &["zone"]));
    let deep: Option<(&str, &[&str])> = Some((DRIVER, &["rack", "zone"]));
    let unsorted: Option<(&str, &[&str])> = Some((DRIVER, &["zone", "rack"]));
    let other: Option<(&str, &[&str])> = Some(("other.example", &["zone"]));
    let none: &[&str] = &[];
    for (row, nodes, expected) in [
        ("empty", vec![], none),
        ("one node", vec![("n1", zone("a"), ours)], &["zone=a"]),
        ("missing CSINode", vec![("n1", zone("a"), None)], none),
        ("missing node", vec![("n1", None, ours)], none),
        ("missing node labels", vec![("n1", Some(json!({})), ours)], none),
        ("two nodes", vec![("n1", zone("a"), ours), ("n2", zone("b"), ours)], &["zone=a", "zone=b"]),
        ("shared storage", vec![("n1", zone("a"), ours), ("n2", zone("a"), ours)], &["zone=a"]),
        (
            "other shared storage",
            vec![("n1", both("r1", "a"), ours), ("n2", both("r2", "a"), ours)],
            &["zone=a"],
        ),
        (
            "deep topology",
            vec![("n1", both("r1", "a"), deep), ("n2", both("r2", "a"), deep)],
            &["rack=r1,zone=a", "rack=r2,zone=a"],
        ),
        (
            "mixed topology",
            vec![("n1", both("r1", "a"), deep), ("n2", zone("b"), ours)],
            &["rack=r1,zone=a", "zone=b"],
        ),
        (
            "partial match",
            vec![("n1", both("r1", "a"), deep), ("n2", both("r2", "a"), ours)],
            &["rack=r1,zone=a", "zone=a"],
        ),
        (
            "unsorted keys",
            vec![("n1", both("r1", "a"), unsorted), ("n2", both("r1", "a"), deep)],
            &["rack=r1,zone=a"],
        ),
        ("wrong driver", vec![("n1", zone("a"), other)], none),
    ] {
        let (world, _running) = settled(&nodes).await;
        assert_eq!(segments(&world), expected, "{row}");
    }
}

#[tokio::test(start_paused = true)]
async fn segments_follow_the_nodes_as_upstream_s_do() {
    let zone = |zone: &str| Some(json!({"zone": zone}));
    let ours: Option<(&str, &[&str])> = Some((DRIVER, &["zone"]));
    let two = [("n1", zone("a"), ours), ("n2", zone("b"), ours)];
    let unlabelled = [("n1", zone("a"), ours), ("n2", Some(json!({})), ours)];
    let no_node = [("n1", zone("a"), ours), ("n2", None, ours)];
    let no_csi_node = [("n1", zone("a"), ours), ("n2", zone("b"), None)];
    let relabel = |labels: Value| {
        move |world: &World| {
            world.api.edit("nodes", "n2", |node| node["metadata"]["labels"] = labels.clone());
        }
    };
    let register = |driver: &'static str, keys: &'static [&'static str]| {
        move |world: &World| {
            let drivers = registration("n2", driver, keys)["spec"]["drivers"].clone();
            world.api.edit("csinodes", "n2", |node| node["spec"]["drivers"] = drivers.clone());
        }
    };
    let both: &[&str] = &["zone=a", "zone=b"];
    let rows: [(&str, &[Described<'_>], Change<'_>, &[&str]); 10] = [
        ("remove driver", &two, Box::new(register("other.example", &["zone"])), &["zone=a"]),
        ("remove CSINode", &two, Box::new(|world| assert!(world.api.delete("csinodes", "n2"))), &["zone=a"]),
        ("remove node", &two, Box::new(|world| assert!(world.api.delete("nodes", "n2"))), &["zone=a"]),
        ("remove labels", &two, Box::new(relabel(json!({}))), &["zone=a"]),
        ("change labels", &two, Box::new(relabel(json!({"zone": "c"}))), &["zone=a", "zone=c"]),
        ("change CSINode", &two, Box::new(register(DRIVER, &["zone", "rack"])), &["zone=a"]),
        ("add labels", &unlabelled, Box::new(relabel(json!({"zone": "b"}))), both),
        (
            "add node",
            &no_node,
            Box::new(move |world| put(world, &[("n2", Some(json!({"zone": "b"})), None)])),
            both,
        ),
        (
            "add CSINode",
            &no_csi_node,
            Box::new(|world| drop(world.api.put(registration("n2", DRIVER, &["zone"])))),
            both,
        ),
        ("change of another label", &two, Box::new(relabel(json!({"zone": "b", "other": "x"}))), both),
    ];
    for (row, nodes, change, expected) in rows {
        let (world, _running) = settled(nodes).await;
        change(&world);
        sleep(Duration::from_secs(5)).await;
        assert_eq!(segments(&world), expected, "{row}");
    }
}
