//! Attaches one attachment, in one attempt (docs/upstream/attacher.md, "Attach").
//!
//! ```text
//! volume's finalizer -> attachment's finalizer and note -> ControllerPublishVolume -> attached
//! ```
//!
//! A write that would change nothing is left out. If the process ends between two steps, the attachment is
//! attached again from the start or, once it is deleted, detached.

use std::collections::BTreeMap;

use kubernetes::api::Format;
use kubernetes::collection::Written;
use kubernetes::object::{Attachment, Key, Volume};
use kubernetes::secret::SecretRef;

use super::attachments::{Attachments, Progress};
use super::error::{AttachError, SourceError};
use super::former::former;
use super::node::node_id;
use super::note::{Note, needs_note, secret_of};
use super::{patch, request};
use crate::publication::decide::may_be_published;
use crate::publication::registry::{Pair, Publication};

impl Attachments {
    /// Attaches; for `missing` see [`kubernetes::waiting::Waiting::secret`].
    pub(super) async fn attach(
        &self,
        attachment: &Attachment,
        missing: Option<&SecretRef>,
    ) -> Result<Progress, AttachError> {
        let (config, meta) = (&self.config, &attachment.meta);
        let target = self.targets.find(attachment).await?;
        if let Some(volume) = &target.volume {
            self.protect(volume).await?;
        }
        let node = self.caches.nodes.get(&Key::cluster(&attachment.node));
        let node_id = node_id(&config.driver, &attachment.node, node.as_deref())?;
        let (spec, csi) = target.csi()?;
        let mut request = request::publish(config, spec, csi, &node_id)?;
        let secret = secret_of(csi);
        if let Some(place) = &secret {
            let failed = |cause| AttachError::Secret { name: place.to_string(), cause };
            request.secrets =
                self.waiting.secret(&self.seat.objects, place, missing).await.map_err(failed)?;
        }
        if let Some(former) = former(attachment, &config.finalizer, &csi.volume_handle, &node_id) {
            let left = self.unpublish_former(attachment, former, &request.secrets, target.migrated).await;
            if !left.map_err(AttachError::Driver)? {
                return Ok(Progress::Busy);
            }
        }
        let pair = Pair { handle: csi.volume_handle.clone(), node_id: node_id.clone() };
        let Some(turn) = self.take_turn(&pair, &meta.key) else { return Ok(Progress::Busy) };
        let note = target.volume.is_some().then(|| Note::of(csi));
        if needs_note(attachment, &config.finalizer, &node_id, note.as_ref()) {
            let body = patch::save(&config.finalizer, &node_id, note.as_ref());
            let saved = self.write(meta, "", Format::Strategic, body).await;
            if saved.map_err(AttachError::Save)? == Written::Gone {
                return Ok(Progress::Over);
            }
        }
        let begun = self.publications.begin(Publication {
            attachment: meta.clone(),
            pair,
            volume: attachment.volume().cloned(),
            node: attachment.node.clone(),
            secret,
            migrated: target.migrated,
        });
        // Deleted while we were saving? Then do not publish: we would only have to unpublish. This is asked after the
        // publication is written down: from then on the attachment cannot go unnoticed.
        if self.latest(attachment).is_none_or(|latest| latest.meta.deleting) {
            self.publications.undo(begun);
            return Ok(Progress::Over);
        }
        let reply = self.seat.driver.call_migrated(request, config.timeout, target.migrated).await;
        if !may_be_published(&reply) {
            self.publications.undo(begun);
        }
        let context = reply.map_err(AttachError::Driver)?.publish_context;
        drop(turn);
        self.record(attachment, &context).await
    }

    /// Marks the attachment as attached. This settles the publication. If the attachment is being deleted, the
    /// publication stays until the detach, which comes next.
    async fn record(
        &self,
        attachment: &Attachment,
        context: &BTreeMap<String, String>,
    ) -> Result<Progress, AttachError> {
        let meta = &attachment.meta;
        let recorded = match patch::attached(attachment, context) {
            None => self.latest(attachment).is_some_and(|latest| !latest.meta.deleting),
            Some(body) => match self.write(meta, "status", Format::Merge, body).await {
                // The API server knows the attachment, whatever the cache says.
                Ok(Written::Kept { deleting, .. }) => !deleting,
                Ok(Written::Gone) => return Ok(Progress::Over),
                Err(error) => return Err(AttachError::Mark(error)),
            },
        };
        if recorded {
            self.publications.settle(&meta.uid);
        }
        Ok(Progress::Done)
    }

    /// Puts our finalizer on the volume first, so that the volume outlives the attachment.
    ///
    /// If the API server no longer has the volume, the error is "not found", and the volume is removed from
    /// the cache, so that waiting attachments are woken only by a new volume of that name.
    async fn protect(&self, volume: &Volume) -> Result<(), AttachError> {
        if volume.meta.deleting {
            return Err(AttachError::VolumeDeleting(volume.meta.name().into()));
        }
        if volume.meta.has_finalizer(&self.config.finalizer) {
            return Ok(());
        }
        match self.caches.volumes.add_finalizer(&volume.meta, &self.config.finalizer).await {
            Ok(Written::Kept { .. }) => Ok(()),
            Ok(Written::Gone) => Err(SourceError::VolumeNotFound(volume.meta.name().into()).into()),
            Err(error) => Err(AttachError::Protect(error)),
        }
    }
}
