//! Requests whose claim is gone, and the Secret that they are sent with: nobody waits for the volume, and nothing can be sent.
//!
//! The driver may have made a volume, so such a request is kept until its Secret is there again. Nobody tells us of that:
//! upstream's roles allow no watch on Secrets. So it is tried again as all that fails. That is no failure of a claim: it is
//! told once a day, with what to do.
//!
//! `Differs:` upstream counts each such try as a failure of the claim, and writes an event.

use kubernetes::event::Kind;
use kubernetes::object::{Claim, Class};
use kubernetes::secret::{SecretError, SecretRef};
use tokio::time::Instant;

use super::eligible::source;
use super::error::ProvisionError;
use super::reconcile::Claims;
use super::request::named;
use crate::intent::patience;

/// A request that cannot be sent, and that nobody waits for.
pub(super) struct Rest {
    secret: SecretRef,
    /// Whether it is not there. Otherwise it may not be read.
    is_missing: bool,
    /// Since when.
    since: Instant,
    /// Whether it was not told within a day.
    pub(super) is_news: bool,
}

impl Claims {
    /// Whether the attempt lacked only a Secret, and nobody waits for the volume.
    pub(super) fn rests_without_secret(&self, claim: &Claim, error: &ProvisionError) -> Option<Rest> {
        let secret = error.missing_secret().filter(|_| !self.is_waiting(claim))?.clone();
        let told = self.memory().tell(&claim.meta.uid, &error.to_string(), Instant::now())?;
        let is_missing = matches!(error, ProvisionError::Secret { reason: SecretError::NotFound { .. }, .. });
        Some(Rest { secret, is_missing, since: told.since, is_news: told.is_news })
    }

    /// Says that a request waits, and what to do.
    pub(super) fn tell_of_wait(&self, claim: &Claim, class: &Class, rest: &Rest, error: &ProvisionError) {
        let secret = &rest.secret;
        let to_mend = match rest.is_missing {
            true => format!("create the Secret {secret} again"),
            false => format!("let csi-provisioner get the Secret {secret}, or create it again"),
        };
        let text = format!(
            "The claim is gone or no longer ours, and the driver may still have a volume for it. To have it cleaned up, {to_mend}"
        );
        match self.intents.written_at(&claim.meta.uid, &class.meta.uid) {
            Some((lease, annotation)) => {
                base::warn!(format!("A request waits for its Secret. {text}. To give the volume up, remove the annotation from the Lease while no csi-provisioner of this driver (with --node-deployment: of this node) runs");
                    "claim" => claim.meta.key, "uid" => claim.meta.uid, "secret" => secret, "lease" => lease, "annotation" => annotation, "err" => error);
            }
            None => {
                base::warn!(format!("A request waits for its Secret. {text}. To give the volume up, restart csi-provisioner");
                    "claim" => claim.meta.key, "uid" => claim.meta.uid, "secret" => secret, "err" => error);
            }
        }
        self.tell(claim, Kind::Warning, "ProvisioningFailed", format!("{error}. {text}"));
    }

    /// Whether the request may never be sent again: the claim is gone, and so is the Secret. In a namespace that is being
    /// deleted the Secret cannot come back, and a source there would keep the namespace for ever. Elsewhere, and
    /// where somebody replaces it, it is missing for a while only.
    pub(super) async fn waits_in_vain(&self, claim: &Claim, rest: &Rest) -> bool {
        if source(claim).is_none() {
            return false;
        }
        let goes_with = |namespace: &str| rest.is_missing && *rest.secret.namespace == *namespace;
        let of_source = named(claim).ok().flatten();
        let goes_too = goes_with(claim.meta.namespace())
            || of_source.is_some_and(|asked| goes_with(asked.key().namespace()));
        if rest.since.elapsed() < patience(goes_too) {
            return false;
        }
        self.live(claim).await.is_ok_and(|live| live.is_none())
    }
}
