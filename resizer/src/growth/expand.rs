//! Grows one volume, in one attempt.

use std::sync::Arc;

use base::quantity::Quantity;
use jiff::Timestamp;
use kubernetes::api::Format;
use kubernetes::collection::Written;
use kubernetes::event::Kind;
use kubernetes::object::{Claim, Volume};
use kubernetes::report::time;
use kubernetes::secret::{SecretRef, read};

use super::error::GrowthError;
use super::memory::Grown;
use super::reconcile::{Growths, Progress};
use super::{patch, request};
use crate::config::Expansion;
use crate::events::tell;

impl Growths {
    /// Grows the volume to at least this size.
    ///
    /// `Differs:` upstream tells Resizing at each try. We tell it once a size, when the driver is asked.
    pub(super) async fn grow(
        &self,
        claim: &Arc<Claim>,
        volume: &Volume,
        target: Quantity,
    ) -> Result<Progress, GrowthError> {
        let (caches, events) = (&self.shared.caches, &self.shared.seat.events);
        if let Some(body) = patch::marked(claim, target, &time(Timestamp::now())) {
            let failed = |cause| GrowthError::Mark { claim: claim.meta.key.to_string(), cause };
            if self.write(claim, body).await.map_err(failed)? == Written::Gone {
                return Ok(Progress::Gone);
            }
        }
        if self.in_use.holds(claim).await {
            let (claim, driver) = (claim.meta.key.to_string(), self.shared.config.driver.clone());
            return Err(GrowthError::InUse { claim, driver });
        }
        let grown = match self.memory.grown(&claim.meta.uid, target) {
            Some(grown) => grown,
            None => {
                if self.memory.note_told(&claim.meta.uid, target) {
                    let text = format!("External resizer is resizing volume {}", volume.meta.name());
                    tell(events, claim, Kind::Normal, "Resizing", text);
                }
                if self.expansion == Expansion::Controller
                    && let Some(body) = caches.latest(claim).and_then(|latest| patch::repeated(&latest))
                {
                    let failed = |cause| GrowthError::Mark { claim: claim.meta.key.to_string(), cause };
                    if self.write(claim, body).await.map_err(failed)? == Written::Gone {
                        return Ok(Progress::Gone);
                    }
                }
                self.expanded(claim, volume, target).await?
            }
        };
        self.in_use.release(claim);
        self.memory.note_grown(&claim.meta.uid, grown);
        let before = claim.status.as_ref().map(|status| &*status.capacity);
        let before = before.filter(|_| grown.needs_node && self.shared.config.annotate);
        if let Some(body) = patch::resized(volume, grown.size, before) {
            let saved = caches.volumes.patch(&volume.meta, "", Format::Strategic, body).await;
            let failed = |cause| GrowthError::SaveVolume { volume: volume.meta.name().into(), cause };
            if saved.map_err(failed)? == Written::Gone {
                return Ok(Progress::Gone);
            }
        }
        self.record(claim, grown).await
    }

    /// Writes into the claim what the driver has done.
    async fn record(&self, claim: &Claim, grown: Grown) -> Result<Progress, GrowthError> {
        let events = &self.shared.seat.events;
        let Some(latest) = self.shared.caches.latest(claim) else { return Ok(Progress::Gone) };
        let body = if grown.needs_node {
            patch::left_to_node(&latest, &time(Timestamp::now()))
        } else {
            patch::finished(&latest, grown.size)
        };
        if let Some(body) = body
            && self.write(claim, body).await.map_err(GrowthError::SaveClaim)? == Written::Gone
        {
            return Ok(Progress::Gone);
        }
        self.memory.forget(&claim.meta.uid);
        if grown.needs_node {
            let text = "Require file system resize of volume on node".to_owned();
            tell(events, claim, Kind::Normal, "FileSystemResizeRequired", text);
            return Ok(Progress::LeftToNode);
        }
        tell(events, claim, Kind::Normal, "VolumeResizeSuccessful", "Resize volume succeeded".to_owned());
        Ok(Progress::Finished)
    }

    /// Asks the driver.
    ///
    /// `Differs:` upstream asks for the capabilities again before each call. We know them: after a driver restart they are
    /// compared, and the process ends if they have changed. Upstream takes over a size below that of the volume. And an answer
    /// of zero bytes names no size: the volume has what was asked for. Upstream writes the zero, which the API server refuses.
    async fn expanded(&self, claim: &Claim, volume: &Volume, target: Quantity) -> Result<Grown, GrowthError> {
        let (shared, config) = (&self.shared, &self.shared.config);
        // No size shrinks, whatever was asked for.
        let present = volume.size.as_ref().and_then(|size| Quantity::parse(&size.capacity).ok());
        let at_least = |size: Quantity| present.map_or(size, |present| present.max(size));
        if self.expansion == Expansion::Node {
            return Ok(Grown { target, size: at_least(target), needs_node: true });
        }
        let form = shared.caches.csi_form(volume, config.plugins).await?;
        let mut request = request::expand(&form, target, config.can.single_node_multi_writer)?;
        let place = form.source.expand_secret.as_deref().and_then(|place| SecretRef::parse(place));
        if let Some(place) = place {
            let failed = |cause| GrowthError::Secret { name: place.to_string(), cause };
            request.secrets = read(&shared.seat.objects, &place).await.map_err(failed)?.to_request();
        }
        // However this call ends, even without leadership or in a panic: until there is an answer, it may be under way.
        self.memory.note_open(&claim.meta.uid);
        let driver = &shared.seat.driver;
        let reply = driver.call_migrated(request, config.expand_timeout, form.migrated).await;
        let reply = reply.map_err(GrowthError::Driver)?;
        let size = match reply.capacity_bytes {
            0 => target,
            bytes => Quantity::from_bytes(bytes),
        };
        if size < target {
            return Err(GrowthError::TooSmall { answered: reply.capacity_bytes, required: target });
        }
        Ok(Grown { target, size: at_least(size), needs_node: reply.node_expansion_required })
    }
}
