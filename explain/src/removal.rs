//! A claim, a volume or a snapshot that is being deleted: which finalizers hold it, and who removes each.

use serde_json::Value;

use crate::ask::Kind;
use crate::attachment;
use crate::event;
use crate::field::{deleted, finalizers, name, namespace, text};
use crate::finding::{Finding, Who};
use crate::pod;
use crate::sidecar::{Sidecar, idle};
use crate::source;
use crate::view::View;

/// Why a claim that is being deleted stays: one reason for each finalizer.
pub(crate) fn of_claim(view: &View, claim: &Value) -> Vec<Finding> {
    let reason = |finalizer: &&str| match *finalizer {
        "kubernetes.io/pvc-protection" => in_use(view, claim),
        "provisioner.storage.kubernetes.io/cloning-protection" => cloned(view, claim, finalizer),
        "snapshot.storage.kubernetes.io/pvc-as-source-protection" => snapshotted(view, claim, finalizer),
        other => foreign("pvc", claim, other),
    };
    finalizers(claim).iter().map(reason).map(|finding| finding.since(deleted(claim))).collect()
}

fn in_use(view: &View, claim: &Value) -> Finding {
    let pods = pod::users(view, claim).unwrap_or_default();
    if pods.is_empty() {
        let happened = "no pod uses the claim any more".to_owned();
        let waits = "kube-controller-manager to remove finalizer kubernetes.io/pvc-protection";
        return Finding::new("ProtectionPending", Who::Nobody, happened, waits);
    }
    let happened = format!("the claim is to be deleted, and pods use it: {}", pod::names(&pods));
    let finding =
        Finding::new("InUse", Who::Owner, happened, format!("the end of the pods {}", pod::names(&pods)));
    let named: Vec<&str> = pods.iter().map(|pod| name(pod)).collect();
    finding.run(format!("kubectl -n {} delete pod {}", namespace(claim), named.join(" ")))
}

fn is_unbound(claim: &Value) -> bool {
    matches!(text(claim, "/status/phase"), "Pending" | "")
}

fn cloned(view: &View, claim: &Value, finalizer: &str) -> Finding {
    let claims = view.all(Kind::Claim, namespace(claim)).unwrap_or_default();
    let is_clone = |other: &&Value| {
        is_unbound(other) && source::of(other).is_some_and(|it| it.is_claim(namespace(claim), name(claim)))
    };
    let clones: Vec<&Value> = claims.iter().filter(is_clone).collect();
    let Some(first) = clones.first() else {
        let volume = view.global(Kind::Volume, text(claim, "/spec/volumeName")).object();
        if let Some(finding) =
            volume.and_then(|it| idle(view, Sidecar::Provisioner, attachment::driver_of(it), true))
        {
            return finding;
        }
        let happened = "no claim is being cloned from it any more".to_owned();
        return Finding::new(
            "ProtectionPending",
            Who::Nobody,
            happened,
            format!("csi-provisioner to remove finalizer {finalizer}"),
        );
    };
    let happened =
        format!("the claim is to be deleted, and claims are being cloned from it: {}", pod::names(&clones));
    let finding = Finding::new(
        "Cloned",
        Who::Owner,
        happened,
        format!("these claims to be bound or deleted: {}", pod::names(&clones)),
    );
    finding.run(format!("mooring explain pvc {} -n {}", name(first), namespace(claim)))
}

fn snapshotted(view: &View, claim: &Value, finalizer: &str) -> Finding {
    let snapshots = view.all(Kind::Snapshot, namespace(claim)).unwrap_or_default();
    let is_cut = |it: &&Value| {
        text(it, "/spec/source/persistentVolumeClaimName") == name(claim)
            && !crate::field::is_true(it, "/status/readyToUse")
    };
    let cut: Vec<&Value> = snapshots.iter().filter(is_cut).collect();
    let Some(first) = cut.first() else {
        let happened = "no snapshot is being cut of it any more".to_owned();
        return Finding::new(
            "ProtectionPending",
            Who::Nobody,
            happened,
            format!("snapshot-controller to remove finalizer {finalizer}"),
        );
    };
    let happened =
        format!("the claim is to be deleted, and snapshots are being cut of it: {}", pod::names(&cut));
    let finding = Finding::new(
        "Snapshotted",
        Who::Owner,
        happened,
        format!("these snapshots to be ready or deleted: {}", pod::names(&cut)),
    );
    finding.run(format!("mooring explain snapshot {} -n {}", name(first), namespace(claim)))
}

fn foreign(kind: &str, object: &Value, finalizer: &str) -> Finding {
    let happened =
        format!("it is to be deleted, and finalizer {finalizer} holds it, which is none of Kubernetes' own");
    let finding = Finding::new(
        "ForeignFinalizer",
        Who::Admin,
        happened,
        format!("whoever put {finalizer} there to remove it"),
    );
    let within = match namespace(object) {
        "" => String::new(),
        namespace => format!("-n {namespace} "),
    };
    finding.run(format!("kubectl {within}get {kind} {} -o yaml", name(object)))
}

/// Why a volume that is being deleted stays.
pub(crate) fn of_volume(view: &View, volume: &Value) -> Vec<Finding> {
    let driver = attachment::driver_of(volume);
    let reasons = |finalizer: &&str| match *finalizer {
        "kubernetes.io/pv-protection" => bound(volume).into_iter().collect(),
        "external-provisioner.volume.kubernetes.io/finalizer" | "kubernetes.io/pv-controller" => {
            if text(volume, "/status/phase") == "Bound" {
                Vec::new()
            } else {
                undeleted(view, volume, driver)
            }
        }
        other if other.starts_with("external-attacher/") => attached(view, volume, driver, other),
        other => vec![foreign("pv", volume, other)],
    };
    finalizers(volume).iter().flat_map(reasons).map(|finding| finding.since(deleted(volume))).collect()
}

fn claim_of(volume: &Value) -> String {
    format!("{}/{}", text(volume, "/spec/claimRef/namespace"), text(volume, "/spec/claimRef/name"))
}

fn bound(volume: &Value) -> Option<Finding> {
    if text(volume, "/status/phase") != "Bound" {
        return None;
    }
    let (claim, name) = (claim_of(volume), text(volume, "/spec/claimRef/name"));
    let happened = format!("the volume is to be deleted, and claim {claim} has it");
    let finding = Finding::new("Bound", Who::Owner, happened, format!("claim {claim} to be deleted"));
    Some(finding.run(format!("kubectl -n {} delete pvc {name}", text(volume, "/spec/claimRef/namespace"))))
}

fn attached(view: &View, volume: &Value, driver: &str, finalizer: &str) -> Vec<Finding> {
    let Some(attachments) = attachment::of_volume(view, name(volume)) else { return Vec::new() };
    if let Some(first) = attachments.first() {
        return still_attached(view, first);
    }
    let waits = format!("csi-attacher to remove finalizer {finalizer}");
    let finding = Finding::new("ProtectionPending", Who::Nobody, "the volume is attached nowhere", waits);
    vec![idle(view, Sidecar::Attacher, driver, true).unwrap_or(finding)]
}

/// That an attachment must go first, and why it does not.
fn still_attached(view: &View, attachment: &Value) -> Vec<Finding> {
    let happened = format!("the volume is still attached to node {}", text(attachment, "/spec/nodeName"));
    let waits = format!("VolumeAttachment {} to go", name(attachment));
    let (_, reasons) = attachment::reasons(view, attachment);
    let who = reasons.first().map_or(Who::Nobody, |reason| reason.who);
    let finding = Finding::new("StillAttached", who, happened, waits);
    let finding = finding.run(format!("mooring explain va {}", name(attachment)));
    std::iter::once(finding).chain(reasons).collect()
}

/// Why the volume behind the object is not deleted.
pub(crate) fn undeleted(view: &View, volume: &Value, driver: &str) -> Vec<Finding> {
    if let Some(first) = attachment::of_volume(view, name(volume)).unwrap_or_default().first() {
        return still_attached(view, first);
    }
    let said = event::warning(view, volume, &["VolumeFailedDelete"]);
    if let Some(finding) = idle(view, Sidecar::Provisioner, driver, said.is_some()) {
        return vec![finding.error(said.map(|said| said.message))];
    }
    let show = format!("kubectl describe pv {}", name(volume));
    let by = Sidecar::Provisioner.words(driver);
    let Some(said) = said else {
        let happened = format!("claim {} is gone, and the volume is to be deleted", claim_of(volume));
        return vec![Finding::new("Deleting", Who::Nobody, happened, format!("{by} to delete it")).run(show)];
    };
    let happened = format!("{by} could not delete the volume, and tries again");
    let finding =
        Finding::new("DeleteFailed", Who::Storage, happened, "the cause that the error names to be mended");
    vec![finding.since(said.since).error(Some(said.message)).run(show)]
}
