//! A claim's VolumeAttributesClass: the one that it is made with, and the one that it is changed to.

use serde_json::Value;

use crate::ask::Kind;
use crate::event;
use crate::field::{condition, name, namespace, one_line, text, time, written};
use crate::finding::{Finding, Who};
use crate::sidecar::{Sidecar, idle};
use crate::view::{Look, View};

const WANTED: &str = "/spec/volumeAttributesClassName";
const CURRENT: &str = "/status/currentVolumeAttributesClassName";

/// That the class which the claim names is not there, or is another driver's.
pub(crate) fn unusable(view: &View, claim: &Value, driver: &str) -> Option<Finding> {
    let class = text(claim, WANTED);
    let (cause, happened, waits) = match view.global(Kind::AttributesClass, class) {
        Look::Absent if !class.is_empty() => {
            let happened = format!("the claim names VolumeAttributesClass {class}, and there is none");
            ("AttributesMissing", happened, format!("VolumeAttributesClass {class}"))
        }
        Look::There(object) if text(object, "/driverName") != driver => {
            let its = text(object, "/driverName");
            let happened = format!(
                "VolumeAttributesClass {class} is CSI driver {its}'s, and the claim's volume is {driver}'s"
            );
            ("AttributesForeign", happened, format!("a VolumeAttributesClass of {driver} in the claim"))
        }
        Look::Absent | Look::There(_) | Look::Unknown => return None,
    };
    let finding = Finding::new(cause, Who::Admin, happened, waits);
    Some(finding.run("kubectl get volumeattributesclasses"))
}

/// Why a bound claim's attributes are not those of the class that it names.
pub(crate) fn modification(view: &View, claim: &Value, driver: &str) -> Option<Finding> {
    let (wanted, current) = (text(claim, WANTED), text(claim, CURRENT));
    let status = text(claim, "/status/modifyVolumeStatus/status");
    if wanted == current && status.is_empty() {
        return None;
    }
    if wanted.is_empty() && status.is_empty() {
        return None;
    }
    let asked = written(claim, "spec/volumeAttributesClassName");
    let failed = condition(claim, "ModifyVolumeError");
    let said = event::warning_since(view, claim, &["VolumeModifyFailed"], asked).map(|said| said.message);
    let error = failed.map(|failed| one_line(text(failed, "/message"))).or(said);
    let begun = condition(claim, "ModifyingVolume");
    let since = failed.or(begun).and_then(|it| time(it, "/lastTransitionTime"));
    let since = since.or(asked);
    if status != "InProgress"
        && let Some(finding) = unusable(view, claim, driver)
    {
        return Some(finding.since(since).error(error));
    }
    if let Some(finding) = idle(view, Sidecar::Resizer, driver, begun.is_some() || !status.is_empty()) {
        return Some(finding.since(since).error(error));
    }
    let target = text(claim, "/status/modifyVolumeStatus/targetVolumeAttributesClassName");
    let target = if target.is_empty() { wanted } else { target };
    let from = if current.is_empty() { "none".to_owned() } else { current.to_owned() };
    let (cause, who, happened, waits) = match (status, failed) {
        ("Infeasible", _) => {
            let happened =
                format!("CSI driver {driver} refuses the parameters of VolumeAttributesClass {target}");
            let waits = format!("another VolumeAttributesClass in the claim (it has {from} now)");
            ("AttributesInfeasible", Who::Owner, happened, waits)
        }
        (_, Some(_)) => {
            let happened = format!(
                "csi-resizer could not change the volume to VolumeAttributesClass {target}, and tries again"
            );
            ("AttributesFailed", Who::Storage, happened, format!("{driver} to change the volume"))
        }
        (_, None) => {
            let happened = format!("the volume is to change from VolumeAttributesClass {from} to {target}");
            (
                "AttributesChanging",
                Who::Nobody,
                happened,
                format!("{driver} to answer ControllerModifyVolume"),
            )
        }
    };
    let finding = Finding::new(cause, who, happened, waits).since(since).error(error);
    Some(finding.run(format!("kubectl -n {} describe pvc {}", namespace(claim), name(claim))))
}
