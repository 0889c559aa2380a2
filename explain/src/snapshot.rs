//! What a snapshot waits for.

use serde_json::Value;

use crate::ask::Kind;
use crate::event;
use crate::field::{
    annotation, created, deleted, finalizers, is_true, name, namespace, one_line, text, time, uid,
};
use crate::finding::{Finding, Who};
use crate::secret;
use crate::sidecar::{Sidecar, idle};
use crate::view::{Look, View};
use kubernetes::secret::SecretRef;

const DEFAULT: &str = "snapshot.storage.kubernetes.io/is-default-class";
const SECRET_NAME: &str = "snapshot.storage.kubernetes.io/deletion-secret-name";
const SECRET_NAMESPACE: &str = "snapshot.storage.kubernetes.io/deletion-secret-namespace";

/// What the snapshot is now, and why it is not ready.
pub(crate) fn reasons(view: &View, snapshot: &Value) -> (String, Vec<Finding>) {
    let findings = match content_of(view, snapshot) {
        _ if deleted(snapshot).is_some() => Vec::new(),
        _ if is_true(snapshot, "/status/readyToUse") => Vec::new(),
        (_, Some(Look::There(content))) => of_content(view, snapshot, content),
        (name, Some(Look::Absent)) => vec![content_missing(name)],
        (_, Some(Look::Unknown)) => Vec::new(),
        (_, None) => without_content(view, snapshot),
    };
    let findings = findings.into_iter().map(|finding| finding.since(created(snapshot))).collect();
    let state = match is_true(snapshot, "/status/readyToUse") {
        true => "ready",
        false => "not ready",
    };
    (state.to_owned(), findings)
}

/// The content that the snapshot names, in its status or as its source.
pub(crate) fn content_of<'a>(view: &'a View, snapshot: &'a Value) -> (&'a str, Option<Look<'a>>) {
    let names = ["/status/boundVolumeSnapshotContentName", "/spec/source/volumeSnapshotContentName"];
    let name = names.iter().map(|pointer| text(snapshot, pointer)).find(|name| !name.is_empty());
    (name.unwrap_or_default(), name.map(|name| view.global(Kind::Content, name)))
}

fn error_of(object: &Value) -> Option<String> {
    Some(one_line(text(object, "/status/error/message"))).filter(|error| !error.is_empty())
}

fn content_missing(content: &str) -> Finding {
    let happened = format!("the snapshot names VolumeSnapshotContent {content}, and there is none");
    let waits = format!("VolumeSnapshotContent {content}");
    Finding::new("ContentMissing", Who::Admin, happened, waits).run("kubectl get volumesnapshotcontents")
}

/// A snapshot that snapshot-controller has made no content for.
fn without_content(view: &View, snapshot: &Value) -> Vec<Finding> {
    let said = event::warning(view, snapshot, &WARNINGS).map(|said| said.message);
    let error = error_of(snapshot).or(said);
    let claim = text(snapshot, "/spec/source/persistentVolumeClaimName");
    let stopped = source(view, snapshot, claim).or_else(|| class(view, snapshot, claim));
    if let Some(finding) = stopped {
        return vec![finding.error(error)];
    }
    let is_seen =
        snapshot.pointer("/status").is_some() || !finalizers(snapshot).is_empty() || error.is_some();
    if let Some(finding) = idle(view, Sidecar::SnapshotController, "", is_seen) {
        return vec![finding.error(error)];
    }
    let happened = "snapshot-controller has not made a VolumeSnapshotContent for the snapshot".to_owned();
    let finding =
        Finding::new("NoContent", Who::Admin, happened, "snapshot-controller to make one").error(error);
    vec![finding.run(format!(
        "kubectl -n {} describe volumesnapshot {}",
        namespace(snapshot),
        name(snapshot)
    ))]
}

/// What snapshot-controller and csi-snapshotter warn of.
const WARNINGS: [&str; 8] = [
    "SnapshotContentCreationFailed",
    "CreateSnapshotContentFailed",
    "GetSnapshotClassFailed",
    "SetDefaultSnapshotClassFailed",
    "SnapshotPVCSourceMissing",
    "SnapshotValidationError",
    "SnapshotContentMissing",
    "SnapshotContentMisbound",
];

fn source(view: &View, snapshot: &Value, claim: &str) -> Option<Finding> {
    let (namespace, show) = (namespace(snapshot), format!("kubectl -n {} get pvc", namespace(snapshot)));
    let object = match view.one(Kind::Claim, namespace, claim) {
        Look::There(object) => object,
        Look::Absent if claim.is_empty() => return None,
        Look::Absent => {
            let happened =
                format!("the snapshot is to be cut of claim {namespace}/{claim}, and there is none");
            let finding =
                Finding::new("SourceMissing", Who::Owner, happened, format!("claim {namespace}/{claim}"));
            return Some(finding.run(show));
        }
        Look::Unknown => return None,
    };
    if text(object, "/status/phase") == "Bound" {
        return None;
    }
    let happened = format!("the snapshot is to be cut of claim {namespace}/{claim}, which has no volume");
    let finding = Finding::new(
        "SourceNotReady",
        Who::Owner,
        happened,
        format!("claim {namespace}/{claim} to be Bound"),
    );
    Some(finding.run(format!("mooring explain pvc {claim} -n {namespace}")))
}

fn class(view: &View, snapshot: &Value, claim: &str) -> Option<Finding> {
    let class = text(snapshot, "/spec/volumeSnapshotClassName");
    let volume = view.one(Kind::Claim, namespace(snapshot), claim).object();
    let volume = volume.and_then(|claim| view.global(Kind::Volume, text(claim, "/spec/volumeName")).object());
    let driver = volume.map_or("", |volume| text(volume, "/spec/csi/driver"));
    if class.is_empty() {
        return no_class(view, driver);
    }
    match view.global(Kind::SnapshotClass, class) {
        Look::Absent => {
            let happened = format!("the snapshot names VolumeSnapshotClass {class}, and there is none");
            let finding =
                Finding::new("ClassMissing", Who::Admin, happened, format!("VolumeSnapshotClass {class}"));
            Some(finding.run("kubectl get volumesnapshotclasses"))
        }
        Look::There(object) if !driver.is_empty() && text(object, "/driver") != driver => {
            let its = text(object, "/driver");
            let happened = format!(
                "VolumeSnapshotClass {class} is CSI driver {its}'s, and the claim's volume is {driver}'s"
            );
            let waits = format!("a snapshot of a VolumeSnapshotClass with driver {driver}");
            let finding = Finding::new("ClassForeign", Who::Owner, happened, waits);
            Some(finding.run("kubectl get volumesnapshotclasses"))
        }
        Look::There(_) | Look::Unknown => None,
    }
}

fn no_class(view: &View, driver: &str) -> Option<Finding> {
    let classes = view.all(Kind::SnapshotClass, "")?;
    let of_driver = |class: &&Value| text(class, "/driver") == driver && annotation(class, DEFAULT) == "true";
    let defaults: Vec<&str> = classes.iter().filter(of_driver).map(name).collect();
    let happened = match defaults.as_slice() {
        [_] => return None,
        [] => format!(
            "the snapshot names no class, and no VolumeSnapshotClass of CSI driver {driver} is the default one"
        ),
        more => format!(
            "the snapshot names no class, and CSI driver {driver} has several default ones: {}",
            more.join(", ")
        ),
    };
    let waits = format!("one default VolumeSnapshotClass of {driver} (annotation {DEFAULT}=true)");
    Some(Finding::new("NoClass", Who::Admin, happened, waits).run("kubectl get volumesnapshotclasses"))
}

/// That the content is another snapshot's.
pub(crate) fn misbound(snapshot: &Value, content: &Value) -> Option<Finding> {
    let of = |field: &str| text(content, &format!("/spec/volumeSnapshotRef/{field}"));
    let is_named = (of("namespace"), of("name")) == (namespace(snapshot), name(snapshot));
    let whose = match of("uid") {
        _ if !is_named => format!("another snapshot, {}/{}", of("namespace"), of("name")),
        its if its != uid(snapshot) && !its.is_empty() => "a former snapshot of this name".to_owned(),
        _ => return None,
    };
    let content = name(content);
    let happened = format!("the snapshot names VolumeSnapshotContent {content}, which is of {whose}");
    let finding =
        Finding::new("ContentMisbound", Who::Owner, happened, "a snapshot that names a content of its own");
    Some(finding.run(format!("kubectl get volumesnapshotcontent {content} -o yaml")))
}

/// A snapshot with a content that is not ready.
fn of_content(view: &View, snapshot: &Value, content: &Value) -> Vec<Finding> {
    let driver = text(content, "/spec/driver");
    if let Some(finding) = misbound(snapshot, content) {
        return vec![finding];
    }
    let failures = ["SnapshotCreationFailed", "SnapshotContentCheckandUpdateFailed"];
    let said = event::warning(view, content, &failures);
    let since = time(content, "/status/error/time").or(said.as_ref().and_then(|said| said.since));
    let error = error_of(content).or(error_of(snapshot)).or(said.map(|said| said.message));
    let place = SecretRef {
        namespace: annotation(content, SECRET_NAMESPACE).to_owned(),
        name: annotation(content, SECRET_NAME).to_owned(),
    };
    let namer = format!("VolumeSnapshotContent {}", name(content));
    let secret = if place.name.is_empty() { None } else { secret::missing(view, &place, &namer) };
    let is_seen = content.pointer("/status").is_some() || error.is_some();
    let leader = idle(view, Sidecar::Snapshotter, driver, is_seen);
    let mut findings: Vec<Finding> = leader.into_iter().collect();
    if let Some(secret) = secret {
        findings.push(secret.error(error));
    } else if error.is_some() {
        let happened =
            format!("csi-snapshotter of CSI driver {driver} could not cut the snapshot, and tries again");
        let finding =
            Finding::new("SnapshotFailed", Who::Storage, happened, format!("{driver} to cut the snapshot"));
        findings.push(finding.since(since).error(error).run(describe(content)));
    } else if findings.is_empty() {
        let cut = !text(content, "/status/snapshotHandle").is_empty();
        let happened = match cut {
            true => format!("the snapshot is cut, and CSI driver {driver} is still at work on it"),
            false => format!("csi-snapshotter of CSI driver {driver} has the snapshot"),
        };
        let finding =
            Finding::new("Snapshotting", Who::Nobody, happened, format!("{driver} to say that it is ready"));
        findings.push(finding.run(describe(content)));
    }
    findings
}

fn describe(content: &Value) -> String {
    format!("kubectl describe volumesnapshotcontent {}", name(content))
}
