//! Storing the object of a volume that exists (provisioner.md §10, "Saving").

use base::queue::{Job, Outcome};
use kubernetes::api;
use kubernetes::event::Kind;
use kubernetes::object::{Key, Volume, WireVolume};
use kubernetes::store::Creation;

use super::error::ProvisionError;
use super::memory::Unsaved;
use super::reconcile::{ClaimId, Claims};

impl Claims {
    /// Creates the object; false when that has to be tried again, as after an error: the name may become
    /// free. The volume is never deleted for it.
    pub(super) async fn save(&self, unsaved: &Unsaved) -> Result<bool, ProvisionError> {
        let (volume, claim) = (&unsaved.volume, &unsaved.claim);
        let creation = self.volumes.creation(Key::cluster(volume.name()));
        match self.process.objects.create::<WireVolume>("", &**volume).await {
            Ok(wire) => creation.done(wire),
            Err(error) if api::is(&error, 409) => match self.is_stored(unsaved, creation).await {
                Some(true) => {}
                Some(false) => return Err(ProvisionError::NameTaken(volume.name().to_owned())),
                None => return Ok(false),
            },
            // What failed may be our own silence; the next leader goes on.
            Err(_) if !self.process.leadership.holds() => return Ok(false),
            Err(error) => {
                base::error!(api::text(&error), "Volume made but its object not stored; will retry";
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

    /// Whether the object of this name is ours; `None` when that cannot be told now.
    ///
    /// `Differs:` upstream takes any object of the name for its own.
    async fn is_stored(&self, unsaved: &Unsaved, creation: Creation<'_, Volume>) -> Option<bool> {
        let wire = self.process.objects.get::<WireVolume>("", unsaved.volume.name()).await.ok()??;
        let known = Volume::from_wire(wire.clone(), self.volumes.scope());
        let same_claim = known.claim.is_some_and(|claim| claim.uid == *unsaved.volume.claim_uid());
        let csi = known.spec.csi;
        let same_volume = csi.is_some_and(|csi| {
            *csi.driver == *self.config.driver && &*csi.volume_handle == unsaved.volume.handle()
        });
        if same_claim && same_volume {
            creation.done(wire);
        }
        Some(same_claim && same_volume)
    }
}

/// The queue of volumes whose objects are not stored yet (upstream's `unsavedpvs`).
pub struct UnsavedVolumes(pub std::sync::Arc<Claims>);

impl Job<ClaimId> for UnsavedVolumes {
    async fn run(&self, id: ClaimId) -> Outcome {
        let claims = &self.0;
        if !claims.process.leadership.holds() {
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
