//! Grows one volume, in one attempt. Keep the order of the steps: recovery after a crash between two of them depends on it.

use std::sync::Arc;

use base::quantity::Quantity;
use csi::was_sent;
use jiff::Timestamp;
use kubernetes::api::Format;
use kubernetes::collection::Written;
use kubernetes::event::Kind;
use kubernetes::object::{Claim, ResizeState, Volume};
use kubernetes::report::time;
use kubernetes::secret::{SecretRef, read};
use serde_json::Value;

use super::error::GrowthError;
use super::reconcile::{Grown, Growths, Progress};
use super::{patch, request};
use crate::config::Expansion;
use crate::queues::Operation;

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
        let (shared, uid) = (&self.shared, &claim.meta.uid);
        if !patch::is_allocated(claim, target) {
            self.tell_recorded(claim);
            // Nothing is under way, or another size would not be asked for.
            self.memory.note_begun(uid);
        }
        if self.mark(claim, patch::marked(claim, target, &time(Timestamp::now()))).await? == Written::Gone {
            return Ok(Progress::Gone);
        }
        if self.in_use.holds(claim).await {
            let (claim, driver) = (claim.meta.key.to_string(), shared.config.driver.clone());
            return Err(GrowthError::InUse { claim, driver });
        }
        let done = self.memory.done(uid, &target);
        let is_repeated = done.is_some();
        let grown = match done {
            Some(grown) => grown,
            None => {
                if self.memory.note_told(uid, target) {
                    let text = format!("External resizer is resizing volume {}", volume.meta.name());
                    shared.tell(claim, Kind::Normal, "Resizing", text);
                }
                match self.expanded(claim, volume, target).await? {
                    Some(grown) => grown,
                    None => return Ok(Progress::Gone),
                }
            }
        };
        self.in_use.release(claim);
        self.memory.note_done(uid, target, grown);
        let before = claim.status.as_ref().map(|status| &*status.capacity);
        let before = before.map(|capacity| if capacity.is_empty() { "0" } else { capacity });
        let before = before.filter(|_| grown.needs_node && shared.config.annotate);
        if let Some(body) = patch::resized(volume, grown.size, before) {
            let saved = shared.caches.volumes.patch(&volume.meta, "", Format::Strategic, body).await;
            let failed = |cause| GrowthError::SaveVolume { volume: volume.meta.name().into(), cause };
            if saved.map_err(failed)? == Written::Gone {
                return Ok(Progress::Gone);
            }
        }
        self.record(claim, grown, is_repeated).await
    }

    /// Writes a mark into the claim before the call, if there is anything to write.
    async fn mark(&self, claim: &Claim, body: Option<Value>) -> Result<Written, GrowthError> {
        let Some(body) = body else {
            let meta = &claim.meta;
            return Ok(Written::Kept { version: meta.version, deleting: meta.deleting });
        };
        let written = self.shared.write(Operation::Growth, claim, body).await;
        written.map_err(|cause| GrowthError::Mark { claim: claim.meta.key.to_string(), cause })
    }

    /// Writes into the claim what the driver has done. `is_repeated`: that was tried before.
    async fn record(&self, claim: &Claim, grown: Grown, is_repeated: bool) -> Result<Progress, GrowthError> {
        let Some(latest) = self.shared.caches.latest(claim) else { return Ok(Progress::Gone) };
        let (body, as_what) = match grown.needs_node {
            true => {
                let body = patch::left_to_node(&latest, is_repeated, &time(Timestamp::now()));
                (body, "node expansion required")
            }
            false => (patch::finished(&latest, grown.size), "resize finished"),
        };
        if let Some(body) = body {
            let failed = |cause| GrowthError::SaveClaim { claim: claim.meta.key.to_string(), as_what, cause };
            if self.shared.write(Operation::Growth, claim, body).await.map_err(failed)? == Written::Gone {
                return Ok(Progress::Gone);
            }
        }
        self.memory.forget(&claim.meta.uid);
        Ok(self.tell_grown(claim, grown))
    }

    /// Tells of a growth whose last write has arrived although its reply was lost.
    pub(super) fn tell_recorded(&self, claim: &Claim) {
        let Some(grown) = self.memory.take_done(&claim.meta.uid) else { return };
        let status = claim.status.as_deref();
        let is_recorded = match grown.needs_node {
            true => status.is_some_and(|status| status.state == Some(ResizeState::NodeResizePending)),
            false => status.is_some_and(|status| *status.capacity == grown.size.to_string()),
        };
        if is_recorded {
            self.tell_grown(claim, grown);
        }
    }

    /// Tells the user what the driver has done.
    pub(super) fn tell_grown(&self, claim: &Claim, grown: Grown) -> Progress {
        if grown.needs_node {
            let text = "Require file system resize of volume on node".to_owned();
            self.shared.tell(claim, Kind::Normal, "FileSystemResizeRequired", text);
            return Progress::LeftToNode;
        }
        let text = "Resize volume succeeded".to_owned();
        self.shared.tell(claim, Kind::Normal, "VolumeResizeSuccessful", text);
        Progress::Finished
    }

    /// Asks the driver. `None` if the claim is gone.
    ///
    /// `Differs:` upstream asks for the capabilities again before each call. We know them: after a driver restart they are
    /// compared, and the process ends if they have changed. Upstream takes over a size below that of the volume. If the
    /// driver answers zero bytes, we take the requested size. Upstream writes the zero, which the API server refuses.
    async fn expanded(
        &self,
        claim: &Claim,
        volume: &Volume,
        target: Quantity,
    ) -> Result<Option<Grown>, GrowthError> {
        let (shared, config) = (&self.shared, &self.shared.config);
        // No size shrinks, whatever was asked for.
        let present = volume.size.as_ref().and_then(|size| Quantity::parse(&size.capacity).ok());
        let at_least = |size: Quantity| present.map_or(size, |present| present.max(size));
        if self.expansion == Expansion::Node {
            return Ok(Some(Grown { size: at_least(target), needs_node: true }));
        }
        let form = shared.caches.csi_form(volume, config.plugins).await?;
        let mut request =
            request::expand(volume.meta.name(), &form, target, config.can.single_node_multi_writer)?;
        let place = form.source.expand_secret.as_deref().and_then(|place| SecretRef::parse(place));
        if let Some(place) = place {
            let secret = read(&shared.seat.objects, &place).await;
            request.secrets = secret.map_err(|cause| GrowthError::Secret { place, cause })?.to_request();
        }
        let Some(latest) = shared.caches.latest(claim) else { return Ok(None) };
        let is_unsure = self.memory.is_unsure(&claim.meta.uid);
        if self.mark(claim, patch::repeated(&latest, is_unsure)).await? == Written::Gone {
            return Ok(None);
        }
        // However this call ends, even without leadership or in a panic: until there is an answer, it may be under way.
        let before = self.memory.note_sent(&claim.meta.uid);
        let reply = shared.seat.driver.call_migrated(request, config.expand_timeout, form.migrated).await;
        let reply = reply.map_err(|status| {
            if !was_sent(&status) {
                self.memory.note_unsent(&claim.meta.uid, before);
            }
            GrowthError::Driver(status)
        })?;
        let size = match reply.capacity_bytes {
            0 => target,
            bytes => Quantity::from_bytes(bytes),
        };
        if size < target {
            return Err(GrowthError::TooSmall { answered: reply.capacity_bytes, required: target });
        }
        Ok(Some(Grown { size: at_least(size), needs_node: reply.node_expansion_required }))
    }
}
