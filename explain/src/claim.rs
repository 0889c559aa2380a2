//! What a claim waits for.

use serde_json::Value;

use crate::ask::Kind;
use crate::field::{annotation, deleted, text};
use crate::finding::{Finding, Who};
use crate::provisioning;
use crate::view::View;

/// What the claim is now, and why it is not ready.
pub(crate) fn reasons(view: &View, claim: &Value) -> (String, Vec<Finding>) {
    let phase = text(claim, "/status/phase");
    let _ = (deleted(claim), annotation(claim, ""), Kind::Claim, Who::Admin);
    match phase {
        "Bound" => (format!("Bound to PersistentVolume {}", text(claim, "/spec/volumeName")), Vec::new()),
        _ => ("Pending".to_owned(), provisioning::pending(view, claim)),
    }
}
