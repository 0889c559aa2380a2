//! What a VolumeAttachment waits for.

use kubernetes::secret::SecretRef;
use serde_json::Value;

use crate::ask::Kind;
use crate::field::{annotation, created, deleted, finalizers, is_true, name, one_line, text, time};
use crate::finding::{Finding, Who};
use crate::node;
use crate::secret;
use crate::sidecar::{Sidecar, idle};
use crate::view::{Look, View};
use base::name::sanitize_driver_name;

const MIGRATED: &str = "pv.kubernetes.io/migrated-to";
const MADE_BY: &str = "pv.kubernetes.io/provisioned-by";
const NODE_ID: &str = "csi.alpha.kubernetes.io/node-id";

/// The attachments of a volume; `None` if they cannot be read.
pub(crate) fn of_volume<'a>(view: &'a View, volume: &str) -> Option<Vec<&'a Value>> {
    let all = view.all(Kind::Attachment, "")?;
    Some(all.iter().filter(|it| text(it, "/spec/source/persistentVolumeName") == volume).collect())
}

/// The CSI driver that serves the volume: for an in-tree one, the driver that has taken it over, else whoever made it.
pub(crate) fn driver_of(volume: &Value) -> &str {
    match text(volume, "/spec/csi/driver") {
        "" if annotation(volume, MIGRATED).is_empty() => annotation(volume, MADE_BY),
        "" => annotation(volume, MIGRATED),
        driver => driver,
    }
}

/// What the attachment is now, and why it is not done.
pub(crate) fn reasons(view: &View, attachment: &Value) -> (String, Vec<Finding>) {
    let (node, is_attached) = (text(attachment, "/spec/nodeName"), is_true(attachment, "/status/attached"));
    match deleted(attachment) {
        Some(since) => {
            let findings = detaching(view, attachment).into_iter().map(|it| it.since(Some(since))).collect();
            (format!("being detached from node {node}"), findings)
        }
        None if is_attached => {
            (format!("attached to node {node}"), gone_node(view, attachment).into_iter().collect())
        }
        None => {
            let findings =
                attaching(view, attachment).into_iter().map(|it| it.since(created(attachment))).collect();
            (format!("not attached to node {node} yet"), findings)
        }
    }
}

fn describe(attachment: &Value) -> String {
    format!("kubectl get volumeattachment {} -o yaml", name(attachment))
}

fn error_at(attachment: &Value, pointer: &str) -> Option<String> {
    let message = attachment.pointer(pointer).map(|error| one_line(text(error, "/message")));
    message.filter(|message| !message.is_empty())
}

/// An attachment that stays although its node is gone: attach-detach-controller of kube-controller-manager removes it only
/// after it gave up on the pods.
pub(crate) fn gone_node(view: &View, attachment: &Value) -> Option<Finding> {
    let node = text(attachment, "/spec/nodeName");
    if !view.global(Kind::Node, node).is_absent() {
        return None;
    }
    let happened = format!("the volume is attached to node {node}, and that node is gone");
    let waits =
        "kube-controller-manager to delete the VolumeAttachment (it waits six minutes for an unmount)";
    let finding = Finding::new("AttachedToGoneNode", Who::Admin, happened, waits)
        .run(format!("kubectl get node {node}"));
    Some(finding.run(format!("kubectl delete volumeattachment {}", name(attachment))))
}

/// The volume of an attachment, and what is wrong with it.
fn volume_of<'a>(view: &'a View, attachment: &Value) -> (Option<&'a Value>, Option<Finding>) {
    let (attacher, volume) =
        (text(attachment, "/spec/attacher"), text(attachment, "/spec/source/persistentVolumeName"));
    let object = match view.global(Kind::Volume, volume) {
        Look::There(object) => object,
        Look::Absent if !volume.is_empty() => {
            let happened = format!("the attachment is of PersistentVolume {volume}, and there is none");
            let waits = format!("PersistentVolume {volume}, or the end of the attachment");
            return (
                None,
                Some(Finding::new("VolumeMissing", Who::Admin, happened, waits).run("kubectl get pv")),
            );
        }
        Look::Absent | Look::Unknown => return (None, None),
    };
    let driver = driver_of(object);
    if driver.is_empty() || driver == attacher {
        return (Some(object), None);
    }
    let happened =
        format!("PersistentVolume {volume} is CSI driver {driver}'s, and spec.attacher is {attacher}");
    let finding = Finding::new(
        "AttacherForeign",
        Who::Admin,
        happened,
        format!("a VolumeAttachment with attacher {driver}"),
    );
    (Some(object), Some(finding.run(describe(attachment))))
}

fn secret_of(view: &View, volume: &Value) -> Option<Finding> {
    let place = SecretRef {
        namespace: text(volume, "/spec/csi/controllerPublishSecretRef/namespace").to_owned(),
        name: text(volume, "/spec/csi/controllerPublishSecretRef/name").to_owned(),
    };
    if place.name.is_empty() {
        return None;
    }
    secret::missing(view, &place, &format!("PersistentVolume {}", name(volume)))
}

fn attaching(view: &View, attachment: &Value) -> Vec<Finding> {
    let (attacher, node) = (text(attachment, "/spec/attacher"), text(attachment, "/spec/nodeName"));
    let error = error_at(attachment, "/status/attachError");
    let failed_at = time(attachment, "/status/attachError/time");
    let (volume, wrong) = volume_of(view, attachment);
    let deleting = volume.filter(|volume| deleted(volume).is_some()).map(|volume| {
        let happened =
            format!("PersistentVolume {} is being deleted, so it is attached no more", name(volume));
        let finding = Finding::new(
            "VolumeDeleted",
            Who::Owner,
            happened,
            "nothing that will come: end the pod that uses it",
        );
        finding.run(format!("mooring explain pv {}", name(volume)))
    });
    let stopped = wrong.or(deleting).or_else(|| node::unusable(view, node, attacher));
    let stopped = stopped.or_else(|| volume.and_then(|volume| secret_of(view, volume)));
    let leader =
        idle(view, Sidecar::Attacher, attacher, error.is_some() || !finalizers(attachment).is_empty());
    let mut findings: Vec<Finding> = leader.into_iter().collect();
    if let Some(stopped) = stopped {
        findings.push(stopped.since(failed_at).error(error));
    } else if error.is_some() {
        let happened = format!(
            "csi-attacher of CSI driver {attacher} could not attach the volume to node {node}, and tries again"
        );
        let finding =
            Finding::new("AttachFailed", Who::Storage, happened, format!("{attacher} to attach it"));
        findings.push(finding.since(failed_at).error(error).run(describe(attachment)));
    } else if findings.is_empty() {
        let happened = format!("csi-attacher of CSI driver {attacher} has the attachment");
        let finding = Finding::new(
            "Attaching",
            Who::Nobody,
            happened,
            format!("{attacher} to answer ControllerPublishVolume"),
        );
        findings.push(finding.run(describe(attachment)));
    }
    findings
}

fn detaching(view: &View, attachment: &Value) -> Vec<Finding> {
    let (attacher, node) = (text(attachment, "/spec/attacher"), text(attachment, "/spec/nodeName"));
    let error = error_at(attachment, "/status/detachError");
    let failed_at = time(attachment, "/status/detachError/time");
    let own = format!("external-attacher/{}", sanitize_driver_name(attacher));
    let finalizers = finalizers(attachment);
    if !finalizers.contains(&own.as_str()) {
        let others = finalizers.join(", ");
        let happened =
            format!("the volume is detached, and the VolumeAttachment has finalizers of others: {others}");
        let finding = Finding::new(
            "ForeignFinalizer",
            Who::Admin,
            happened,
            format!("who put them there to remove {others}"),
        );
        return vec![finding.run(describe(attachment))];
    }
    let (volume, wrong) = volume_of(view, attachment);
    // Who has an answer of the driver knew the node's id.
    let was_asked = error.as_ref().is_some_and(|error| error.contains("rpc error: "));
    let stopped = wrong.or_else(|| unknown_node(view, attachment).filter(|_| !was_asked));
    let stopped = stopped.or_else(|| volume.and_then(|volume| secret_of(view, volume)));
    let leader = idle(view, Sidecar::Attacher, attacher, true);
    let mut findings: Vec<Finding> = leader.into_iter().collect();
    if let Some(stopped) = stopped {
        findings.push(stopped.since(failed_at).error(error));
    } else if error.is_some() {
        let happened = format!(
            "csi-attacher of CSI driver {attacher} could not detach the volume from node {node}, and tries again"
        );
        let finding =
            Finding::new("DetachFailed", Who::Storage, happened, format!("{attacher} to detach it"));
        findings.push(finding.since(failed_at).error(error).run(describe(attachment)));
    } else if findings.is_empty() {
        let happened = format!(
            "csi-attacher of CSI driver {attacher} must detach the volume, then removes finalizer {own}"
        );
        let waits = format!("{attacher} to answer ControllerUnpublishVolume");
        findings.push(Finding::new("Detaching", Who::Nobody, happened, waits).run(describe(attachment)));
    }
    findings
}

/// That nobody knows the node's id at the driver any more.
fn unknown_node(view: &View, attachment: &Value) -> Option<Finding> {
    let (attacher, node) = (text(attachment, "/spec/attacher"), text(attachment, "/spec/nodeName"));
    if attachment.pointer("/metadata/annotations").is_some_and(|all| all.get(NODE_ID).is_some()) {
        return None;
    }
    let csi_node = match view.global(Kind::CsiNode, node) {
        Look::There(csi_node) => Some(csi_node),
        Look::Absent => None,
        Look::Unknown => return None,
    };
    if csi_node.is_some_and(|csi_node| node::entry_of(csi_node, attacher).is_some()) {
        return None;
    }
    let happened = format!("neither CSINode {node} nor the VolumeAttachment has the node's id at {attacher}");
    let waits = format!("{attacher} to register on node {node} again, or annotation {NODE_ID}");
    let finding = Finding::new("NodeIdUnknown", Who::Storage, happened, waits);
    Some(finding.run(format!("kubectl annotate volumeattachment {} {NODE_ID}=ID", name(attachment))))
}
