//! TestTopologyAggregation: the terms of the nodes, immediately and with the first node selected.

use super::*;

/// One row: requisite without a selected node, with the first one selected, and the same with strict topology. An error is
/// a part of its text.
struct Row {
    name: &'static str,
    nodes: Vec<Machine>,
    immediate: Result<&'static [&'static str], &'static str>,
    delayed: Result<&'static [&'static str], &'static str>,
    strict: Result<&'static [&'static str], &'static str>,
}

fn check(row: &Row) {
    let requisite = |selected, asked: &Asked<'_>| match ask(asked, &known(&row.nodes, selected)) {
        Ok(terms) => Ok(terms.map(|(requisite, _)| requisite)),
        Err(error) => Err(error.to_string()),
    };
    let same =
        |found: Result<Option<Terms>, String>, expected: Result<&[&str], &str>, what| match (found, expected)
        {
            (Ok(found), Ok(expected)) => {
                assert_eq!(found.as_deref(), Some(&from(expected, 0)[..]), "{}: {what}", row.name)
            }
            (Err(found), Err(text)) => assert!(found.contains(text), "{}: {what}: {found}", row.name),
            (found, expected) => panic!("{}: {what}: {found:?}, not {expected:?}", row.name),
        };
    for (strict, immediate) in COMBINATIONS {
        let asked = plain(strict, immediate);
        if immediate {
            same(requisite(false, &asked), row.immediate, "immediate");
        } else {
            assert_eq!(requisite(false, &asked), Ok(None), "{}: immediate topology is off", row.name);
        }
        same(requisite(true, &asked), if strict { row.strict } else { row.delayed }, "selected");
    }
}

const RACK: &[&str] = &["zone", "rack"];

fn labelled_only(labels: &[(&'static str, &'static str)], csi: Csi) -> Machine {
    Machine { labels: Some(labels.to_vec()), csi }
}

#[test]
fn nodes_with_the_same_keys() {
    let of = |zone, rack| node(&[("zone", zone), ("rack", rack)], RACK);
    for row in [
        Row {
            name: "same values across cluster",
            nodes: vec![of("zone1", "rack1"), of("zone1", "rack1")],
            immediate: Ok(&["rack=rack1,zone=zone1"]),
            delayed: Ok(&["rack=rack1,zone=zone1"]),
            strict: Ok(&["rack=rack1,zone=zone1"]),
        },
        Row {
            name: "different values across cluster",
            nodes: vec![of("zone1", "rack1"), of("zone2", "rack2")],
            immediate: Ok(&["rack=rack1,zone=zone1", "rack=rack2,zone=zone2"]),
            delayed: Ok(&["rack=rack1,zone=zone1", "rack=rack2,zone=zone2"]),
            strict: Ok(&["rack=rack1,zone=zone1"]),
        },
        Row {
            name: "one node has been upgraded",
            nodes: vec![
                of("zone1", "rack1"),
                labelled_only(&[("zone", "zone2"), ("rack", "rack2")], Csi::Without),
            ],
            immediate: Ok(&["rack=rack1,zone=zone1"]),
            delayed: Ok(&["rack=rack1,zone=zone1"]),
            strict: Ok(&["rack=rack1,zone=zone1"]),
        },
        Row {
            name: "a label is missing on one",
            nodes: vec![of("zone1", "rack1"), node(&[("zone", "zone2")], RACK)],
            immediate: Ok(&["rack=rack1,zone=zone1"]),
            delayed: Ok(&["rack=rack1,zone=zone1"]),
            strict: Ok(&["rack=rack1,zone=zone1"]),
        },
    ] {
        check(&row);
    }
}

#[test]
fn nothing_to_aggregate_is_an_error() {
    let missing = "csinode.storage.k8s.io \"node0\" not found";
    for row in [
        Row {
            name: "no nodes",
            nodes: vec![],
            immediate: Err("no available topology found"),
            delayed: Err(missing),
            strict: Err(missing),
        },
        Row {
            name: "no CSINodes",
            nodes: vec![labelled_only(&[("zone", "zone1")], Csi::Missing)],
            immediate: Err("no available topology found"),
            delayed: Err(missing),
            strict: Err(missing),
        },
        Row {
            name: "no matching node info",
            nodes: vec![node(&[], &["zone"])],
            immediate: Err("topologyKeys [zone] were not found on any nodes"),
            delayed: Err("does not match topology keys"),
            strict: Err("does not match topology keys"),
        },
        Row {
            name: "selected node is missing keys",
            nodes: vec![node(&[("zone", "zone1")], RACK), node(&[("zone", "zone2")], &["zone"])],
            immediate: Ok(&["zone=zone1", "zone=zone2"]),
            delayed: Err("does not match topology keys"),
            strict: Err("does not match topology keys"),
        },
        Row {
            name: "selected node without Node",
            nodes: vec![
                Machine { labels: None, csi: Csi::Keys(vec!["zone"]) },
                node(&[("zone", "zone2")], &["zone"]),
            ],
            immediate: Ok(&["zone=zone2"]),
            delayed: Err("node \"node0\" not found"),
            strict: Err("node \"node0\" not found"),
        },
        Row {
            name: "selected node without CSINode",
            nodes: vec![
                labelled_only(&[("zone", "zone1")], Csi::Missing),
                node(&[("zone", "zone2")], &["zone"]),
            ],
            immediate: Ok(&["zone=zone2"]),
            delayed: Err(missing),
            strict: Err(missing),
        },
        Row {
            name: "selected node without keys",
            nodes: vec![node(&[("zone", "zone1")], &[]), node(&[("zone", "zone2")], &["zone"])],
            immediate: Ok(&["zone=zone2"]),
            delayed: Err("no topology key found"),
            strict: Err("no topology key found"),
        },
    ] {
        check(&row);
    }
}

#[test]
fn nodes_with_different_keys() {
    let (east, west) = (("region", "us-east"), ("region", "us-west"));
    let (zone1, zone2) = (("zone", "zone1"), ("zone", "zone2"));
    let both: &[&str] = &["region", "zone"];
    for row in [
        Row {
            name: "different keys across cluster",
            nodes: vec![
                node(&[zone1], &["zone"]),
                node(&[zone1, ("rack", "rackA")], RACK),
                node(&[zone1, ("rack", "rackA")], RACK),
            ],
            immediate: Ok(&["zone=zone1", "rack=rackA,zone=zone1"]),
            delayed: Ok(&["zone=zone1"]),
            strict: Ok(&["zone=zone1"]),
        },
        Row {
            name: "node reporting fewer keys is not dropped",
            nodes: vec![node(&[east], &["region"]), node(&[west, zone1], both), node(&[west, zone2], both)],
            immediate: Ok(&[
                "region=us-east",
                "region=us-west",
                "region=us-west,zone=zone1",
                "region=us-west,zone=zone2",
            ]),
            delayed: Ok(&["region=us-east", "region=us-west"]),
            strict: Ok(&["region=us-east"]),
        },
    ] {
        check(&row);
    }
}

#[test]
fn registrations_of_other_keys_do_not_count() {
    let (east, west) = (("region", "us-east"), ("region", "us-west"));
    let (zone1, zone2) = (("zone", "zone1"), ("zone", "zone2"));
    let both: &[&str] = &["region", "zone"];
    for row in [
        Row {
            name: "disjoint keys across cluster",
            nodes: vec![node(&[east], &["region"]), node(&[zone1], &["zone"])],
            immediate: Ok(&["region=us-east", "zone=zone1"]),
            delayed: Ok(&["region=us-east"]),
            strict: Ok(&["region=us-east"]),
        },
        Row {
            name: "disjoint keys, both labels on every node",
            nodes: vec![node(&[east, zone1], &["region"]), node(&[west, zone2], &["zone"])],
            immediate: Ok(&["region=us-east", "zone=zone2"]),
            delayed: Ok(&["region=us-east"]),
            strict: Ok(&["region=us-east"]),
        },
        Row {
            name: "unregistered node with labels for multiple key sets",
            nodes: vec![
                node(&[east], &["region"]),
                node(&[zone1], &["zone"]),
                labelled_only(&[west, zone2], Csi::Without),
            ],
            immediate: Ok(&["region=us-east", "zone=zone1"]),
            delayed: Ok(&["region=us-east"]),
            strict: Ok(&["region=us-east"]),
        },
        Row {
            name: "finer registration contributes to the coarser key set",
            nodes: vec![node(&[east, zone1], &["region"]), node(&[east, zone2], both)],
            immediate: Ok(&["region=us-east", "region=us-east,zone=zone2"]),
            delayed: Ok(&["region=us-east"]),
            strict: Ok(&["region=us-east"]),
        },
        Row {
            name: "node that registered different keys is not included",
            nodes: vec![
                node(&[east, zone1], &["region"]),
                node(&[west, zone2], &["zone"]),
                node(&[("region", "us-central"), ("zone", "zone3")], both),
            ],
            immediate: Ok(&[
                "region=us-central",
                "region=us-east",
                "zone=zone2",
                "zone=zone3",
                "region=us-central,zone=zone3",
            ]),
            delayed: Ok(&["region=us-central", "region=us-east"]),
            strict: Ok(&["region=us-east"]),
        },
    ] {
        check(&row);
    }
}

#[test]
fn labelled_nodes_without_registration_are_left_out() {
    let zone = |name| [("zone", name)];
    for (name, csi) in [
        ("no keys there", Csi::Keys(vec![])),
        ("driver not there", Csi::Without),
        ("no CSINode", Csi::Missing),
    ] {
        check(&Row {
            name,
            nodes: vec![
                node(&zone("zone1"), &["zone"]),
                labelled_only(&zone("zone2"), csi),
                node(&zone("zone3"), &["zone"]),
            ],
            immediate: Ok(&["zone=zone1", "zone=zone3"]),
            delayed: Ok(&["zone=zone1", "zone=zone3"]),
            strict: Ok(&["zone=zone1"]),
        });
    }
}
