//! Attaches one attachment, in one attempt (docs/upstream/attacher.md, "Attach").
//!
//! ```text
//! volume's finalizer -> attachment's finalizer and note -> ControllerPublishVolume -> attached
//! ```
//!
//! A write that would change nothing is left out. If the process ends between two steps, the attachment is
//! attached again from the start or, once it is deleted, detached.

use kubernetes::api::Format;
use kubernetes::collection::Written;
use kubernetes::object::{Attachment, Key, Volume};
use kubernetes::secret::SecretRef;

use super::error::{AttachError, SourceError};
use super::facts::{Note, needs_note, node_id, secret_of};
use super::in_flight::Pair;
use super::reconcile::{Attachments, Progress};
use super::source::Target;
use super::{patch, request};
use crate::withdrawal::decide::may_be_published;
use crate::withdrawal::open::Publication;

impl Attachments {
    /// Attaches; for `missing` see [`Attachments::secret`].
    pub(super) async fn attach(
        &self,
        attachment: &Attachment,
        missing: Option<&SecretRef>,
    ) -> Result<Progress, AttachError> {
        // From here on to the end of what may come of it.
        let volume = attachment.volume().map(|volume| self.holds.hold(volume));
        let target = self.target(attachment).await?;
        if let Some(volume) = &target.volume {
            if volume.meta.deleting {
                return Err(AttachError::VolumeDeleting(volume.meta.name().into()));
            }
            self.protect(volume).await?;
        }
        let config = &self.config;
        let node = self.nodes.get(&Key::cluster(&attachment.node));
        let node_id = node_id(&config.driver, &attachment.node, node.as_deref())?;
        let (spec, csi) = target.csi().ok_or_else(|| SourceError::NotCsi(target.name().into()))?;
        let mut request = request::publish(config, spec, csi, &node_id)?;
        let secret = secret_of(csi);
        if let Some(place) = &secret {
            let failed = |cause| AttachError::Secret { name: place.to_string(), cause };
            request.secrets = self.secret(place, missing).await.map_err(failed)?;
        }
        let publication = Publication {
            uid: attachment.meta.uid.clone(),
            pair: Pair { handle: csi.volume_handle.clone(), node_id: node_id.clone() },
            volume,
            node: attachment.node.clone(),
            secret,
            migrated: target.migrated,
        };
        let Some(claim) = self.claim(&publication.pair, &attachment.meta.key) else {
            return Ok(Progress::Busy);
        };
        let note = target.volume.is_some().then(|| Note::of(csi));
        if needs_note(attachment, &config.finalizer, &node_id, note.as_ref()) {
            let body = patch::save(&config.finalizer, &node_id, note.as_ref());
            let saved = self.write(&attachment.meta, "", Format::Strategic, body).await;
            if saved.map_err(AttachError::Save)? == Written::Gone {
                return Ok(Progress::Gone);
            }
        }
        // Nothing that came meanwhile is published only to be withdrawn.
        match self.latest(attachment) {
            None => return Ok(Progress::Gone),
            Some(latest) if latest.meta.deleting => return Ok(Progress::Deleted),
            Some(_) => {}
        }
        let driver = &self.seat.driver;
        let reply = driver.call_migrated(request, config.timeout, target.migrated).await;
        if may_be_published(&reply) {
            self.withdrawals.open.begin(&attachment.meta.key, publication);
        }
        let context = reply.map_err(AttachError::Driver)?.publish_context;
        drop(claim);
        let Some(body) = patch::attached(attachment, &context) else { return Ok(Progress::Done) };
        match self.write(&attachment.meta, "status", Format::Merge, body).await.map_err(AttachError::Mark)? {
            Written::Kept { .. } => Ok(Progress::Done),
            Written::Gone => Ok(Progress::Gone),
        }
    }

    /// Puts our finalizer on the volume first, so that the volume outlives the attachment.
    ///
    /// If the API server no longer has the volume, the error is "not found", and the volume is removed from
    /// the cache, so that waiting attachments are woken only by a new volume of that name.
    async fn protect(&self, volume: &Volume) -> Result<(), AttachError> {
        if volume.meta.has_finalizer(&self.config.finalizer) {
            return Ok(());
        }
        match self.volumes.add_finalizer(&volume.meta, &self.config.finalizer).await {
            Ok(Written::Kept { .. }) => Ok(()),
            Ok(Written::Gone) => Err(SourceError::VolumeNotFound(volume.meta.name().into()).into()),
            Err(error) => Err(AttachError::Protect(error)),
        }
    }
}

impl Target<'_> {
    /// The name of the volume in messages.
    pub(super) fn name(&self) -> &str {
        self.volume.as_ref().map_or("(inline)", |volume| volume.meta.name())
    }
}
