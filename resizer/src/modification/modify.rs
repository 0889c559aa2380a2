//! Modifies one volume, in one attempt. The order of the steps is what a crash between any two of them relies on.

use std::sync::Arc;

use csi::was_sent;
use jiff::Timestamp;
use kubernetes::api::Format;
use kubernetes::collection::Written;
use kubernetes::event::Kind;
use kubernetes::object::{AttributesClass, Claim, CsiSource, Key, Volume};
use kubernetes::report::time;
use kubernetes::secret::read;

use super::error::ModifyError;
use super::reconcile::{Modifications, Progress};
use super::{patch, request};
use crate::queues::Operation;

impl Modifications {
    /// Modifies the volume, whose source this is, to a class.
    pub(super) async fn modify(
        &self,
        claim: &Arc<Claim>,
        volume: &Volume,
        source: &CsiSource,
        class: &str,
    ) -> Result<Progress, ModifyError> {
        let uid = &claim.meta.uid;
        let is_done = self.memory.done(uid, class).is_some();
        if !is_done {
            let class = self.usable(class)?;
            if self.begin(claim, class.meta.name()).await? == Progress::Gone {
                return Ok(Progress::Gone);
            }
            self.call(claim, volume, source, &class).await?;
            self.memory.note_done(uid, class.meta.name().into(), ());
        }
        self.record(claim, volume, class).await
    }

    /// The class, if there is one of this name for our driver.
    fn usable(&self, name: &str) -> Result<Arc<AttributesClass>, ModifyError> {
        let found = self.shared.caches.classes.get(&Key::cluster(name));
        let class = found.ok_or_else(|| ModifyError::NoClass(name.into()))?;
        if class.driver != self.shared.config.driver {
            return Err(ModifyError::Foreign { class: name.into(), driver: class.driver.clone() });
        }
        Ok(class)
    }

    /// Marks the claim.
    async fn begin(&self, claim: &Claim, class: &str) -> Result<Progress, ModifyError> {
        let Some(body) = patch::begun(claim, class, &time(Timestamp::now())) else {
            return Ok(Progress::Finished);
        };
        let failed = |cause| ModifyError::Mark { claim: claim.meta.name().to_owned(), cause };
        let written = self.shared.write(Operation::Modification, claim, body).await.map_err(failed)?;
        if written == Written::Gone {
            return Ok(Progress::Gone);
        }
        let text = format!("external resizer is modifying volume {} with vac {class}", claim.meta.name());
        self.shared.tell(claim, Kind::Normal, "VolumeModify", text);
        Ok(Progress::Finished)
    }

    async fn call(
        &self,
        claim: &Claim,
        volume: &Volume,
        source: &CsiSource,
        class: &AttributesClass,
    ) -> Result<(), ModifyError> {
        let (seat, config) = (&self.shared.seat, &self.shared.config);
        let mut request = request::modify(claim, volume, source, class, config.extra_modify_metadata);
        if let Some(place) = request::secret_of(volume, source) {
            let secret = read(&seat.objects, &place).await;
            request.secrets = secret.map_err(|cause| ModifyError::Secret { place, cause })?.to_request();
        }
        // However this call ends, even without leadership or in a panic: until there is an answer, it may be under way.
        let before = self.memory.note_sent(&claim.meta.uid);
        let reply = seat.driver.call_migrated(request, config.modify_timeout, false).await;
        reply.map(drop).map_err(|status| {
            if !was_sent(&status) {
                self.memory.note_unsent(&claim.meta.uid, before);
            }
            ModifyError::Driver(status)
        })
    }

    /// Writes that the volume has the class: into the volume first, because a claim that says so is not looked at again.
    async fn record(&self, claim: &Claim, volume: &Volume, class: &str) -> Result<Progress, ModifyError> {
        let (shared, name) = (&self.shared, claim.meta.name());
        if let Some(body) = patch::of_class(volume, class) {
            let saved = shared.caches.volumes.patch(&volume.meta, "", Format::Strategic, body).await;
            let failed = |cause| ModifyError::SaveVolume { claim: name.to_owned(), cause };
            if saved.map_err(failed)? == Written::Gone {
                return Ok(Progress::Gone);
            }
        }
        let Some(latest) = shared.caches.latest(claim) else { return Ok(Progress::Gone) };
        let written = shared.write(Operation::Modification, claim, patch::finished(&latest, class)).await;
        let failed = |cause| ModifyError::SaveClaim { claim: name.to_owned(), cause };
        if written.map_err(failed)? == Written::Gone {
            return Ok(Progress::Gone);
        }
        self.memory.forget(&claim.meta.uid);
        self.tell_modified(claim, class);
        Ok(Progress::Finished)
    }

    /// Tells the user that the volume has the class.
    pub(super) fn tell_modified(&self, claim: &Claim, class: &str) {
        let text =
            format!("external resizer modified volume {} with vac {class} successfully", claim.meta.name());
        self.shared.tell(claim, Kind::Normal, "VolumeModifySuccessful", text);
    }
}
