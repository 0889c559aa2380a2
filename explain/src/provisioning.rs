//! A claim without a volume: who should make one, and what stops him.

use jiff::SignedDuration;
use serde_json::Value;

use crate::ask::Kind;
use crate::attributes;
use crate::event::{self, Said};
use crate::field::{annotation, created, entry, few, name, namespace, text};
use crate::finding::{Finding, Who};
use crate::place;
use crate::secret;
use crate::sidecar::{Sidecar, idle};
use crate::source;
use crate::topology;
use crate::view::{Look, View};

const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const PROVISIONERS: [&str; 2] =
    ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
/// What the names of in-tree plugins begin with.
const IN_TREE: &str = "kubernetes.io/";
/// The class of volumes that nobody makes.
const BY_HAND: &str = "kubernetes.io/no-provisioner";

/// Why a claim that is not bound has no volume.
pub(crate) fn pending(view: &View, claim: &Value) -> Vec<Finding> {
    let findings = match class_name(claim) {
        None => no_class(view).into_iter().collect(),
        Some("") => vec![by_hand(claim, "")],
        Some(class) => of_class(view, claim, class),
    };
    findings.into_iter().map(|finding| finding.since(created(claim))).collect()
}

/// The class that the claim names; `None` if it names none, not even the empty one.
fn class_name(claim: &Value) -> Option<&str> {
    let beta = entry(claim, "/metadata/annotations", BETA_CLASS);
    beta.or_else(|| claim.pointer("/spec/storageClassName")?.as_str())
}

fn no_class(view: &View) -> Option<Finding> {
    let classes = view.all(Kind::Class, "")?;
    let is_default = |class: &&Value| annotation(class, DEFAULT_CLASS) == "true";
    if let Some(class) = classes.iter().find(is_default) {
        let happened = format!("the claim names no StorageClass, and {} is the default one", name(class));
        let waits = "kube-controller-manager to write the default class into the claim".to_owned();
        return Some(Finding::new("DefaultClassPending", Who::Nobody, happened, waits));
    }
    let names: Vec<&str> = classes.iter().map(name).collect();
    let names = few(&names);
    let happened = "the claim names no StorageClass, and none is the default one".to_owned();
    let waits = format!(
        "a default StorageClass, or a PersistentVolume without a class that fits. Classes here: {names}"
    );
    let command = format!("kubectl annotate storageclass CLASS {DEFAULT_CLASS}=true");
    Some(Finding::new("NoClass", Who::Admin, happened, waits).run(command))
}

fn by_hand(claim: &Value, class: &str) -> Finding {
    let of = if class.is_empty() {
        "without a StorageClass".to_owned()
    } else {
        format!("of StorageClass {class}")
    };
    let happened = format!("volumes {of} are made by hand, and none that is free fits the claim");
    let size = text(claim, "/spec/resources/requests/storage");
    let waits = format!("a PersistentVolume {of} with at least {size} and the claim's access modes");
    Finding::new("NoVolume", Who::Admin, happened, waits).run("kubectl get pv")
}

fn of_class(view: &View, claim: &Value, class_name: &str) -> Vec<Finding> {
    let class = match view.global(Kind::Class, class_name) {
        Look::There(class) => class,
        Look::Absent => return vec![class_missing(view, class_name)],
        Look::Unknown => return unknown_class(view, claim, class_name),
    };
    let driver = driver(claim, class);
    let is_late = text(class, "/volumeBindingMode") == "WaitForFirstConsumer";
    let place = if is_late { place::late(view, claim, driver) } else { None };
    if text(class, "/provisioner") == BY_HAND {
        return vec![place.unwrap_or_else(|| by_hand(claim, class_name))];
    }
    if driver.starts_with(IN_TREE) {
        return vec![in_tree(class_name, driver)];
    }
    let failed = event::warning_of_sidecar(view, claim, &["ProvisioningFailed"]);
    let source = source::unusable(view, claim, driver);
    let is_populated = source.iter().any(|finding| finding.cause == "Populator");
    let one = |finding: Option<Finding>| finding.into_iter().collect::<Vec<_>>();
    let stopped = [one(place), one(selector(claim)), source].into_iter().find(|found| !found.is_empty());
    let stopped = stopped.unwrap_or_else(|| {
        let attributes = attributes::unusable(view, claim, driver);
        let secret = attributes.or_else(|| secret::of_claim(view, claim, class));
        one(secret.or_else(|| topology::unmet(view, class, driver)))
    });
    if is_populated || stopped.first().is_some_and(|finding| is_before_provisioner(finding.cause)) {
        return stopped;
    }
    if let Some(finding) = not_handed_over(view, claim, driver) {
        return std::iter::once(finding).chain(stopped).collect();
    }
    let is_seen = event::is_by(view, claim, &format!("{driver}_"));
    let leader =
        idle(view, Sidecar::Provisioner, driver, is_seen).map(|finding| taken_over(finding, class, driver));
    let mut findings = stopped;
    let was_asked = failed.as_ref().is_some_and(|said| code(&said.message).is_some());
    let is_passed = findings.first().is_some_and(|finding| was_asked && is_of_topology(finding.cause));
    match (findings.first_mut(), failed) {
        (Some(_), Some(said)) if is_passed => findings.insert(0, refused(claim, driver, said)),
        (Some(first), Some(said)) => first.error = first.error.take().or(Some(said.message)),
        (None, Some(said)) => findings.push(refused(claim, driver, said)),
        (None, None) if leader.is_none() => findings.push(under_way(claim, driver)),
        (Some(_) | None, None) => {}
    }
    findings.splice(0..0, leader);
    findings
}

/// How long kube-controller-manager may take to hand a claim over.
const HAND_OVER: SignedDuration = SignedDuration::from_secs(15);

/// That kube-controller-manager has not told the provisioner of the claim, without which it ignores it.
fn not_handed_over(view: &View, claim: &Value, driver: &str) -> Option<Finding> {
    let until = created(claim)?.checked_add(HAND_OVER).ok()?;
    if PROVISIONERS.iter().any(|key| !annotation(claim, key).is_empty()) {
        return None;
    }
    if until > view.now {
        view.changes_at(until);
        return None;
    }
    let [key, _] = PROVISIONERS;
    let happened =
        format!("the claim has no annotation {key}, without which the provisioner of {driver} ignores it");
    let finding = Finding::new(
        "NotHandedOver",
        Who::Admin,
        happened,
        "kube-controller-manager to write it: see that it runs",
    );
    Some(finding.run("kubectl -n kube-system get lease kube-controller-manager"))
}

/// Whether the cause counts only for drivers with topology: csi-provisioner passes it over for others, and asks them.
fn is_of_topology(cause: &str) -> bool {
    matches!(cause, "NodeWithoutDriver" | "LabelMissing" | "TopologyUnmet")
}

/// Whether the cause stands before csi-provisioner looks at the claim.
fn is_before_provisioner(cause: &str) -> bool {
    matches!(
        cause,
        "NoPod"
            | "NoNode"
            | "NotScheduled"
            | "SchedulerPassedOver"
            | "PodUnschedulable"
            | "PodGated"
            | "VolumeLimit"
            | "NoCapacity"
            | "VolumeElsewhere"
    )
}

/// Who makes volumes of the class: for an in-tree class that a CSI driver has taken over, the claim says.
pub(crate) fn driver<'a>(claim: &'a Value, class: &'a Value) -> &'a str {
    let told = PROVISIONERS.iter().map(|key| annotation(claim, key)).find(|driver| !driver.is_empty());
    told.unwrap_or(text(class, "/provisioner"))
}

fn in_tree(class: &str, provisioner: &str) -> Finding {
    let happened = format!(
        "StorageClass {class} has in-tree provisioner {provisioner}, and Kubernetes has none of this name any more"
    );
    let finding = Finding::new("InTree", Who::Admin, happened, "a StorageClass of a CSI driver in the claim");
    finding.run("kubectl get storageclasses")
}

/// Says of a class of an in-tree plugin whose it is now.
fn taken_over(mut finding: Finding, class: &Value, driver: &str) -> Finding {
    let provisioner = text(class, "/provisioner");
    if provisioner != driver {
        let happened = &finding.happened;
        finding.happened = format!(
            "StorageClass {} has in-tree provisioner {provisioner}, which CSI driver {driver} has taken over; {happened}",
            name(class)
        );
    }
    finding
}

fn class_missing(view: &View, class: &str) -> Finding {
    let names: Vec<&str> = view.all(Kind::Class, "").unwrap_or_default().iter().map(name).collect();
    let names = few(&names);
    let happened = format!("the claim names StorageClass {class}, and there is none");
    let waits = format!("StorageClass {class}. Classes here: {names}");
    Finding::new("ClassMissing", Who::Admin, happened, waits).run("kubectl get storageclasses")
}

fn unknown_class(view: &View, claim: &Value, class: &str) -> Vec<Finding> {
    let said = event::warning(view, claim, &["ProvisioningFailed"]);
    let happened = format!("the claim has no volume, and StorageClass {class} cannot be read");
    let finding = Finding::new("Unknown", Who::Admin, happened, "what the StorageClass would tell");
    vec![finding.error(said.map(|said| said.message))]
}

fn selector(claim: &Value) -> Option<Finding> {
    claim.pointer("/spec/selector")?;
    let happened = "the claim has spec.selector, with which no CSI driver can make a volume".to_owned();
    let waits =
        "a PersistentVolume of the claim's class that the selector matches, or a claim without spec.selector";
    Some(Finding::new("Selector", Who::Owner, happened, waits).run("kubectl get pv --show-labels"))
}

fn refused(claim: &Value, driver: &str, said: Said) -> Finding {
    let happened =
        format!("{} could not make the volume, and tries again", Sidecar::Provisioner.words(driver));
    let (cause, who, waits) = match code(&said.message) {
        Some("ResourceExhausted") => {
            ("StorageFull", Who::Storage, "room behind the driver, or its quota".to_owned())
        }
        Some("OutOfRange") => {
            ("SizeRefused", Who::Owner, "a claim with a size that the driver can make".to_owned())
        }
        Some("InvalidArgument") => (
            "Refused",
            Who::Admin,
            "other parameters in the class or the claim: the driver refuses these".to_owned(),
        ),
        Some("DeadlineExceeded" | "Unavailable" | "Aborted" | "Canceled") => {
            ("DriverSilent", Who::Storage, format!("{driver} to answer: it may still be at work"))
        }
        Some(_) => ("DriverError", Who::Storage, format!("{driver} to make the volume")),
        None => ("ProvisioningFailed", Who::Admin, "the cause that the error names to be mended".to_owned()),
    };
    let finding = Finding::new(cause, who, happened, waits).since(said.since).error(Some(said.message));
    finding.run(format!("kubectl -n {} describe pvc {}", namespace(claim), name(claim)))
}

/// The gRPC code that a message names.
pub(crate) fn code(message: &str) -> Option<&str> {
    message.split_once("rpc error: code = ")?.1.split_whitespace().next()
}

fn under_way(claim: &Value, driver: &str) -> Finding {
    let happened = format!("{} has the claim", Sidecar::Provisioner.words(driver));
    let waits = format!("{driver} to answer CreateVolume");
    let finding = Finding::new("Provisioning", Who::Nobody, happened, waits).since(created(claim));
    finding.run(format!(
        "kubectl -n {} get events --field-selector involvedObject.name={}",
        namespace(claim),
        name(claim)
    ))
}
