//! A late-bound claim: its first pod, and the node that kube-scheduler selects for it.

use base::quantity::Quantity;
use serde_json::Value;

use crate::ask::Kind;
use crate::field::{annotation, created, name, namespace, one_line, text, time};
use crate::finding::{Finding, Who};
use crate::node;
use crate::pod;
use crate::view::View;

const SELECTED: &str = "volume.kubernetes.io/selected-node";

/// Why a claim of a class that binds late has no place yet.
pub(crate) fn late(view: &View, claim: &Value, driver: &str) -> Option<Finding> {
    match annotation(claim, SELECTED) {
        "" => Some(without_node(view, claim).since(created(claim))),
        node => node::unusable(view, node, driver).map(|finding| finding.since(created(claim))),
    }
}

fn without_node(view: &View, claim: &Value) -> Finding {
    let class = text(claim, "/spec/storageClassName");
    let Some(pods) = pod::users(view, claim) else {
        let happened = format!("StorageClass {class} binds late, and no node is selected yet");
        return Finding::new("NoNode", Who::Owner, happened, "a pod that uses the claim, and kube-scheduler");
    };
    let Some(first) = pods.first() else {
        let happened =
            format!("StorageClass {class} binds late (WaitForFirstConsumer), and no pod uses the claim");
        let finding = Finding::new("NoPod", Who::Owner, happened, "a pod that uses the claim");
        return finding.run(format!("kubectl -n {} get pods", namespace(claim)));
    };
    if let Some(bound) = pods.iter().find(|pod| !text(pod, "/spec/nodeName").is_empty()) {
        let (pod, node) = (name(bound), text(bound, "/spec/nodeName"));
        let happened = format!(
            "pod {pod} has spec.nodeName {node}, so kube-scheduler passed it over and selected no node for the claim"
        );
        let waits = format!("a pod without spec.nodeName (a nodeSelector for {node} does the same)");
        let finding = Finding::new("SchedulerPassedOver", Who::Owner, happened, waits);
        return finding.run(format!("kubectl -n {} get pod {pod} -o yaml", namespace(claim)));
    }
    let refused = pods.iter().find_map(|pod| unscheduled(view, pod, Some(claim)));
    refused.unwrap_or_else(|| {
        let happened = format!("pod {} was made, and kube-scheduler has not looked at it", name(first));
        let waits = "kube-scheduler to choose a node".to_owned();
        let finding = Finding::new("NotScheduled", Who::Admin, happened, waits).since(created(first));
        finding.run("kubectl -n kube-system get lease kube-scheduler".to_owned())
    })
}

/// Why kube-scheduler finds no node for the pod.
pub(crate) fn unscheduled(view: &View, pod: &Value, claim: Option<&Value>) -> Option<Finding> {
    let condition = pod::condition(pod, "PodScheduled").filter(|it| text(it, "/status") == "False")?;
    let (error, since) = (one_line(text(condition, "/message")), time(condition, "/lastTransitionTime"));
    let show = format!("kubectl -n {} describe pod {}", namespace(pod), name(pod));
    if text(condition, "/reason") == "SchedulingGated" {
        let happened =
            format!("pod {} has scheduling gates, so kube-scheduler does not look at it", name(pod));
        let waits = "whoever put spec.schedulingGates on the pod to remove them".to_owned();
        let finding = Finding::new("PodGated", Who::Owner, happened, waits).since(since).error(Some(error));
        return Some(finding.run(show));
    }
    let happened = format!("kube-scheduler found no node for pod {}", name(pod));
    let (cause, who, waits) = if error.contains("max volume count") {
        let waits =
            "a node with room for one more volume: CSINode spec.drivers[].allocatable.count is the limit";
        ("VolumeLimit", Who::Admin, waits.to_owned())
    } else if error.contains("enough free storage") {
        ("NoCapacity", Who::Storage, claim.map_or_else(String::new, |claim| room(view, claim)))
    } else if error.contains("volume node affinity conflict") {
        (
            "VolumeElsewhere",
            Who::Admin,
            "a node in the zone of the pod's volume with room for the pod".to_owned(),
        )
    } else {
        (
            "PodUnschedulable",
            Who::Owner,
            "a node that suits the pod and from which its volumes can be reached".to_owned(),
        )
    };
    let finding = Finding::new(cause, who, happened, waits).since(since).error(Some(error)).run(show);
    Some(match cause {
        "VolumeLimit" => finding.run("kubectl get csinodes -o yaml"),
        "NoCapacity" => finding.run("kubectl get csistoragecapacities -A"),
        _ => finding,
    })
}

/// How much there is for the claim's class.
fn room(view: &View, claim: &Value) -> String {
    let class = text(claim, "/spec/storageClassName");
    let asked = text(claim, "/spec/resources/requests/storage");
    let of_class = |object: &&Value| text(object, "/storageClassName") == class;
    let objects = view.all(Kind::Capacity, "").unwrap_or_default();
    let sizes = objects.iter().filter(of_class).map(|object| text(object, "/capacity"));
    let largest = sizes
        .filter_map(|size| Some((Quantity::parse(size).ok()?, size)))
        .max_by_key(|(size, _)| size.nanos());
    match largest {
        Some((_, most)) => format!(
            "room for {asked}: of StorageClass {class}, no segment of the cluster has more than {most} (CSIStorageCapacity)"
        ),
        None => format!(
            "CSIStorageCapacity objects for StorageClass {class}: there are none, so no node counts as having room"
        ),
    }
}
