//! Modifies one volume, in one attempt.

use std::sync::Arc;

use jiff::Timestamp;
use kubernetes::api::Format;
use kubernetes::collection::Written;
use kubernetes::event::Kind;
use kubernetes::object::{AttributesClass, Claim, Key, Volume};
use kubernetes::report::time;
use kubernetes::secret::read;

use super::error::ModifyError;
use super::reconcile::Modifications;
use super::{patch, request};
use crate::events::tell;
use crate::queues::Who;

impl Modifications {
    pub(super) async fn modify(
        &self,
        claim: &Arc<Claim>,
        volume: &Volume,
        class: &str,
    ) -> Result<(), ModifyError> {
        let uid = &claim.meta.uid;
        if !self.memory.is_modified(uid, class) {
            let class = self.usable(class)?;
            if !self.begin(claim, &class).await? {
                return Ok(());
            }
            self.call(claim, volume, &class).await?;
            self.memory.note_modified(uid, class.meta.name());
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

    /// Marks the claim. False if it is gone.
    async fn begin(&self, claim: &Claim, class: &AttributesClass) -> Result<bool, ModifyError> {
        let name = class.meta.name();
        let Some(body) = patch::begun(claim, name, &time(Timestamp::now())) else { return Ok(true) };
        let failed = |cause| ModifyError::Mark { claim: claim.meta.name().to_owned(), cause };
        if self.shared.write(Who::Modification, claim, body).await.map_err(failed)? == Written::Gone {
            return Ok(false);
        }
        let text = format!("external resizer is modifying volume {} with vac {name}", claim.meta.name());
        tell(&self.shared.seat.events, claim, Kind::Normal, "VolumeModify", text);
        Ok(true)
    }

    async fn call(&self, claim: &Claim, volume: &Volume, class: &AttributesClass) -> Result<(), ModifyError> {
        let (seat, config) = (&self.shared.seat, &self.shared.config);
        let Some(mut request) = request::modify(claim, volume, class, config.extra_modify_metadata) else {
            return Ok(());
        };
        if let Some(place) = request::secret_of(volume) {
            let failed = |cause| ModifyError::Secret { name: place.to_string(), cause };
            request.secrets = read(&seat.objects, &place).await.map_err(failed)?.to_request();
        }
        // However this call ends, even without leadership or in a panic: until there is an answer, it may be under way.
        self.memory.note_open(&claim.meta.uid);
        let reply = seat.driver.call_migrated(request, config.modify_timeout, false).await;
        reply.map(drop).map_err(ModifyError::Driver)
    }

    /// Writes that the volume has the class: into the volume first, because a claim that says so is not looked at again.
    async fn record(&self, claim: &Claim, volume: &Volume, class: &str) -> Result<(), ModifyError> {
        let (shared, name) = (&self.shared, claim.meta.name());
        if let Some(body) = patch::of_class(volume, class) {
            let saved = shared.caches.volumes.patch(&volume.meta, "", Format::Strategic, body).await;
            saved.map_err(ModifyError::Save)?;
        }
        let Some(latest) = shared.caches.latest(claim) else { return Ok(()) };
        let written = shared
            .write(Who::Modification, claim, patch::finished(&latest, class))
            .await
            .map_err(ModifyError::Save)?;
        self.memory.forget(&claim.meta.uid);
        if written != Written::Gone {
            let text = format!("external resizer modified volume {name} with vac {class} successfully");
            tell(&shared.seat.events, claim, Kind::Normal, "VolumeModifySuccessful", text);
        }
        Ok(())
    }
}
