//! Calls CreateVolume, and never lets two claims have one volume.
//!
//! Two claims may get the same volume name if `--volume-name-uuid-length` is short. The driver then answers the second
//! call with the first claim's volume. So before the call we reserve the name, and check whether a PersistentVolume has it. After the
//! call we check whether another PersistentVolume has the volume's id. In-tree volumes skip the second check: no cache has their
//! ids. `Differs:` upstream lets the
//! claims share the volume, and deletes it with the first of them.

use std::collections::BTreeMap;

use csi::v1;
use kubernetes::api;
use kubernetes::object::{
    AttributesVersion, Claim, Key, Uid, Volume, WireAttributesClass, WireAttributesClassBeta, WireVolume,
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
    /// until [`Claims::free`].
    ///
    /// While a request is open, the API server is asked: what the cache shows may be gone, and then the request is all that
    /// leads to the volume. If another claim's volume has the name, only the driver can tell what the request has made: it is
    /// asked again, and its answer ends the request.
    pub(super) async fn has_volume(&self, claim: &Claim, name: &str) -> Result<bool, ProvisionError> {
        let uid = &claim.meta.uid;
        let is_ours = |known: &Volume| known.claim.as_ref().is_some_and(|holder| holder.uid == *uid);
        let taken = |known: &Volume| {
            Err(ProvisionError::NameTaken { name: name.to_owned(), holder: holder_of(known, uid) })
        };
        let cached = self.volumes.get(&Key::cluster(name));
        let is_open = self.memory().is_open(uid);
        if !is_open && self.former.has(uid) {
            return Ok(true);
        }
        if let Some(known) = cached.as_ref().filter(|_| !is_open) {
            return if is_ours(known) { Ok(true) } else { taken(known) };
        }
        let may_collide = self.may_collide(claim, name);
        if may_collide && !self.memory().reserve(name, uid) {
            return Err(ProvisionError::NameInUse(name.to_owned()));
        }
        if cached.is_none() && !may_collide {
            return Ok(false);
        }
        // The cache may be late, and has no volumes of other drivers.
        let Some(live) = self.read_volume(name).await? else { return Ok(false) };
        let is_foreign = live.spec.csi.as_ref().is_some_and(|csi| *csi.driver != *self.config.driver);
        match is_ours(&live) {
            // Another node's object for the claim is not about what may be made here.
            true => Ok(!(is_open && self.is_out_of_reach(&live))),
            // By the cache we know another claim's volume when the driver answers with it.
            false if is_open && (cached.is_some() || is_foreign) => Ok(false),
            false => taken(&live),
        }
    }

    /// The name of the claim's volume: the one that was sent, even if the flags have changed since, or the one that follows from
    /// the flags.
    pub(super) fn name_of(&self, claim: &Claim) -> Option<String> {
        let sent = self.memory().name_of(&claim.meta.uid);
        sent.or_else(|| volume_name(&self.config, &claim.meta.uid.to_string()))
    }

    /// Whether another claim's volume may have the same name: the uid is cut, or was when the request was sent.
    pub(super) fn may_collide(&self, claim: &Claim, name: &str) -> bool {
        let usual = volume_name(&self.config, &claim.meta.uid.to_string());
        names_may_collide(&self.config) || usual.as_deref() != Some(name)
    }

    /// The attempt is over: lets go of the source, and frees the claim's volume name for other claims, unless something may still
    /// come of what was done. `was_sent`: a request for the claim was sent before. A source that was not used is not looked at.
    pub(super) fn free(&self, claim: &Claim, was_sent: bool) {
        if self.memory().end_use(&claim.meta.uid) || was_sent {
            self.settle_snapshot(claim);
        }
        self.memory().free(&claim.meta.uid);
    }

    /// The PersistentVolume of this name, whosever it is, as the API server has it.
    pub(super) async fn read_volume(&self, name: &str) -> Result<Option<Volume>, ProvisionError> {
        match self.seat.objects.get::<WireVolume>("", name).await {
            Ok(wire) => Ok(wire.map(|wire| Volume::from_wire(wire, self.volumes.store().scope()))),
            Err(error) => Err(ProvisionError::Lookup { name: name.to_owned(), reason: api::text(&error) }),
        }
    }

    /// The PersistentVolume that has this volume of our driver. One that the cache shows may be gone. `places`: the segments that
    /// the driver says the volume is in.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) async fn holder(
        &self,
        handle: &str,
        places: &[String],
    ) -> Result<Option<String>, ProvisionError> {
        let all = self.volumes.store().list();
        for known in all.iter().filter(|known| self.is_volume(known, handle, places)) {
            let name = known.meta.name();
            match self.read_volume(name).await {
                Ok(live) if live.as_ref().is_some_and(|live| self.is_volume(live, handle, places)) => {
                    return Ok(Some(name.to_owned()));
                }
                Ok(_) => {}
                Err(error) => {
                    return Err(ProvisionError::Holder {
                        handle: handle.to_owned(),
                        reason: error.to_string(),
                    });
                }
            }
        }
        Ok(None)
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

    /// Whether the object has the volume that is to be stored. For CSI the ids are compared. The cache has no id of an in-tree
    /// volume, so the claim's PersistentVolume counts as stored.
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
    /// if claim or class have changed since. Upstream builds each request from the current claim and class. After a class has changed, its
    /// new request may reach a half-made volume of the same name. Here the change counts for the next request.
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
        Ok((Sent { claim, class, prepared: prepared.into(), is_adopted: false }, request))
    }

    /// Calls CreateVolume. Returns the volume and its size in bytes. `may_be_taken`: the volume may have another object. Another
    /// claim may have its name; or the claim is gone, and an administrator keeps it. Then it is not ours.
    pub(super) async fn create(
        &self,
        request: &v1::CreateVolumeRequest,
        prepared: &Prepared,
        may_be_taken: bool,
    ) -> Result<(v1::Volume, i64), ProvisionError> {
        let (driver, timeout, asked) = (&self.seat.driver, self.config.timeout, prepared.bytes);
        let reply = driver.call_migrated(request.clone(), timeout, prepared.migrated).await;
        let made =
            reply.map_err(ProvisionError::Driver)?.volume.ok_or(ProvisionError::Malformed("a volume"))?;
        if made.volume_id.is_empty() {
            return Err(ProvisionError::Malformed("a volume id"));
        }
        if may_be_taken && let Some(holder) = self.holder(&made.volume_id, &places(&made)).await? {
            return Err(ProvisionError::VolumeTaken { handle: made.volume_id, holder });
        }
        let created = made.capacity_bytes;
        if created != 0 && created < asked {
            let cleanup = self.clean_up(&made.volume_id, request, prepared).await.err();
            return Err(ProvisionError::TooSmall { asked, created, cleanup });
        }
        // A volume that lacks its source is refused. `Differs:` upstream does not look at a source that is named by spec.dataSourceRef alone.
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
    pub(super) async fn clean_up(
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

/// The claim that the volume is for, if that is another than this.
pub(super) fn holder_of(known: &Volume, uid: &Uid) -> Option<Key> {
    known
        .claim
        .as_ref()
        .filter(|claim| claim.uid != *uid)
        .map(|claim| Key::new(&claim.namespace, &claim.name))
}
