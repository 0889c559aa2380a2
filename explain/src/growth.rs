//! A bound claim that asks for more than it has.

use base::quantity::Quantity;
use serde_json::Value;

use crate::event;
use crate::field::{condition, entry, name, namespace, one_line, text, time, written};
use crate::finding::{Finding, Who};
use crate::pod;
use crate::sidecar::{Sidecar, idle};
use crate::view::View;

/// Why the claim has not grown.
pub(crate) fn unfinished(view: &View, claim: &Value, driver: &str) -> Option<Finding> {
    let (wanted, has) =
        (text(claim, "/spec/resources/requests/storage"), text(claim, "/status/capacity/storage"));
    let nanos = |size: &str| Quantity::parse(size).ok().map(|size| size.nanos());
    if nanos(wanted)? <= nanos(has)? {
        return None;
    }
    let asked = written(claim, "spec/resources/requests/storage");
    let step = entry(claim, "/status/allocatedResourceStatuses", "storage").unwrap_or_default();
    let pending = condition(claim, "FileSystemResizePending");
    let failed = condition(claim, "ControllerResizeError").or_else(|| condition(claim, "NodeResizeError"));
    let said = event::warning_since(view, claim, &["VolumeResizeFailed"], asked);
    let since = failed.or(pending).or_else(|| condition(claim, "Resizing"));
    let since = since.and_then(|it| time(it, "/lastTransitionTime"));
    let error = failed.map(|failed| one_line(text(failed, "/message"))).or(said.map(|said| said.message));
    let from_to = format!("the volume is to grow from {has} to {wanted}");
    let finding = match step {
        "NodeResizePending" | "NodeResizeInProgress" | "NodeResizeInfeasible" => {
            on_node(view, claim, step, &from_to)
        }
        _ if pending.is_some() => on_node(view, claim, "NodeResizePending", &from_to),
        _ => {
            let is_seen = !step.is_empty() || error.is_some();
            match idle(view, Sidecar::Resizer, driver, is_seen) {
                Some(finding) => finding,
                None => at_controller(view, claim, driver, step, error.as_deref(), &from_to),
            }
        }
    };
    let finding = finding.since(since.or(asked)).error(error);
    Some(finding.run(format!("kubectl -n {} describe pvc {}", namespace(claim), name(claim))))
}

/// The driver has grown the volume; the rest is done where it is mounted.
fn on_node(view: &View, claim: &Value, step: &str, from_to: &str) -> Finding {
    let pods = pod::users(view, claim).unwrap_or_default();
    let placed: Vec<&Value> =
        pods.into_iter().filter(|pod| !text(pod, "/spec/nodeName").is_empty()).collect();
    let Some(first) = placed.first() else {
        let happened = format!("{from_to}; the driver has grown it, and its file system grows on a node");
        return Finding::new(
            "GrowthNeedsPod",
            Who::Owner,
            happened,
            "a pod that mounts the claim: none does now",
        );
    };
    let node = text(first, "/spec/nodeName");
    let (cause, who, happened) = match step {
        "NodeResizeInfeasible" => (
            "GrowthNodeInfeasible",
            Who::Storage,
            format!("{from_to}; on node {node} the driver says that it cannot"),
        ),
        _ => (
            "GrowthOnNode",
            Who::Nobody,
            format!("{from_to}; the driver has grown it, and its file system grows on a node"),
        ),
    };
    let waits = match step {
        "NodeResizeInfeasible" => {
            format!("the node plugin on {node} to be mended, or the pod to move to another node")
        }
        _ => format!("the kubelet of node {node}, where pod {} mounts it", name(first)),
    };
    Finding::new(cause, who, happened, waits)
}

fn at_controller(
    view: &View,
    claim: &Value,
    driver: &str,
    step: &str,
    error: Option<&str>,
    from_to: &str,
) -> Finding {
    let said = error.unwrap_or_default();
    if said.contains("only supports offline expansion") || said.contains("code = FailedPrecondition") {
        let pods = pod::users(view, claim).unwrap_or_default();
        let by =
            if pods.is_empty() { "no pod now".to_owned() } else { format!("pods {}", pod::names(&pods)) };
        let happened = format!("{from_to}; CSI driver {driver} does not do so while the volume is in use");
        let finding = Finding::new(
            "GrowthInUse",
            Who::Owner,
            happened,
            format!("the end of all pods that use it: {by}"),
        );
        return finding.run(format!("kubectl -n {} get pods", namespace(claim)));
    }
    match (step, error) {
        ("ControllerResizeInfeasible", _) => {
            let happened =
                format!("{from_to}; CSI driver {driver} says that it cannot, and is asked again only seldom");
            let waits =
                "a smaller request in the claim (not below what it has), or a larger limit behind the driver";
            Finding::new("GrowthInfeasible", Who::Owner, happened, waits)
        }
        (_, Some(_)) => {
            let happened =
                format!("{from_to}; csi-resizer of CSI driver {driver} could not, and tries again");
            Finding::new("GrowthFailed", Who::Storage, happened, format!("{driver} to grow the volume"))
        }
        (_, None) => Finding::new(
            "Growing",
            Who::Nobody,
            from_to,
            format!("{driver} to answer ControllerExpandVolume"),
        ),
    }
}
