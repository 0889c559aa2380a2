//! What a PersistentVolume waits for.

use serde_json::Value;

use crate::ask::Kind;
use crate::attachment;
use crate::field::{created, deleted, name, one_line, text, time, uid};
use crate::finding::{Finding, Who};
use crate::growth;
use crate::removal;
use crate::view::{Look, View};

/// What the volume is now, and why it is not in use, or not gone.
pub(crate) fn reasons(view: &View, volume: &Value) -> (String, Vec<Finding>) {
    let phase = text(volume, "/status/phase");
    let claim =
        format!("{}/{}", text(volume, "/spec/claimRef/namespace"), text(volume, "/spec/claimRef/name"));
    if deleted(volume).is_some() {
        let mut findings = removal::of_volume(view, volume);
        if findings.is_empty() {
            findings.push(waits_for_claim(volume, &claim).since(deleted(volume)));
        }
        return (format!("being deleted ({phase})"), findings);
    }
    let since = time(volume, "/status/lastPhaseTransitionTime");
    let (state, findings) = match phase {
        "Released" => (format!("Released by claim {claim}"), released(view, volume, &claim)),
        "Failed" => ("Failed".to_owned(), vec![failed(volume)]),
        "Bound" => (format!("Bound to claim {claim}"), bound(view, volume, &claim)),
        _ => (phase.to_owned(), available(view, volume, &claim)),
    };
    let since = since.or(created(volume));
    (state, findings.into_iter().map(|finding| finding.since(since)).collect())
}

fn released(view: &View, volume: &Value, claim: &str) -> Vec<Finding> {
    let policy = text(volume, "/spec/persistentVolumeReclaimPolicy");
    if policy == "Delete" {
        return removal::undeleted(view, volume, attachment::driver_of(volume));
    }
    let happened =
        format!("claim {claim} is gone, and the reclaim policy is {policy}: volume and data are kept");
    let waits = "somebody to save the data and delete the PersistentVolume, or to free it for a new claim";
    let finding = Finding::new("Retained", Who::Admin, happened, waits)
        .run(format!("kubectl delete pv {}", name(volume)));
    vec![finding.run(format!(
        "kubectl patch pv {} --type=json -p='[{{\"op\":\"remove\",\"path\":\"/spec/claimRef\"}}]'",
        name(volume)
    ))]
}

/// A volume whose finalizers are those of somebody who acts only once the claim is gone.
fn waits_for_claim(volume: &Value, claim: &str) -> Finding {
    let happened = format!("the volume is to be deleted, and belongs to claim {claim}");
    let finding = Finding::new("Bound", Who::Owner, happened, format!("claim {claim} to be deleted"));
    finding.run(format!("kubectl describe pv {}", name(volume)))
}

fn failed(volume: &Value) -> Finding {
    let happened = "kube-controller-manager could not reclaim the volume".to_owned();
    let error = Some(one_line(text(volume, "/status/message")));
    let finding = Finding::new(
        "ReclaimFailed",
        Who::Admin,
        happened,
        "somebody to delete the PersistentVolume and what is behind it",
    );
    finding.error(error).run(format!("kubectl describe pv {}", name(volume)))
}

fn available(view: &View, volume: &Value, claim: &str) -> Vec<Finding> {
    let reference = |field: &str| text(volume, &format!("/spec/claimRef/{field}"));
    if reference("name").is_empty() {
        let of = match text(volume, "/spec/storageClassName") {
            "" => "without a StorageClass".to_owned(),
            class => format!("of StorageClass {class}"),
        };
        let size = text(volume, "/spec/capacity/storage");
        let waits = format!("a claim {of} for at most {size} with its access modes");
        let finding = Finding::new("Unclaimed", Who::Nobody, "no claim has the volume: it is free", waits);
        return vec![finding.run("kubectl get pvc -A")];
    }
    let happened = match view.one(Kind::Claim, reference("namespace"), reference("name")) {
        Look::Absent => format!("the volume is kept for claim {claim}, and there is none"),
        Look::There(object)
            if !text(object, "/spec/volumeName").is_empty()
                && text(object, "/spec/volumeName") != name(volume) =>
        {
            format!(
                "the volume is kept for claim {claim}, which has volume {}",
                text(object, "/spec/volumeName")
            )
        }
        Look::There(_) | Look::Unknown => {
            format!("the volume is kept for claim {claim}, and is not bound to it yet")
        }
    };
    let finding = Finding::new("Reserved", Who::Owner, happened, format!("claim {claim} to want it"));
    vec![finding.run(format!("kubectl -n {} get pvc {} -o yaml", reference("namespace"), reference("name")))]
}

fn bound(view: &View, volume: &Value, claim: &str) -> Vec<Finding> {
    let reference = |field: &str| text(volume, &format!("/spec/claimRef/{field}"));
    let found = view.one(Kind::Claim, reference("namespace"), reference("name"));
    let is_gone = match found {
        Look::There(object) => uid(object) != reference("uid"),
        Look::Absent => true,
        Look::Unknown => false,
    };
    if is_gone {
        let happened = format!("claim {claim} is gone");
        let waits = "kube-controller-manager to call the volume Released".to_owned();
        return vec![
            Finding::new("ClaimGone", Who::Nobody, happened, waits)
                .run(format!("kubectl describe pv {}", name(volume))),
        ];
    }
    let attachments = attachment::of_volume(view, name(volume)).unwrap_or_default();
    let claim = found.object();
    let growth = claim.and_then(|claim| growth::unfinished(view, claim, attachment::driver_of(volume)));
    let attachments = attachments.into_iter();
    growth.into_iter().chain(attachments.flat_map(|it| attachment::reasons(view, it).1)).collect()
}
