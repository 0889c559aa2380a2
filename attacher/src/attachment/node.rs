//! The node's id at the driver.

use std::sync::Arc;

use kubernetes::object::{Attachment, CsiNode};

use super::error::NodeError;

/// The node's id at the driver, as its CSINode has it.
///
/// # Errors
/// There is no CSINode of this name, or it does not list the driver.
pub(crate) fn node_id(driver: &str, name: &str, node: Option<&CsiNode>) -> Result<Arc<str>, NodeError> {
    let node = node.ok_or_else(|| NodeError::NotFound(name.into()))?;
    let missing = || NodeError::NoDriver { node: name.into(), driver: driver.into() };
    node.driver.as_ref().map(|entry| entry.node_id.clone()).ok_or_else(missing)
}

/// As [`node_id`]; if that fails, the id that was noted when the volume was published, even an empty one.
pub(crate) fn node_id_for_detach(
    driver: &str,
    attachment: &Attachment,
    node: Option<&CsiNode>,
) -> Result<Arc<str>, NodeError> {
    node_id(driver, &attachment.node, node).or_else(|error| attachment.node_id.clone().ok_or(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{DRIVER, attachment, scope};
    use kubernetes::object::Object;
    use kubernetes::object::annotation::NODE_ID;
    use serde_json::{Value, json};

    fn node(drivers: Value) -> CsiNode {
        let object = json!({"metadata": {"name": "node1"}, "spec": {"drivers": drivers}});
        CsiNode::slim(serde_json::from_value(object).unwrap(), &scope()).unwrap()
    }

    fn noted(annotations: Value) -> Attachment {
        attachment(json!({"metadata": {"annotations": annotations}}))
    }

    #[test]
    fn node_id_comes_from_our_entry_of_the_csi_node() {
        let both = json!([{"name": "other", "nodeID": "o"}, {"name": DRIVER, "nodeID": "id1"}]);
        assert_eq!(node_id(DRIVER, "node1", Some(&node(both))), Ok("id1".into()));
        let error =
            node_id(DRIVER, "node1", Some(&node(json!([{"name": "other", "nodeID": "o"}])))).unwrap_err();
        assert_eq!(error.to_string(), "CSINode node1 does not contain driver csi/test");
        assert_eq!(node_id(DRIVER, "node1", Some(&node(Value::Null))), Err(error));
        let error = node_id(DRIVER, "node1", None).unwrap_err();
        assert_eq!(error.to_string(), "csinode.storage.k8s.io \"node1\" not found");
    }

    #[test]
    fn detaching_falls_back_to_the_noted_node_id_even_if_empty() {
        let ours = node(json!([{"name": DRIVER, "nodeID": "now"}]));
        let before = noted(json!({NODE_ID: "before"}));
        assert_eq!(node_id_for_detach(DRIVER, &before, Some(&ours)), Ok("now".into()));
        assert_eq!(node_id_for_detach(DRIVER, &before, Some(&node(Value::Null))), Ok("before".into()));
        assert_eq!(node_id_for_detach(DRIVER, &before, None), Ok("before".into()));
        assert_eq!(node_id_for_detach(DRIVER, &noted(json!({NODE_ID: ""})), None), Ok("".into()));
        assert!(node_id_for_detach(DRIVER, &noted(json!({})), None).is_err());
    }
}
