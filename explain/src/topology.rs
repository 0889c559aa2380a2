//! Whether any node is where the class allows volumes, and runs the driver.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::ask::Kind;
use crate::field::{entry, list, name, text, texts};
use crate::finding::{Finding, Who};
use crate::node::entry_of;
use crate::view::View;

/// Why no node suits the class's `allowedTopologies`.
pub(crate) fn unmet(view: &View, class: &Value, driver: &str) -> Option<Finding> {
    let terms = list(class, "/allowedTopologies");
    if terms.is_empty() {
        return None;
    }
    let (nodes, csi_nodes) = (view.all(Kind::Node, "")?, view.all(Kind::CsiNode, "")?);
    let runs =
        |node: &&Value| csi_nodes.iter().any(|it| name(it) == name(node) && entry_of(it, driver).is_some());
    let suits = |node: &&Value| {
        terms.iter().any(|term| list(term, "/matchLabelExpressions").iter().all(|it| holds(node, it)))
    };
    if nodes.iter().filter(suits).any(|node| runs(&node)) {
        return None;
    }
    let within: BTreeSet<String> =
        terms.iter().flat_map(|term| list(term, "/matchLabelExpressions")).map(shown).collect();
    let within = within.into_iter().collect::<Vec<_>>().join("; ");
    let happened = match nodes.iter().find(suits) {
        Some(node) => format!(
            "StorageClass {} allows {within}, and {driver} is registered on no node there (such as {})",
            name(class),
            name(node)
        ),
        None => format!("StorageClass {} allows {within}, and no node is there", name(class)),
    };
    let waits = format!("a node with {driver} there, or other allowedTopologies in the class");
    let finding = Finding::new("TopologyUnmet", Who::Admin, happened, waits);
    Some(finding.run(format!("kubectl get storageclass {} -o yaml", name(class))))
}

fn holds(node: &Value, expression: &Value) -> bool {
    let label = entry(node, "/metadata/labels", text(expression, "/key"));
    label.is_some_and(|label| texts(expression, "/values").contains(&label))
}

fn shown(expression: &Value) -> String {
    format!("{} in {}", text(expression, "/key"), texts(expression, "/values").join(", "))
}
