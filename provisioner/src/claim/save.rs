//! Creates the PersistentVolume of a volume that exists at the driver (docs/upstream/provisioner.md,
//! "Saving").

use base::queue::{Job, Outcome};
use kubernetes::api;
use kubernetes::collection::Created;
use kubernetes::event::Kind;
use kubernetes::object::{Key, Volume};

use super::error::ProvisionError;
use super::memory::Unsaved;
use super::queue::ClaimId;
use super::reconcile::Claims;

impl Claims {
    /// Creates the object. False means: try again. That is so after any error, as the name may become free.
    /// The volume is never deleted because of it.
    pub(super) async fn save(&self, unsaved: &Unsaved) -> Result<bool, ProvisionError> {
        let (volume, claim) = (&unsaved.volume, &unsaved.claim);
        let key = Key::cluster(volume.name());
        match self.volumes.create(&key, &**volume, |known| self.is_same(known, unsaved)).await {
            Ok(Created::Stored) => {}
            Ok(Created::Taken) => return Err(ProvisionError::NameTaken(volume.name().to_owned())),
            // We may have failed only because we no longer lead; the next leader goes on.
            Err(_) if !self.seat.leadership.holds() => return Ok(false),
            Err(error) => {
                base::error!(api::text(&error), "Created the volume but not its PersistentVolume; will retry";
                    "volume" => volume.name(), "claim" => claim.meta.key);
                return Ok(false);
            }
        }
        self.memory().saved(&claim.meta.uid);
        self.metrics.provisioned(claim, unsaved.begun.elapsed());
        base::info!("Volume provisioned"; "volume" => volume.name(), "claim" => claim.meta.key);
        if self.is_waiting(claim) {
            let message = format!("Successfully provisioned volume {}", volume.name());
            self.tell(claim, Kind::Normal, "ProvisioningSucceeded", message);
        }
        Ok(true)
    }

    /// Whether a stored object is the one that we wanted to store.
    ///
    /// `Differs:` upstream treats any object of that name as its own.
    fn is_same(&self, known: &Volume, unsaved: &Unsaved) -> bool {
        let same_claim = known.claim.as_ref().is_some_and(|claim| claim.uid == *unsaved.volume.claim_uid());
        let csi = known.spec.csi.as_ref();
        let same_volume = csi.is_some_and(|csi| {
            *csi.driver == *self.config.driver && &*csi.volume_handle == unsaved.volume.handle()
        });
        same_claim && same_volume
    }
}

/// The queue of volumes whose objects are not created yet (upstream's `unsavedpvs`).
pub(crate) struct UnsavedVolumes(pub std::sync::Arc<Claims>);

impl Job<ClaimId> for UnsavedVolumes {
    async fn run(&self, id: ClaimId) -> Outcome {
        let claims = &self.0;
        if !claims.seat.leadership.holds() {
            return Outcome::Retry;
        }
        let Some(unsaved) = claims.memory().unsaved(&id.uid) else { return Outcome::Done };
        match claims.save(&unsaved).await {
            Ok(true) => Outcome::Done,
            Ok(false) => Outcome::Retry,
            Err(error) => {
                claims.tell(&unsaved.claim, Kind::Warning, "ProvisioningFailed", error.to_string());
                Outcome::Retry
            }
        }
    }
}
