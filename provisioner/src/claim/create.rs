//! Calls CreateVolume, and never lets two claims have one volume.
//!
//! Two claims may get the same volume name if `--volume-name-uuid-length` is short. The driver then answers the second
//! call with the first claim's volume. So the name is reserved and looked for before the call, and the volume's id is
//! looked for after it, unless the volume is stored as an in-tree one, whose id no cache has. `Differs:` upstream lets the
//! claims share the volume, and deletes it with the first of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use csi::v1;
use kubernetes::api;
use kubernetes::object::{
    AttributesVersion, Claim, Key, Volume, WireAttributesClass, WireAttributesClassBeta, WireVolume,
    version_of,
};
use kubernetes::secret::{SecretError, read};
use kubernetes::waiting::{self, Seen};
use tokio::time::Instant;
use tonic::Status;

use k8s_openapi::api::core::v1::PersistentVolume;

use super::background::Sent;
use super::error::ProvisionError;
use super::memory::Unsaved;
use super::name::{names_may_collide, volume_name};
use super::object::{NewVolume, places};
use super::reconcile::{Attempt, Claims};
use super::request::{Prepared, mutable_parameters, prepare};
use crate::migration::in_tree;

/// How often we try to delete a volume that is too small.
const CLEANUP_TRIES: usize = 5;
impl Claims {
    /// Whether the claim's volume has its object already. The name is reserved for the claim then, if names may collide,
    /// until [`Claims::free`]. `was_sent`: this process, or the one before, has sent a request for the claim. Then an object
    /// that another node has made for the claim is not about what may be made here.
    pub(super) async fn has_volume(
        &self,
        claim: &Claim,
        name: &str,
        was_sent: bool,
    ) -> Result<bool, ProvisionError> {
        let taken = |known: &Volume| match &known.claim {
            Some(holder) if holder.uid == claim.meta.uid => Ok(!(was_sent && self.is_out_of_reach(known))),
            Some(_) | None => Err(ProvisionError::NameTaken(name.to_owned())),
        };
        if let Some(known) = self.volumes.get(&Key::cluster(name)) {
            return taken(&known);
        }
        if !names_may_collide(&self.config) {
            return Ok(false);
        }
        if !self.memory().reserve(name, &claim.meta.uid) {
            return Err(ProvisionError::NameInUse(name.to_owned()));
        }
        // The cache may be late, and has no volumes of other drivers.
        match self.read_volume(name).await? {
            Some(known) => taken(&known),
            None => Ok(false),
        }
    }

    /// The attempt is over: lets go of the source, and frees the claim's volume name for other claims, unless something may still
    /// come of what was done. `was_sent`: a request for the claim was sent before. A source that was not used is not looked at.
    pub(super) fn free(&self, claim: &Claim, was_sent: bool) {
        if self.memory().end_use(&claim.meta.uid) || was_sent {
            self.settle_snapshot(claim);
        }
        if names_may_collide(&self.config)
            && let Some(name) = volume_name(&self.config, &claim.meta.uid.to_string())
        {
            self.memory().free(&name, &claim.meta.uid);
        }
    }

    /// The PersistentVolume of this name, whosever it is, as the API server has it.
    pub(super) async fn read_volume(&self, name: &str) -> Result<Option<Volume>, ProvisionError> {
        match self.seat.objects.get::<WireVolume>("", name).await {
            Ok(wire) => Ok(wire.map(|wire| Volume::from_wire(wire, self.volumes.store().scope()))),
            Err(error) => Err(ProvisionError::Lookup { name: name.to_owned(), reason: api::text(&error) }),
        }
    }

    /// The PersistentVolume that has this volume of our driver. `places`: the segments that the driver says it is in.
    pub(super) fn holder(&self, handle: &str, places: &[String]) -> Option<String> {
        let all = self.volumes.store().list();
        let holds = |known: &&Arc<Volume>| self.is_volume(known, handle, places);
        all.iter().find(holds).map(|known| known.meta.name().to_owned())
    }

    /// Whether the object is for this volume of our driver. Drivers on two nodes may give two volumes the same id.
    fn is_volume(&self, known: &Volume, handle: &str, places: &[String]) -> bool {
        let csi = known.spec.csi.as_ref();
        let is_named =
            csi.is_some_and(|csi| *csi.driver == *self.config.driver && *csi.volume_handle == *handle);
        let is_there = || {
            let texts = known.segments.iter().flat_map(|known| known.iter()).map(|text| &**text);
            texts.eq(places.iter().map(String::as_str))
        };
        is_named && (!self.is_out_of_reach(known) || is_there())
    }

    /// With a provisioner on each node: whether the object is for a volume that this node does not reach.
    pub(super) fn is_out_of_reach(&self, known: &Volume) -> bool {
        self.config.node.as_ref().is_some_and(|node| node.is_out_of_reach(known))
    }

    /// Whether the object is the one that is to be stored, or the volume's at least. An in-tree object does not show its
    /// volume's id in the cache: that it is for the claim must do.
    pub(super) fn is_stored(&self, known: &Volume, unsaved: &Unsaved) -> bool {
        match unsaved.in_tree {
            Some(_) => known.spec.csi.is_none(),
            None => self.is_volume(known, unsaved.volume.handle(), &unsaved.volume.segments()),
        }
    }

    /// The request with its topology terms, and with the content of its Secret as that is now.
    async fn with_secrets(
        &self,
        claim: &Claim,
        prepared: &Prepared,
    ) -> Result<v1::CreateVolumeRequest, ProvisionError> {
        let mut request = prepared.whole();
        if let Some(reference) = &prepared.secrets.provision {
            let secrets = read(&self.seat.objects, reference).await.map_err(|reason| {
                if matches!(reason, SecretError::NotFound { .. }) {
                    let key = Key::new(&reference.namespace, &reference.name);
                    self.wait_for(claim, &[Seen::new(waiting::Kind::Secret, key, None)]);
                }
                ProvisionError::Secret { secret: reference.clone(), reason }
            })?;
            request.secrets = secrets.to_request();
        }
        Ok(request)
    }

    /// The parameters of the VolumeAttributesClass that the request names, as that is now.
    async fn attributes(
        &self,
        claim: &Claim,
        prepared: &Prepared,
    ) -> Result<BTreeMap<String, String>, ProvisionError> {
        let name = &*prepared.attributes_class;
        let Some(version) = self.config.attributes_classes.filter(|_| !name.is_empty()) else {
            return Ok(BTreeMap::new());
        };
        let (kind, found) = match version {
            AttributesVersion::V1 => {
                let found = self.seat.objects.get::<WireAttributesClass>("", name).await;
                (waiting::Kind::AttributesClass, found)
            }
            AttributesVersion::Beta => {
                let found = self.seat.objects.get::<WireAttributesClassBeta>("", name).await;
                (waiting::Kind::AttributesClassBeta, found.map(|class| class.map(|beta| beta.0)))
            }
        };
        let unreadable =
            |error| ProvisionError::AttributesUnreadable { name: name.to_owned(), reason: api::text(&error) };
        let found = found.map_err(unreadable)?;
        let seen = Seen::new(kind, Key::cluster(name), found.as_ref().map(version_of));
        mutable_parameters(name, found, &self.config.driver).inspect_err(|_| self.wait_for(claim, &[seen]))
    }

    /// What to send: what was sent before, or what follows from the claim and its class now.
    ///
    /// `Differs:` while a request may be under way, ours sends the same one again until the driver gives a final answer, even
    /// if claim or class have changed since. Upstream makes each request from the claim and class as they are, so that a
    /// changed class meets a volume of the same name that is half made. The change counts for the next request.
    pub(super) async fn request(
        &self,
        attempt: Attempt,
        name: String,
    ) -> Result<(Sent, v1::CreateVolumeRequest), ProvisionError> {
        let (claim, class) = match attempt {
            Attempt::Again(sent) => {
                let request = self.with_secrets(&sent.claim, &sent.prepared).await?;
                return Ok((sent, request));
            }
            Attempt::New(claim, class) => (claim, class),
        };
        let found = self.found(&claim, true).await?;
        let prepared = prepare(&self.config, &claim, &class, name, &self.known(&claim), &found);
        let mut prepared = prepared.inspect_err(|error| {
            if let ProvisionError::Source(error) = error {
                self.wait_for(&claim, &found.seen_for(error));
            }
        })?;
        let mut request = self.with_secrets(&claim, &prepared).await?;
        prepared.mutable_parameters = self.attributes(&claim, &prepared).await?;
        request.mutable_parameters = prepared.mutable_parameters.clone();
        self.protect(&found).await?;
        self.hold_snapshot(&found).await?;
        Ok((Sent { claim, class, prepared: prepared.into() }, request))
    }

    /// Calls CreateVolume. Returns the volume and its size in bytes. If the claim is gone (`waits` is false), the volume may have
    /// got another object meanwhile, from an administrator who keeps it: then it is not ours.
    pub(super) async fn create(
        &self,
        request: &v1::CreateVolumeRequest,
        prepared: &Prepared,
        waits: bool,
    ) -> Result<(v1::Volume, i64), ProvisionError> {
        let (driver, timeout, asked) = (&self.seat.driver, self.config.timeout, prepared.bytes);
        let reply = driver.call_migrated(request.clone(), timeout, prepared.migrated).await;
        let made =
            reply.map_err(ProvisionError::Driver)?.volume.ok_or(ProvisionError::Malformed("a volume"))?;
        if made.volume_id.is_empty() {
            return Err(ProvisionError::Malformed("a volume id"));
        }
        if (names_may_collide(&self.config) || !waits)
            && let Some(holder) = self.holder(&made.volume_id, &places(&made))
        {
            return Err(ProvisionError::VolumeTaken { handle: made.volume_id, holder });
        }
        let created = made.capacity_bytes;
        if created != 0 && created < asked {
            let cleanup = self.clean_up(&made.volume_id, request, prepared).await.err();
            return Err(ProvisionError::TooSmall { asked, created, cleanup });
        }
        // `Differs:` upstream does not look at a source that is named by spec.dataSourceRef alone.
        if request.volume_content_source.is_some() && made.content_source.is_none() {
            let cleanup = self.clean_up(&made.volume_id, request, prepared).await.err();
            return Err(ProvisionError::NotFilled { cleanup });
        }
        let bytes = if created == 0 { asked } else { created };
        Ok((made, bytes))
    }

    /// The object that is stored instead of `volume`, if the class is an in-tree plugin's. A volume that cannot be
    /// translated is deleted.
    ///
    /// `Differs:` upstream means to delete it too, but has forgotten by then which volume it was: it stays at the driver.
    pub(super) async fn in_tree(
        &self,
        volume: &NewVolume,
        request: &v1::CreateVolumeRequest,
        prepared: &Prepared,
    ) -> Result<Option<PersistentVolume>, ProvisionError> {
        if !prepared.migrated {
            return Ok(None);
        }
        match in_tree(self.config.plugins, volume) {
            Ok(object) => Ok(Some(object)),
            Err(cause) => {
                let cleanup = self.clean_up(volume.handle(), request, prepared).await.err();
                Err(ProvisionError::InTree { cause, cleanup })
            }
        }
    }

    /// Deletes a volume that cannot be used, with a few tries within one timeout.
    async fn clean_up(
        &self,
        id: &str,
        create: &v1::CreateVolumeRequest,
        prepared: &Prepared,
    ) -> Result<(), Status> {
        let request = v1::DeleteVolumeRequest { volume_id: id.to_owned(), secrets: create.secrets.clone() };
        let deadline = Instant::now() + self.config.timeout;
        let mut failed = Status::deadline_exceeded("context deadline exceeded");
        for _ in 0..CLEANUP_TRIES {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match self.seat.driver.call_migrated(request.clone(), left, prepared.migrated).await {
                Ok(_) => return Ok(()),
                Err(status) => failed = status,
            }
        }
        Err(failed)
    }
}
