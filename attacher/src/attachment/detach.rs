//! Detaches one attachment, in one attempt (docs/upstream/attacher.md, "Detach").
//!
//! ```text
//! ControllerUnpublishVolume -> remove the attachment's finalizer -> (if the object stays) not attached
//! ```
//!
//! Two attachments of one volume to one node can only be made by hand. Detaching either of them unpublishes
//! the volume for the other too, as upstream does. If the driver lists its volumes, the comparison with that
//! list publishes it again (see [`crate::listing`]).
//!
//! `Differs:` upstream needs the PersistentVolume to detach. When a user removes it by force, the attachment
//! is stuck for ever. We note in the attachment what we published, and detach from that note alone.

use kubernetes::api::Format;
use kubernetes::collection::Written;
use kubernetes::object::{Attachment, Key};
use kubernetes::secret::SecretRef;

use super::attachments::{Attachments, Progress};
use super::error::{DetachError, SourceError};
use super::former::former;
use super::node::node_id_for_detach;
use super::note::Note;
use super::source::{Source, source};
use super::{patch, request};
use crate::publication::registry::Pair;

impl Attachments {
    /// Detaches; for `missing` see [`kubernetes::waiting::Waiting::secret`].
    pub(super) async fn detach(
        &self,
        attachment: &Attachment,
        missing: Option<&SecretRef>,
    ) -> Result<Progress, DetachError> {
        let config = &self.config;
        let (note, migrated) = self.published(attachment).await?;
        let node = self.caches.nodes.get(&Key::cluster(&attachment.node));
        let node_id = node_id_for_detach(&config.driver, attachment, node.as_deref())
            .map_err(|cause| DetachError::Node { cause })?;
        let mut request = request::unpublish(&note.handle, &node_id);
        if let Some(place) = &note.secret {
            let failed = |cause| DetachError::Secret { name: place.to_string(), cause };
            request.secrets =
                self.waiting.secret(&self.seat.objects, place, missing).await.map_err(failed)?;
        }
        if let Some(former) = former(attachment, &config.finalizer, &note.handle, &node_id) {
            let left = self.leave(attachment, former, &request.secrets, migrated).await;
            if !left.map_err(DetachError::Driver)? {
                return Ok(Progress::Busy);
            }
        }
        let pair = Pair { handle: note.handle, node_id };
        let Some(claim) = self.claim(&pair, &attachment.meta.key) else {
            return Ok(Progress::Busy);
        };
        let driver = &self.seat.driver;
        driver.call_migrated(request, config.timeout, migrated).await.map_err(DetachError::Driver)?;
        self.publications.settle(&attachment.meta.uid);
        drop(claim);
        self.unbind(attachment).await
    }

    /// What was published, and whether it was translated. The note says so; without a note, the volume does.
    async fn published(&self, attachment: &Attachment) -> Result<(Note, bool), DetachError> {
        if let Source::Volume(name) = source(attachment)?
            && let Some(note) = Note::read(attachment)
        {
            return Ok((note, self.targets.is_migrated(name)));
        }
        let target = self.targets.find(attachment).await.map_err(|error| match error {
            SourceError::VolumeNotFound(volume) => {
                DetachError::NothingKnown { volume, finalizer: self.config.finalizer.clone() }
            }
            other => other.into(),
        })?;
        let (_, csi) = target.csi()?;
        Ok((Note::of(csi), target.migrated))
    }

    /// Removes the finalizer first: the API server then usually deletes the object, and no status is left to
    /// write.
    ///
    /// `Differs:` upstream writes the status in any case, which fails when the object is gone.
    async fn unbind(&self, attachment: &Attachment) -> Result<Progress, DetachError> {
        let finalizer = &self.config.finalizer;
        if attachment.meta.has_finalizer(finalizer) {
            let body = patch::remove_finalizer(finalizer);
            let removed = self.write(&attachment.meta, "", Format::Strategic, body).await;
            if removed.map_err(DetachError::Mark)? == Written::Gone {
                return Ok(Progress::Done);
            }
        }
        let Some(body) = patch::detached(attachment) else { return Ok(Progress::Done) };
        self.write(&attachment.meta, "status", Format::Merge, body).await.map_err(DetachError::Mark)?;
        Ok(Progress::Done)
    }
}
