//! What is told about claims: events, log lines, counts.

use base::queue::Outcome;
use kubernetes::event::{Event, Kind, ObjectRef};
use kubernetes::object::{BindingMode, Claim, Class};
use tokio::time::Instant;

use super::eligible::source;
use super::error::ProvisionError;
use super::reconcile::Claims;

impl Claims {
    pub(super) fn class_missing(&self, claim: &Claim) -> Outcome {
        base::error!("StorageClass not found", "Cannot provision the claim";
            "claim" => claim.meta.key, "class" => claim.class);
        self.metrics.failed_without_class(claim);
        Outcome::Retry
    }

    /// The claim's data source is of a kind that CSI does not know, so a volume populator fills the volume. Tells the claim so, once
    /// in the life of a process. If the source is in another namespace, this event is written only once a ReferenceGrant
    /// allows the source. We look at the claim
    /// again when it, its class or its volume changes.
    ///
    /// `Differs:` upstream writes two events: that it provisions the claim, then this one, under another component's name. It
    /// repeats both at each change and resync.
    pub(super) fn left_to_populator(&self, claim: &Claim) -> Outcome {
        if !self.memory().note_populator(&claim.meta.uid) {
            return Outcome::Done;
        }
        let message = "Assuming an external populator will provision the volume".to_owned();
        self.tell(claim, Kind::Normal, "Provisioning", message);
        Outcome::Done
    }

    /// Writes an event to the claim: an attempt begins.
    pub(super) fn tell_beginning(&self, claim: &Claim) {
        if self.is_waiting(claim) {
            let message =
                format!("External provisioner is provisioning volume for claim \"{}\"", claim.meta.key);
            self.tell(claim, Kind::Normal, "Provisioning", message);
        }
    }

    /// Writes one event to the claim: its request is sent without being written down.
    pub(super) fn tell_too_large(&self, claim: &Claim, class: &Class) {
        if !self.memory().note_too_large(&claim.meta.uid) {
            return;
        }
        let message = format!(
            "The request for the volume is too large to be written down before it is sent: the volume leaks if this claim \
             is deleted and csi-provisioner dies before there is a PersistentVolume. {}",
            smaller(class)
        );
        base::warn!(&message; "claim" => claim.meta.key, "class" => class.meta.name());
        self.tell(claim, Kind::Warning, "RequestNotWrittenDown", message);
    }

    /// Tells why an attempt failed. If the claim is gone, a repeated failure is told once. Its request is still tried again, which can
    /// fail for days. One that lacks its Secret is no failure ([`Claims::rests_without_secret`]).
    ///
    /// `Differs:` upstream also writes a warning when somebody else, such as another clone, changes the source at that moment.
    pub(super) fn tell_failure(&self, claim: &Claim, error: &ProvisionError) {
        if error.is_collision() {
            base::v!(2, "Others have changed what the claim needs; will retry"; "claim" => claim.meta.key, "err" => error);
            return;
        }
        self.metrics.failed(claim);
        let is_known = || {
            let told = self.memory().tell(&claim.meta.uid, &error.to_string(), Instant::now());
            told.is_some_and(|told| !told.is_news)
        };
        if !self.is_waiting(claim) && is_known() {
            base::v!(4, "Provisioning failed as before for a claim that is gone"; "claim" => claim.meta.key);
            return;
        }
        let cause = with_source(claim, error);
        base::error!(cause, "Provisioning failed"; "claim" => claim.meta.key, "uid" => claim.meta.uid);
        let text = if error.is_infeasible() {
            format!("Volume provisioning failed with infeasible error. Retries will be delayed. {cause}")
        } else {
            cause
        };
        self.tell(claim, Kind::Warning, "ProvisioningFailed", text);
    }

    pub(super) fn tell(&self, claim: &Claim, kind: Kind, reason: &'static str, message: String) {
        let object = ObjectRef::core("PersistentVolumeClaim", &claim.meta);
        self.seat.events.record(Event { object, kind, reason, message });
    }
}

/// What makes the requests of a class smaller. A large request consists almost only of topology segments.
fn smaller(class: &Class) -> String {
    match (class.allowed_topologies.is_empty(), class.binding) {
        (false, _) => format!(
            "Delete StorageClass {} and create it again with fewer allowedTopologies (the field cannot be edited)",
            class.meta.name()
        ),
        (true, BindingMode::WaitForFirstConsumer) => {
            "Start csi-provisioner with --strict-topology: it then names the selected node's place only"
                .to_owned()
        }
        (true, BindingMode::Immediate) => format!(
            "Delete StorageClass {} and create it again with a few allowedTopologies (the field cannot be edited). Or start \
             csi-provisioner with --immediate-topology=false: it then names no places for any StorageClass with immediate \
             binding and without allowedTopologies",
            class.meta.name()
        ),
    }
}

/// The error's text. Errors about the claim's source begin with upstream's words.
fn with_source(claim: &Claim, error: &ProvisionError) -> String {
    let cause = match error {
        ProvisionError::Source(cause) | ProvisionError::Withdrawn { cause, .. } => Some(cause),
        _ => None,
    };
    match (cause, source(claim)) {
        (Some(cause), Some(source)) if cause.is_about_content() => {
            format!(
                "error getting handle for DataSource Type {} by Name {}: {error}",
                source.kind, source.name
            )
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::request::SourceError;
    use crate::fixture::{claim_from, class_from};
    use serde_json::json;

    #[test]
    fn too_large_request_comes_with_what_makes_it_smaller() {
        let terms = json!([{"matchLabelExpressions": [{"key": "zone", "values": ["a"]}]}]);
        for (fields, remedy) in [
            (
                json!({"allowedTopologies": terms}),
                "Delete StorageClass fake-sc and create it again with fewer",
            ),
            (json!({"volumeBindingMode": "WaitForFirstConsumer"}), "--strict-topology"),
            (json!({}), "Delete StorageClass fake-sc and create it again with a few allowedTopologies"),
            (json!({}), "--immediate-topology=false: it then names no places for any StorageClass"),
        ] {
            let text = smaller(&class_from(fields));
            assert!(text.contains(remedy), "{text}");
        }
    }

    #[test]
    fn error_of_a_source_s_content_begins_as_upstream_s() {
        let source = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "snap"});
        let claim = claim_from(json!({}), json!({"dataSource": source}));
        let missing = SourceError::Missing("VolumeSnapshot fake-ns/snap".into());
        let handle = "error getting handle for DataSource Type VolumeSnapshot by Name snap: ";
        let withdrawn = ProvisionError::Withdrawn { cause: SourceError::Changed, cleanup: None };
        for (error, prefix) in
            [(missing.into(), handle), (withdrawn, handle), (SourceError::NoName.into(), "")]
        {
            let plain = ProvisionError::to_string(&error);
            assert_eq!(with_source(&claim, &error), format!("{prefix}{plain}"));
        }
    }
}
