//! Requests whose claim is gone, and the Secret that they are sent with: nobody waits for the volume, and nothing can be sent.
//!
//! The driver may have made a volume, so such a request is kept until its Secret is there again. Nobody tells us of that:
//! upstream's roles allow no watch on Secrets. So we look for it, less and less often, at most a minute apart. That is no
//! failure of a claim: it is told once, with what to do.

use std::time::Duration;

use base::queue::Outcome;
use kube::Resource as _;
use kubernetes::event::Kind;
use kubernetes::object::{Claim, Class, WireClaim};
use kubernetes::secret::SecretRef;
use tokio::time::Instant;

use super::eligible::source;
use super::error::ProvisionError;
use super::reconcile::Claims;

/// The pauses between two looks for the Secret.
const SHORTEST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(60);

/// What helps.
const REMEDY: &str = "Create the Secret again, in its namespace: then the request is sent, and its volume deleted or kept as the reclaimPolicy of the StorageClass says";

/// When to look for the Secret again, after it has been looked for so long.
fn pause(waited: Duration) -> Duration {
    (waited / 10).clamp(SHORTEST, LONGEST)
}

impl Claims {
    /// When to try again, if the attempt lacked only a Secret and nobody waits for the volume.
    pub(super) fn rests_without_secret(
        &self,
        claim: &Claim,
        class: &Class,
        error: &ProvisionError,
    ) -> Option<Outcome> {
        let secret = error.missing_secret().filter(|_| !self.is_waiting(claim))?;
        let told = self.memory().tell(&claim.meta.uid, &error.to_string(), Instant::now())?;
        if told.is_news {
            self.tell_of_wait(claim, class, secret, error);
        }
        Some(Outcome::After(pause(told.since.elapsed())))
    }

    fn tell_of_wait(&self, claim: &Claim, class: &Class, secret: &SecretRef, error: &ProvisionError) {
        match self.intents.written_at(&claim.meta.uid, &class.meta.uid) {
            Some((lease, annotation)) => {
                base::warn!(format!("A request waits for its Secret: its claim is gone too, and the driver may have made a volume for it. {REMEDY}. Or give that volume up: stop csi-provisioner, remove the annotation from the Lease, and start csi-provisioner again");
                    "claim" => claim.meta.key, "uid" => claim.meta.uid, "secret" => secret, "lease" => lease, "annotation" => annotation);
            }
            None => {
                base::warn!(format!("A request waits for its Secret: its claim is gone too, and the driver may have made a volume for it. {REMEDY}. Or give that volume up: start csi-provisioner again");
                    "claim" => claim.meta.key, "uid" => claim.meta.uid, "secret" => secret);
            }
        }
        self.tell(claim, Kind::Warning, "ProvisioningFailed", format!("{error}. {REMEDY}"));
    }

    /// Whether the requests for this claim may never be sent again: the claim is gone, and so is the Secret that they need. In
    /// a namespace that is being deleted the Secret cannot come back, and a source there would keep the namespace for ever.
    pub(super) async fn waits_in_vain(&self, claim: &Claim, error: &ProvisionError) -> bool {
        if error.missing_secret().is_none() || source(claim).is_none() || self.is_waiting(claim) {
            return false;
        }
        let live = self.seat.objects.get::<WireClaim>(claim.meta.namespace(), claim.meta.name()).await;
        live.is_ok_and(|live| live.is_none_or(|live| claim.meta.uid != live.meta().uid.clone().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_become_rare_up_to_one_a_minute() {
        for (waited, expected) in [(0, 2), (20, 2), (100, 10), (600, 60), (86_400, 60)] {
            assert_eq!(pause(Duration::from_secs(waited)), Duration::from_secs(expected), "{waited} s");
        }
    }
}
