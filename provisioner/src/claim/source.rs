//! Reads what a claim is to be filled from, as the API server has it now. What is read is judged in [`super::request`].

use csi::v1::{CreateVolumeRequest, Volume as Made};
use kube::Resource;
use kubernetes::api;
use kubernetes::object::{
    Claim, Key, Wire, WireGrant, WireSnapshot, WireSnapshotContent, WireSourceClaim, version_of,
};
use kubernetes::waiting::{Kind, Seen};
use serde_json::Value;

use super::background::Sent;
use super::eligible::source;
use super::error::ProvisionError;
use super::object::places;
use super::queue::ClaimId;
use super::reconcile::Claims;
use super::request::{Asked, Found, SourceError, asked, may_refer, named, source_of};

/// The size is not judged once more: the source may have grown since the request was sent.
const ANY_SIZE: i64 = i64::MAX;

impl Claims {
    /// What there is of the claim's source. Empty if the source will be refused without being read. If the claim may have it,
    /// an `attempt` uses it from then on, until [`Claims::free`].
    ///
    /// `Differs:` upstream takes the source claim from its cache, which may still show a claim that is gone.
    pub(super) async fn found(&self, claim: &Claim, attempt: bool) -> Result<Found, ProvisionError> {
        let mut found = Found { may_be_half_made: self.may_have_been_sent(claim), ..Found::default() };
        let Ok(Some(asked)) = asked(&self.config, claim) else { return Ok(found) };
        let namespace = asked.key().namespace();
        if namespace != claim.meta.namespace() {
            let what = || format!("ReferenceGrants of the namespace {namespace}");
            let read = self.seat.objects.list::<WireGrant>(namespace).await;
            let (grants, version) =
                read.map_err(|error| SourceError::Unreadable(what(), api::text(&error)))?;
            found.grants = grants;
            if !may_refer(claim, &asked, &found.grants) {
                found.seen.push(Seen::new(Kind::Grant, Key::new(namespace, ""), Some(version)));
                return Ok(found);
            }
        }
        if attempt {
            self.begin_use(claim, &asked).await;
        }
        match asked {
            Asked::Snapshot(key) if self.config.can.snapshots => self.find_snapshot(key, &mut found).await?,
            Asked::Claim(key) if self.config.can.clones => self.find_claim(key, &mut found).await?,
            Asked::Snapshot(_) | Asked::Claim(_) | Asked::Other(..) => {}
        }
        Ok(found)
    }

    async fn find_snapshot(&self, key: Key, found: &mut Found) -> Result<(), ProvisionError> {
        let live = self.read_source::<WireSnapshot>("VolumeSnapshot", &key).await?;
        let wire = parsed::<WireSnapshot>("VolumeSnapshot", &key, live.clone())?;
        found.seen.push(Seen::new(Kind::Snapshot, key, wire.as_ref().map(version_of)));
        (found.live_snapshot, found.snapshot) = (live, wire.map(Into::into));
        let named = found.snapshot.as_ref().map(|snapshot| Key::cluster(&snapshot.content));
        let Some(key) = named.filter(|key| !key.name().is_empty()) else { return Ok(()) };
        let live = self.read_source::<WireSnapshotContent>("VolumeSnapshotContent", &key).await?;
        let wire = parsed::<WireSnapshotContent>("VolumeSnapshotContent", &key, live)?;
        found.seen.push(Seen::new(Kind::Content, key, wire.as_ref().map(version_of)));
        found.content = wire.map(Into::into);
        Ok(())
    }

    async fn find_claim(&self, key: Key, found: &mut Found) -> Result<(), ProvisionError> {
        let live = self.read_source::<WireSourceClaim>("PersistentVolumeClaim", &key).await?;
        let wire = parsed::<WireSourceClaim>("PersistentVolumeClaim", &key, live)?;
        found.seen.push(Seen::new(Kind::Claim, key, wire.as_ref().map(version_of)));
        found.claim = wire.map(Into::into);
        let named = found.claim.as_ref().map(|source| Key::cluster(&source.volume));
        let Some(key) = named.filter(|key| !key.name().is_empty()) else { return Ok(()) };
        found.volume = self.read_volume(key.name()).await?;
        let version = found.volume.as_ref().map(|volume| volume.meta.version);
        found.seen.push(Seen::new(Kind::Volume, key, version));
        Ok(())
    }

    async fn read_source<W: Wire>(&self, kind: &str, key: &Key) -> Result<Option<Value>, SourceError> {
        let found = self.seat.objects.raw::<W>(key.namespace(), key.name()).await;
        found.map_err(|error| SourceError::Unreadable(format!("{kind} {key}"), api::text(&error)))
    }

    /// Before the volume of a claim gets its object: whether the claim may still have what the volume is filled from. If not, the
    /// volume is deleted. This process knows an earlier process's request only from what was written down. It has to
    /// be sent again, as only a final answer tells what the driver has made; then the claim's source is checked as for a new
    /// request. A source that is gone by then, or cannot be used at present, takes nothing from a volume that is finished. If the
    /// claim is gone nobody gets the volume.
    ///
    /// `Differs:` upstream hands out the copy although the grant was withdrawn while it was made. It checks each request before it
    /// is sent; if the source may no longer be used after a restart, the volume that was made before leaks.
    pub(super) async fn check_source(
        &self,
        sent: &Sent,
        request: &CreateVolumeRequest,
        made: &Made,
    ) -> Result<(), ProvisionError> {
        let claim = self.waiting(&sent.claim.meta.key).filter(|claim| claim.meta.uid == sent.claim.meta.uid);
        let Some(claim) = claim.filter(|_| sent.is_adopted) else {
            return self.check_grant(sent, request, made).await;
        };
        if source(&claim).is_none() && request.volume_content_source.is_none() {
            return Ok(());
        }
        let found = self.found(&claim, false).await?;
        // A clone may be half made: the request was sent.
        let found = Found { may_be_half_made: true, ..found };
        let cause = match source_of(&self.config, &claim, ANY_SIZE, &found) {
            Ok(now) if now == request.volume_content_source => return Ok(()),
            Ok(_) => SourceError::Changed,
            Err(_) if request.volume_content_source.is_none() => SourceError::Changed,
            Err(cause) if cause.forbids_a_finished_copy() => cause,
            Err(_) => return Ok(()),
        };
        self.withdraw(sent, request, made, cause).await
    }

    async fn check_grant(
        &self,
        sent: &Sent,
        request: &CreateVolumeRequest,
        made: &Made,
    ) -> Result<(), ProvisionError> {
        let claim = &sent.claim;
        let Ok(Some(asked)) = named(claim) else { return Ok(()) };
        let namespace = asked.key().namespace();
        if request.volume_content_source.is_none() || namespace == claim.meta.namespace() {
            return Ok(());
        }
        match self.seat.objects.list::<WireGrant>(namespace).await {
            Ok((grants, _)) if may_refer(claim, &asked, &grants) => return Ok(()),
            Ok((_, version)) => {
                self.wait_for(claim, &[Seen::new(Kind::Grant, Key::new(namespace, ""), Some(version))])
            }
            // Nobody gets the volume of a claim that is gone, and nothing is granted where grants are not to be had.
            Err(error)
                if (api::is(&error, 403) || api::is(&error, 404))
                    && self.waiting(&claim.meta.key).is_none() => {}
            Err(error) => {
                return Err(ProvisionError::Grants {
                    namespace: namespace.to_owned(),
                    reason: api::text(&error),
                });
            }
        }
        self.withdraw(sent, request, made, SourceError::NotGranted(asked.text())).await
    }

    /// Deletes a volume that the claim may not have, unless it may have an object: that is for others to delete.
    async fn withdraw(
        &self,
        sent: &Sent,
        request: &CreateVolumeRequest,
        made: &Made,
        cause: SourceError,
    ) -> Result<(), ProvisionError> {
        if self.may_have_an_object(sent, made).await? {
            return Ok(());
        }
        let cleanup = self.clean_up(&made.volume_id, request, &sent.prepared).await.err();
        if cleanup.is_none() {
            base::info!("Deleted a volume: its claim may no longer have what it is filled from";
                "volume" => sent.prepared.name, "handle" => made.volume_id, "claim" => sent.claim.meta.key, "err" => cause);
        }
        Err(ProvisionError::Withdrawn { cause, cleanup })
    }

    /// Whether the volume has an object, or its claim a volume, as the API server has them. The caches may not show that yet.
    async fn may_have_an_object(&self, sent: &Sent, made: &Made) -> Result<bool, ProvisionError> {
        // The driver was asked: until this is known, the request stays.
        let unreadable = |reason| ProvisionError::Holder { handle: made.volume_id.clone(), reason };
        let named = self.read_volume(&sent.prepared.name).await;
        if named.map_err(|error| unreadable(error.to_string()))?.is_some()
            || self.holder(&made.volume_id, &places(made)).await?.is_some()
        {
            return Ok(true);
        }
        let live = self.live(&sent.claim).await.map_err(|error| unreadable(api::text(&error)))?;
        Ok(live.is_some_and(|live| live.has_volume()))
    }

    /// When one of these objects changes, the claim is tried again at once, without waiting for the end of its back-off. For a
    /// claim that is gone nobody is in a hurry.
    ///
    /// `Differs:` upstream tries such a claim again only at the end of its back-off.
    pub(super) fn wait_for(&self, claim: &Claim, seen: &[Seen]) {
        if self.is_waiting(claim) {
            self.uncached.wait(&ClaimId::of(claim), seen);
        }
    }
}

fn parsed<W: Wire + Resource>(kind: &str, key: &Key, live: Option<Value>) -> Result<Option<W>, SourceError> {
    let read: Result<Option<W>, _> = live.map(serde_json::from_value).transpose();
    let read = read.map_err(|error| SourceError::Unreadable(format!("{kind} {key}"), error.to_string()))?;
    // What has another name is not what the claim names, whoever answered so.
    Ok(read.filter(|object| {
        let (meta, text) = (object.meta(), |text: &Option<String>| text.clone().unwrap_or_default());
        (&*text(&meta.namespace), &*text(&meta.name)) == (key.namespace(), key.name())
    }))
}
