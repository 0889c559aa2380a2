//! Where a claim's volume may be made.

use serde_json::{Value, json};

use crate::ask::Kind;
use crate::fixture::{World, claim, class, lease, node, object, pod};

fn causes(class_fields: Value, node_of_claim: &str, more: Vec<Value>) -> Vec<&'static str> {
    let mut claim = claim(json!({}));
    if !node_of_claim.is_empty() {
        claim["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] = json!(node_of_claim);
    }
    let objects = [claim, class(class_fields), lease("d", 3)];
    World::of(objects.into_iter().chain(more)).causes(Kind::Claim, "data")
}

#[test]
fn late_claim_waits_for_a_pod_and_its_node() {
    let late = |node: &str, more: Vec<Value>| {
        causes(json!({"volumeBindingMode": "WaitForFirstConsumer"}), node, more)
    };
    let waits = |status: Value| pod(json!({"spec": {"nodeName": ""}, "status": status}));
    let unscheduled = |reason: &str, message: &str| {
        let condition =
            json!({"type": "PodScheduled", "status": "False", "reason": reason, "message": message});
        waits(json!({"conditions": [condition]}))
    };
    assert_eq!(late("", vec![]), ["NoPod"]);
    assert_eq!(late("", vec![pod(json!({}))]), ["SchedulerPassedOver"]);
    assert_eq!(late("", vec![waits(json!({}))]), ["NotScheduled"]);
    assert_eq!(late("", vec![waits(json!({"phase": "Failed"}))]), ["NoPod"]);
    assert_eq!(late("", vec![unscheduled("SchedulingGated", "gates")]), ["PodGated"]);
    assert_eq!(late("", vec![unscheduled("Unschedulable", "2 Insufficient cpu")]), ["PodUnschedulable"]);
    let full = "2 node(s) did not have enough free storage";
    assert_eq!(late("", vec![unscheduled("Unschedulable", full)]), ["NoCapacity"]);
    assert_eq!(late("", vec![unscheduled("Unschedulable", "exceed max volume count")]), ["VolumeLimit"]);
    assert_eq!(late("n", vec![]), ["NodeGone"]);
    assert_eq!(late("n", node().into()), ["Provisioning"]);
    let [node, mut csi_node] = node();
    assert_eq!(late("n", vec![node.clone()]), ["NodeWithoutDriver"]);
    csi_node["spec"]["drivers"][0]["topologyKeys"] = json!(["zone"]);
    assert_eq!(late("n", vec![node, csi_node]), ["LabelMissing"]);
    // Immediate binding waits for no pod.
    assert_eq!(causes(json!({}), "", vec![]), ["Provisioning"]);
}

#[test]
fn allowed_topologies_need_a_node_with_the_driver() {
    let allowed = || {
        json!({"allowedTopologies": [
            {"matchLabelExpressions": [{"key": "zone", "values": ["a", "b"]}, {"key": "rack", "values": ["1"]}]},
            {"matchLabelExpressions": [{"key": "zone", "values": ["c"]}]},
        ]})
    };
    let there = |labels: Value, runs: bool| {
        let [mut node, csi_node] = node();
        node["metadata"]["labels"] = labels;
        let other = object(Kind::CsiNode, "n", json!({"spec": {"drivers": [{"name": "other"}]}}));
        causes(allowed(), "", vec![node, if runs { csi_node } else { other }])
    };
    assert_eq!(there(json!({"zone": "a", "rack": "1"}), true), ["Provisioning"]);
    assert_eq!(there(json!({"zone": "c"}), true), ["Provisioning"]);
    assert_eq!(there(json!({"zone": "a", "rack": "2"}), true), ["TopologyUnmet"]);
    assert_eq!(there(json!({"zone": "c"}), false), ["TopologyUnmet"]);
    assert_eq!(causes(allowed(), "", vec![]), ["TopologyUnmet"]);
}
