//! Whether a driver runs on a node, as CSINode says.

use serde_json::Value;

use crate::ask::Kind;
use crate::field::{created, entry, few, list, text, texts};
use crate::finding::{Finding, Who};
use crate::view::{Look, View};

/// The driver's entry in a CSINode.
pub(crate) fn entry_of<'a>(csi_node: &'a Value, driver: &str) -> Option<&'a Value> {
    list(csi_node, "/spec/drivers").iter().find(|entry| text(entry, "/name") == driver)
}

/// Why the driver cannot work on this node: the node is gone, the driver's node plugin is not registered, or a label is missing.
pub(crate) fn unusable(view: &View, node: &str, driver: &str) -> Option<Finding> {
    let object = match view.global(Kind::Node, node) {
        Look::Absent => {
            let happened = format!("node {node} was chosen, and is gone");
            let waits = "another node: the pod must be scheduled again".to_owned();
            let finding = Finding::new("NodeGone", Who::Owner, happened, waits);
            return Some(finding.run(format!("kubectl get pods -A --field-selector spec.nodeName={node}")));
        }
        Look::There(object) => Some(object),
        Look::Unknown => None,
    };
    let registered = match view.global(Kind::CsiNode, node) {
        Look::Absent => None,
        Look::There(csi_node) => match entry_of(csi_node, driver) {
            Some(entry) => return label_missing(node, object?, entry),
            None => Some(csi_node),
        },
        Look::Unknown => return None,
    };
    let happened = match registered {
        None => format!("node {node} has no CSINode object: no CSI driver has registered there"),
        Some(csi_node) => {
            let names: Vec<&str> =
                list(csi_node, "/spec/drivers").iter().map(|entry| text(entry, "/name")).collect();
            let others = few(&names);
            format!("CSI driver {driver} is not registered on node {node}; registered there: {others}")
        }
    };
    let waits =
        format!("the node plugin of {driver}, with its csi-node-driver-registrar, to run on node {node}");
    let finding =
        Finding::new("NodeWithoutDriver", Who::Storage, happened, waits).since(object.and_then(created));
    Some(finding.run(format!("kubectl get pods -A -o wide --field-selector spec.nodeName={node}")))
}

fn label_missing(node: &str, object: &Value, driver: &Value) -> Option<Finding> {
    let has = |key: &&str| entry(object, "/metadata/labels", key).is_some();
    let key = texts(driver, "/topologyKeys").into_iter().find(|key| !has(key))?;
    let happened = format!("CSINode {node} names topology key {key}, and node {node} has no label {key}");
    let finding = Finding::new("LabelMissing", Who::Storage, happened, format!("label {key} on node {node}"));
    Some(finding.run(format!("kubectl label node {node} {key}=VALUE")))
}
