//! A bound claim that a pod wants: placed, attached, mounted.

use serde_json::Value;

use crate::ask::Kind;
use crate::attachment;
use crate::event;
use crate::field::{created, is_true, list, name, namespace, text, texts, time};
use crate::finding::{Finding, Who};
use crate::node;
use crate::place;
use crate::pod;
use crate::view::{Look, View};

/// Why pods that use the claim do not run, as far as its volume is the reason.
pub(crate) fn waiting(view: &View, claim: &Value, volume: Option<&Value>) -> Vec<Finding> {
    let pods = pod::users(view, claim).unwrap_or_default();
    // One pod says enough: the next one waits for the same, or for its turn.
    pods.into_iter().map(|pod| of_pod(view, pod, volume)).find(|found| !found.is_empty()).unwrap_or_default()
}

fn of_pod(view: &View, pod: &Value, volume: Option<&Value>) -> Vec<Finding> {
    if text(pod, "/status/phase") == "Running" || is_past_mount(pod) {
        return Vec::new();
    }
    let node = text(pod, "/spec/nodeName");
    if node.is_empty() {
        // Lack of CPU, for instance, is no matter of the claim.
        let is_storage = |finding: &Finding| {
            finding.cause != "PodUnschedulable"
                || finding.error.as_ref().is_some_and(|error| error.contains("olume"))
        };
        return place::unscheduled(view, pod, None).into_iter().filter(is_storage).collect();
    }
    let Some(volume) = volume else { return Vec::new() };
    let driver = attachment::driver_of(volume);
    let attached = to_node(view, pod, volume, driver, node);
    if !attached.is_empty() {
        return attached;
    }
    if let Some(finding) = node::unusable(view, node, driver).filter(|_| !driver.is_empty()) {
        return vec![finding.since(created(pod))];
    }
    mount(view, pod, node, driver).into_iter().collect()
}

/// Whether the kubelet has mounted the volumes: it pulls images only then.
fn is_past_mount(pod: &Value) -> bool {
    let lists = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let mut all = lists.iter().flat_map(|pointer| list(pod, pointer));
    all.any(|container| {
        let reason = text(container, "/state/waiting/reason");
        container.pointer("/state/running").is_some()
            || !matches!(reason, "" | "ContainerCreating" | "PodInitializing")
    })
}

/// Why the volume is not attached to the pod's node.
fn to_node(view: &View, pod: &Value, volume: &Value, driver: &str, node: &str) -> Vec<Finding> {
    let needs_no = |object: &Value| {
        object.pointer("/spec/attachRequired").is_some_and(|it| !it.as_bool().unwrap_or(true))
    };
    if driver.is_empty() || view.global(Kind::Driver, driver).object().is_some_and(needs_no) {
        return Vec::new();
    }
    let Some(attachments) = attachment::of_volume(view, name(volume)) else { return Vec::new() };
    let own = attachments.iter().find(|it| text(it, "/spec/nodeName") == node);
    if let Some(own) = own {
        if is_true(own, "/status/attached") && crate::field::deleted(own).is_none() {
            return Vec::new();
        }
        return attachment::reasons(view, own).1;
    }
    let error = event::warning(view, pod, &["FailedAttachVolume"]).map(|said| said.message);
    if let Some(other) = attachments.first().filter(|_| is_for_one_node(volume)) {
        let there = text(other, "/spec/nodeName");
        let lost = lost_node(view, there, other);
        let happened = format!(
            "pod {} is on node {node}, and its volume {} is attached to node {there}: it can be on one node only",
            name(pod),
            name(volume)
        );
        let waits = format!("the end of the pods that use the volume on node {there}, and its detachment");
        let finding =
            Finding::new("AttachedElsewhere", Who::Owner, happened, waits).since(created(pod)).error(error);
        let finding = finding.run(format!("kubectl get pods -A --field-selector spec.nodeName={there}"));
        let finding = finding.run(format!("mooring explain va {}", name(other)));
        return std::iter::once(finding).chain(lost).collect();
    }
    let happened = format!(
        "pod {} is on node {node}, and no VolumeAttachment of its volume {} is there",
        name(pod),
        name(volume)
    );
    let finding = Finding::new(
        "NoAttachment",
        Who::Admin,
        happened,
        "kube-controller-manager to make a VolumeAttachment",
    );
    let finding = finding.since(created(pod)).error(error);
    vec![finding.run(format!("kubectl -n {} describe pod {}", namespace(pod), name(pod)))]
}

/// That the node which has the volume does not answer or is gone, so that nobody unmounts it there.
fn lost_node(view: &View, node: &str, attachment: &Value) -> Option<Finding> {
    let object = match view.global(Kind::Node, node) {
        Look::There(object) => object,
        Look::Absent => return attachment::gone_node(view, attachment),
        Look::Unknown => return None,
    };
    let ready = pod::condition(object, "Ready").filter(|ready| text(ready, "/status") != "True")?;
    let happened =
        format!("node {node}, which has the volume, does not answer: its pods may still run and write");
    let waits = "the node to come back; or, once it is surely off, taint node.kubernetes.io/out-of-service"
        .to_owned();
    let finding = Finding::new("AttachedToLostNode", Who::Admin, happened, waits);
    let finding = finding.since(time(ready, "/lastTransitionTime"));
    Some(
        finding.run(format!(
            "kubectl taint node {node} node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
        )),
    )
}

fn is_for_one_node(volume: &Value) -> bool {
    texts(volume, "/spec/accessModes")
        .iter()
        .all(|mode| matches!(*mode, "ReadWriteOnce" | "ReadWriteOncePod"))
}

/// Why the kubelet does not mount it.
fn mount(view: &View, pod: &Value, node: &str, driver: &str) -> Option<Finding> {
    let said = event::warning(view, pod, &["FailedMount", "FailedMapVolume", "FailedAttachVolume"])?;
    let happened =
        format!("the volume is at node {node}, and its kubelet could not mount it for pod {}", name(pod));
    let finding = Finding::new(
        "MountFailed",
        Who::Storage,
        happened,
        format!("the node plugin of {driver} on node {node}"),
    );
    let finding = finding.since(said.since).error(Some(said.message));
    Some(finding.run(format!("kubectl -n {} describe pod {}", namespace(pod), name(pod))))
}
