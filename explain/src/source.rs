//! What a claim is to be filled with: a snapshot, another claim, or what a populator brings.

use base::quantity::Quantity;
use serde_json::Value;

use crate::ask::Kind;
use crate::event;
use crate::field::{created, deleted, entry, is_true, list, name, namespace, text, uid};
use crate::finding::{Finding, Who};
use crate::snapshot;
use crate::view::{Look, View};

const SNAPSHOTS: &str = "snapshot.storage.k8s.io";
const MODE_MAY_CHANGE: &str = "snapshot.storage.kubernetes.io/allow-volume-mode-change";
/// With it on a snapshot that is being deleted, csi-provisioner goes on, so that nothing is leaked.
const HOLD: &str = "provisioner.storage.kubernetes.io/volumesnapshot-as-source-protection";

/// Where the content comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    group: &'a str,
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
}

/// The source that the claim names, if any.
pub(crate) fn of(claim: &Value) -> Option<Source<'_>> {
    let (source, is_reference) = match claim.pointer("/spec/dataSource") {
        Some(source) => (source, false),
        None => (claim.pointer("/spec/dataSourceRef")?, true),
    };
    let there = if is_reference { text(source, "/namespace") } else { "" };
    Some(Source {
        group: text(source, "/apiGroup"),
        kind: text(source, "/kind"),
        namespace: if there.is_empty() { namespace(claim) } else { there },
        name: text(source, "/name"),
    })
}

impl Source<'_> {
    fn words(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }

    /// Whether it is this snapshot.
    pub(crate) fn is_snapshot(&self, namespace: &str, name: &str) -> bool {
        self.group == SNAPSHOTS
            && self.kind == "VolumeSnapshot"
            && (self.namespace, self.name) == (namespace, name)
    }

    /// Whether it is this claim.
    pub(crate) fn is_claim(&self, namespace: &str, name: &str) -> bool {
        self.kind == "PersistentVolumeClaim" && (self.namespace, self.name) == (namespace, name)
    }
}

/// The claim that it is to be a clone of, if that has no volume of its own.
pub(crate) fn claim_of<'a>(view: &'a View, claim: &Value) -> Option<&'a Value> {
    let source = of(claim).filter(|source| source.kind == "PersistentVolumeClaim")?;
    let object = view.one(Kind::Claim, source.namespace, source.name).object()?;
    (text(object, "/spec/volumeName").is_empty() && uid(object) != uid(claim)).then_some(object)
}

/// Why the claim cannot be filled yet. `driver` is who makes the volume.
pub(crate) fn unusable(view: &View, claim: &Value, driver: &str) -> Vec<Finding> {
    let Some(source) = of(claim) else { return Vec::new() };
    let may_use = grant(view, claim, &source);
    let found = match (source.group, source.kind) {
        _ if may_use.is_some() => may_use.into_iter().collect(),
        (SNAPSHOTS, "VolumeSnapshot") => of_snapshot(view, claim, &source, driver),
        ("", "PersistentVolumeClaim") => of_claim(view, claim, &source, driver).into_iter().collect(),
        _ => vec![populator(view, claim, &source)],
    };
    found.into_iter().map(|finding| finding.since(created(claim))).collect()
}

/// That no ReferenceGrant lets the claim use a source of another namespace.
fn grant(view: &View, claim: &Value, source: &Source<'_>) -> Option<Finding> {
    if source.namespace == namespace(claim) {
        return None;
    }
    let grants = view.all(Kind::Grant, source.namespace)?;
    let from = |from: &Value| {
        text(from, "/group").is_empty()
            && text(from, "/kind") == "PersistentVolumeClaim"
            && text(from, "/namespace") == namespace(claim)
    };
    let to = |to: &Value| {
        text(to, "/group") == source.group
            && text(to, "/kind") == source.kind
            && ["", source.name].contains(&text(to, "/name"))
    };
    if grants
        .iter()
        .any(|grant| list(grant, "/spec/from").iter().any(from) && list(grant, "/spec/to").iter().any(to))
    {
        return None;
    }
    let happened =
        format!("the claim is to be filled from {}, which is in another namespace", source.words());
    let waits = format!(
        "a ReferenceGrant in namespace {} from PersistentVolumeClaims of {} to it",
        source.namespace,
        namespace(claim)
    );
    let finding = Finding::new("GrantMissing", Who::Owner, happened, waits);
    Some(finding.run(format!("kubectl -n {} get referencegrants -o yaml", source.namespace)))
}

fn missing(source: &Source<'_>) -> Finding {
    let happened = format!("the claim is to be filled from {}, and there is none", source.words());
    let finding = Finding::new("SourceMissing", Who::Owner, happened, source.words());
    let plural = if source.kind == "VolumeSnapshot" { "volumesnapshots" } else { "pvc" };
    finding.run(format!("kubectl -n {} get {plural}", source.namespace))
}

fn deleting(source: &Source<'_>, object: &Value) -> Option<Finding> {
    let since = deleted(object)?;
    let happened = format!("the claim is to be filled from {}, which is being deleted", source.words());
    let waits = format!("nothing that will come: a claim with another source than {}", source.words());
    Some(Finding::new("SourceDeleted", Who::Owner, happened, waits).since(Some(since)))
}

fn of_snapshot(view: &View, claim: &Value, source: &Source<'_>, driver: &str) -> Vec<Finding> {
    let object = match view.one(Kind::Snapshot, source.namespace, source.name) {
        Look::There(object) => object,
        Look::Absent => return vec![missing(source)],
        Look::Unknown => return Vec::new(),
    };
    let is_held = crate::field::finalizers(object).contains(&HOLD);
    if let Some(finding) = deleting(source, object).filter(|_| !is_held) {
        return vec![finding];
    }
    let (_, reasons) = snapshot::reasons(view, object);
    if !reasons.is_empty() && !is_true(object, "/status/readyToUse") {
        let who = reasons.first().map_or(Who::Nobody, |reason| reason.who);
        let happened = format!("the claim is to be filled from {}, which is not ready", source.words());
        let finding =
            Finding::new("SourceNotReady", who, happened, format!("{} to be ready", source.words()));
        let finding =
            finding.run(format!("mooring explain snapshot {} -n {}", source.name, source.namespace));
        return std::iter::once(finding).chain(reasons).collect();
    }
    let content = view.global(Kind::Content, text(object, "/status/boundVolumeSnapshotContentName")).object();
    let misbound = content.and_then(|content| snapshot::misbound(object, content));
    let foreign = content.and_then(|content| foreign(source, text(content, "/spec/driver"), driver));
    let mode = content.and_then(|content| mode(claim, source, content));
    let size = text(object, "/status/restoreSize");
    misbound.or(foreign).or_else(|| too_small(claim, source, size)).or(mode).into_iter().collect()
}

fn foreign(source: &Source<'_>, its: &str, driver: &str) -> Option<Finding> {
    if its == driver {
        return None;
    }
    let happened =
        format!("{} is CSI driver {its}'s, and the claim's StorageClass is {driver}'s", source.words());
    let waits = format!("a claim of a StorageClass with provisioner {its}");
    let finding = Finding::new("SourceForeign", Who::Owner, happened, waits);
    Some(finding.run("kubectl get storageclasses"))
}

fn too_small(claim: &Value, source: &Source<'_>, size: &str) -> Option<Finding> {
    let asked = text(claim, "/spec/resources/requests/storage");
    let nanos = |size: &str| Quantity::parse(size).ok().map(|size| size.nanos());
    if nanos(asked)? >= nanos(size)? {
        return None;
    }
    let happened = format!("the claim asks for {asked}, and {} has {size}", source.words());
    let waits = format!("a claim that asks for at least {size}");
    let finding = Finding::new("SourceLarger", Who::Owner, happened, waits);
    Some(finding.run(format!("kubectl -n {} delete pvc {}", namespace(claim), name(claim))))
}

fn mode_of<'a>(object: &'a Value, pointer: &str) -> &'a str {
    match text(object, pointer) {
        "" => "Filesystem",
        mode => mode,
    }
}

fn mode(claim: &Value, source: &Source<'_>, content: &Value) -> Option<Finding> {
    let (its, mine) = (text(content, "/spec/sourceVolumeMode"), mode_of(claim, "/spec/volumeMode"));
    let may_change = entry(content, "/metadata/annotations", MODE_MAY_CHANGE)
        .is_some_and(|text| text.starts_with(['t', 'T', '1']));
    if its.is_empty() || its == mine || may_change {
        return None;
    }
    let happened =
        format!("{} was cut of a {its} volume, and the claim is for a {mine} volume", source.words());
    let waits = format!("annotation {MODE_MAY_CHANGE}=true on VolumeSnapshotContent {}", name(content));
    let finding = Finding::new("SourceMode", Who::Admin, happened, waits);
    Some(
        finding
            .run(format!("kubectl annotate volumesnapshotcontent {} {MODE_MAY_CHANGE}=true", name(content))),
    )
}

fn of_claim(view: &View, claim: &Value, source: &Source<'_>, driver: &str) -> Option<Finding> {
    let object = match view.one(Kind::Claim, source.namespace, source.name) {
        Look::There(object) => object,
        Look::Absent => return Some(missing(source)),
        Look::Unknown => return None,
    };
    if let Some(finding) = deleting(source, object) {
        return Some(finding);
    }
    if text(object, "/status/phase") != "Bound" {
        let happened =
            format!("the claim is to be a clone of {}, which has no volume itself", source.words());
        let finding =
            Finding::new("SourceNotReady", Who::Nobody, happened, format!("{} to be Bound", source.words()));
        return Some(finding.run(format!("mooring explain pvc {} -n {}", source.name, source.namespace)));
    }
    let (mine, its) = (mode_of(claim, "/spec/volumeMode"), mode_of(object, "/spec/volumeMode"));
    if mine != its {
        let happened = format!("{} is a {its} volume, and the claim is for a {mine} volume", source.words());
        let waits = format!("a claim with volumeMode {its}");
        return Some(Finding::new("SourceMode", Who::Owner, happened, waits));
    }
    let volume = view.global(Kind::Volume, text(object, "/spec/volumeName")).object();
    let its = volume.map(|volume| text(volume, "/spec/csi/driver")).filter(|its| !its.is_empty());
    let foreign = its.and_then(|its| foreign(source, its, driver));
    foreign.or_else(|| too_small(claim, source, text(object, "/spec/resources/requests/storage")))
}

fn populator(view: &View, claim: &Value, source: &Source<'_>) -> Finding {
    let of = if source.group.is_empty() { "the core group" } else { source.group };
    let happened =
        format!("the claim is to be filled from {}, which only a volume populator can do", source.words());
    let waits = format!("the populator of {} ({of}) to make and fill the volume", source.kind);
    let said = event::warning(
        view,
        claim,
        &["UnrecognizedDataSourceKind", "PopulatorCreationError", "ProvisioningFailed"],
    );
    let finding = Finding::new("Populator", Who::Admin, happened, waits).error(said.map(|said| said.message));
    finding.run("kubectl get volumepopulators".to_owned())
}
