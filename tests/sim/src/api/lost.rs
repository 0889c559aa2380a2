//! What kube-controller-manager is told when it calls a claim Lost.

use serde_json::{Value, json};

use super::admission::set_at;
use super::{ApiServer, policy};

impl ApiServer {
    /// Whether an admission policy keeps this claim from being called Lost.
    pub(crate) fn keeps_from_lost(&self, claim: &Value) -> bool {
        let mut lost = claim.clone();
        set_at(&mut lost, &["status", "phase"], json!("Lost"));
        policy::admit(&self.state().store, claim, &lost).is_err()
    }
}
