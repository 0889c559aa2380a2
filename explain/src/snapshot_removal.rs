//! A snapshot that is being deleted: which finalizers hold it, and who removes each.

use serde_json::Value;

use crate::ask::Kind;
use crate::event;
use crate::field::{annotation, deleted, finalizers, name, namespace, text};
use crate::finding::{Finding, Who};
use crate::pod::names;
use crate::sidecar::{Sidecar, idle};
use crate::snapshot::content_of;
use crate::source;
use crate::view::{Look, View};

const MAY_DELETE: &str = "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted";

/// Why a snapshot that is being deleted stays: one reason for each finalizer.
pub(crate) fn of_snapshot(view: &View, snapshot: &Value) -> Vec<Finding> {
    let reason = |finalizer: &&str| match *finalizer {
        "snapshot.storage.kubernetes.io/volumesnapshot-as-source-protection" => {
            restored(view, snapshot, finalizer, Sidecar::SnapshotController)
        }
        "provisioner.storage.kubernetes.io/volumesnapshot-as-source-protection" => {
            restored(view, snapshot, finalizer, Sidecar::Provisioner)
        }
        "snapshot.storage.kubernetes.io/volumesnapshot-bound-protection" => bound(view, snapshot, finalizer),
        "snapshot.storage.kubernetes.io/volumesnapshot-in-group-protection" => {
            let happened = "the snapshot is one of a group, and goes with it".to_owned();
            let finding =
                Finding::new("InGroup", Who::Owner, happened, "its VolumeGroupSnapshot to be deleted");
            finding.run(format!("kubectl -n {} get volumegroupsnapshots", namespace(snapshot)))
        }
        other => foreign(snapshot, other),
    };
    finalizers(snapshot).iter().map(reason).map(|finding| finding.since(deleted(snapshot))).collect()
}

fn restored(view: &View, snapshot: &Value, finalizer: &str, by: Sidecar) -> Finding {
    let claims = view.all(Kind::Claim, "").unwrap_or_default();
    let waits = |claim: &&Value| {
        let is_source =
            source::of(claim).is_some_and(|it| it.is_snapshot(namespace(snapshot), name(snapshot)));
        is_source && matches!(text(claim, "/status/phase"), "Pending" | "")
    };
    let restored: Vec<&Value> = claims.iter().filter(waits).collect();
    let Some(first) = restored.first() else {
        let happened = "no claim is being filled from the snapshot any more".to_owned();
        let waits = format!("{} to remove finalizer {finalizer}", by.program());
        return Finding::new("ProtectionPending", Who::Nobody, happened, waits);
    };
    let happened =
        format!("the snapshot is to be deleted, and claims are being filled from it: {}", names(&restored));
    let waits = format!("these claims to be bound or deleted: {}", names(&restored));
    let finding = Finding::new("Restored", Who::Owner, happened, waits);
    finding.run(format!("mooring explain pvc {} -n {}", name(first), namespace(first)))
}

fn bound(view: &View, snapshot: &Value, finalizer: &str) -> Finding {
    let content = match content_of(view, snapshot) {
        (_, Some(Look::There(content))) => content,
        _ => {
            let happened = "the snapshot has no content any more".to_owned();
            let waits = format!("snapshot-controller to remove finalizer {finalizer}");
            let finding = Finding::new("ProtectionPending", Who::Nobody, happened, waits);
            return idle(view, Sidecar::SnapshotController, "", true).unwrap_or(finding);
        }
    };
    let driver = text(content, "/spec/driver");
    let show = format!("kubectl describe volumesnapshotcontent {}", name(content));
    let said = event::warning(view, content, &["SnapshotDeleteError"]);
    if deleted(content).is_none() || annotation(content, MAY_DELETE).is_empty() {
        let happened =
            format!("VolumeSnapshotContent {} is to be deleted first, and is not yet", name(content));
        let finding = Finding::new("ContentKept", Who::Admin, happened, "snapshot-controller to delete it");
        let finding = idle(view, Sidecar::SnapshotController, "", false).unwrap_or(finding);
        return finding.error(said.map(|said| said.message)).run(show);
    }
    if let Some(finding) = idle(view, Sidecar::Snapshotter, driver, said.is_some()) {
        return finding.error(said.map(|said| said.message)).run(show);
    }
    match said {
        Some(said) => {
            let happened = format!(
                "csi-snapshotter of CSI driver {driver} could not delete the snapshot, and tries again"
            );
            let finding =
                Finding::new("DeleteFailed", Who::Storage, happened, format!("{driver} to delete it"));
            finding.since(said.since).error(Some(said.message)).run(show)
        }
        None => {
            let happened = format!("csi-snapshotter of CSI driver {driver} is to delete the snapshot");
            Finding::new("Deleting", Who::Nobody, happened, format!("{driver} to answer DeleteSnapshot"))
                .run(show)
        }
    }
}

fn foreign(snapshot: &Value, finalizer: &str) -> Finding {
    let happened =
        format!("it is to be deleted, and finalizer {finalizer} holds it, which is none of Kubernetes' own");
    let waits = format!("whoever put {finalizer} there to remove it");
    let finding = Finding::new("ForeignFinalizer", Who::Admin, happened, waits);
    finding.run(format!("kubectl -n {} get volumesnapshot {} -o yaml", namespace(snapshot), name(snapshot)))
}
