//! What a claim waits for.

use serde_json::Value;

use crate::ask::Kind;
use crate::attachment;
use crate::attributes;
use crate::field::{created, deleted, name, namespace, text, uid};
use crate::finding::{Finding, Who};
use crate::growth;
use crate::in_use;
use crate::provisioning;
use crate::removal;
use crate::source;
use crate::view::{Look, View};

/// What the claim is now, and why it is not ready.
pub(crate) fn reasons(view: &View, claim: &Value) -> (String, Vec<Finding>) {
    let (phase, volume) = (text(claim, "/status/phase"), text(claim, "/spec/volumeName"));
    if deleted(claim).is_some() {
        return (format!("being deleted ({phase})"), removal::of_claim(view, claim));
    }
    match phase {
        "Bound" => (format!("Bound to PersistentVolume {volume}"), bound(view, claim, volume)),
        "Lost" => ("Lost".to_owned(), vec![lost(claim, volume)]),
        _ if !volume.is_empty() => ("Pending".to_owned(), wanted(view, claim, volume)),
        _ => ("Pending".to_owned(), unbound(view, claim)),
    }
}

fn unbound(view: &View, claim: &Value) -> Vec<Finding> {
    let findings = provisioning::pending(view, claim);
    match source::claim_of(view, claim).filter(|_| is_for_source(&findings)) {
        Some(source) => with_source(view, findings, source),
        None => findings,
    }
}

/// Whether the source's own reasons are what it comes to.
fn is_for_source(findings: &[Finding]) -> bool {
    matches!(findings, [only] if only.cause == "SourceNotReady")
}

/// The reasons, and below them those of the claim that must be bound first.
pub(crate) fn with_source(view: &View, mut findings: Vec<Finding>, source: &Value) -> Vec<Finding> {
    let reasons = provisioning::pending(view, source);
    if let (Some(first), Some(reason)) = (findings.first_mut(), reasons.first()) {
        first.who = reason.who;
    }
    findings.extend(reasons);
    findings
}

fn lost(claim: &Value, volume: &str) -> Finding {
    let happened = format!("the claim was bound to PersistentVolume {volume}, and that object is gone");
    let waits =
        "nothing that will come: a claim that is Lost stays so. What is behind the driver may still be there";
    let finding = Finding::new("Lost", Who::Admin, happened, waits).since(created(claim));
    finding.run(format!("kubectl -n {} delete pvc {}", namespace(claim), name(claim)))
}

/// A claim that names its volume.
fn wanted(view: &View, claim: &Value, volume: &str) -> Vec<Finding> {
    let object = match view.global(Kind::Volume, volume) {
        Look::There(object) => object,
        Look::Absent => {
            let happened = format!("the claim names PersistentVolume {volume}, and there is none");
            let finding =
                Finding::new("VolumeMissing", Who::Admin, happened, format!("PersistentVolume {volume}"));
            return vec![finding.since(created(claim)).run("kubectl get pv")];
        }
        Look::Unknown => return Vec::new(),
    };
    let (namespace_, name_) = (text(object, "/spec/claimRef/namespace"), text(object, "/spec/claimRef/name"));
    let its_uid = text(object, "/spec/claimRef/uid");
    let is_ours = (namespace_, name_) == (namespace(claim), name(claim))
        && (its_uid.is_empty() || its_uid == uid(claim));
    let finding = if !name_.is_empty() && !is_ours {
        let former = (namespace_, name_) == (namespace(claim), name(claim));
        let whose = if former {
            "a former claim of this name".to_owned()
        } else {
            format!("claim {namespace_}/{name_}")
        };
        let happened = format!("the claim names PersistentVolume {volume}, which is {whose}'s");
        let waits = "another PersistentVolume in the claim, or spec.claimRef to be removed from this one";
        let finding = Finding::new("VolumeTaken", Who::Admin, happened, waits);
        finding.run(format!("kubectl get pv {volume} -o yaml"))
    } else {
        let mine = (text(claim, "/spec/storageClassName"), text(claim, "/spec/resources/requests/storage"));
        let its = (text(object, "/spec/storageClassName"), text(object, "/spec/capacity/storage"));
        let happened = format!(
            "the claim names PersistentVolume {volume}, and is not bound to it: the claim wants class {:?} and {}, the volume has class {:?} and {}",
            mine.0, mine.1, its.0, its.1
        );
        let waits = "the two to fit in class, size, access modes and volume mode";
        Finding::new("VolumeUnfit", Who::Owner, happened, waits)
            .run(format!("kubectl get pv {volume} -o yaml"))
    };
    vec![finding.since(created(claim))]
}

fn bound(view: &View, claim: &Value, volume: &str) -> Vec<Finding> {
    let object = view.global(Kind::Volume, volume).object();
    let mut findings = Vec::new();
    if let Some(since) = object.and_then(deleted) {
        let happened = format!("PersistentVolume {volume} is to be deleted as soon as the claim is");
        let waits = "nothing: the claim can be used, but no pod can start with it on another node".to_owned();
        let finding = Finding::new("VolumeDeleted", Who::Owner, happened, waits).since(Some(since));
        findings.push(finding.run(format!("mooring explain pv {volume}")));
    }
    let driver = object.map(attachment::driver_of).filter(|driver| !driver.is_empty());
    findings.extend(driver.and_then(|driver| growth::unfinished(view, claim, driver)));
    findings.extend(driver.and_then(|driver| attributes::modification(view, claim, driver)));
    findings.extend(in_use::waiting(view, claim, object));
    findings
}
