//! DeleteVolume.

use std::sync::Arc;

use csi::v1;

use super::list::pools;
use crate::check;
use crate::lock::Key;
use crate::rbd::connections::Site;
use crate::rbd::credentials::{self, Credentials};
use crate::rbd::driver::{Known, Rbd};
use crate::rbd::error;
use crate::rbd::handle::{Handle, Id, Migrated};
use crate::rbd::image;
use crate::rbd::names::Kind;
use crate::rbd::plan::{Attributes, cut_for, is_left_behind};
use crate::refusal::Refusal;

impl Rbd {
    /// Removes a volume. One that is unknown is fine. A removal that ended half-way is finished.
    ///
    /// Differs: in the process itself; ceph-csi leaves it to the manager daemon. So goes a snapshot that a killed CreateVolume or
    /// CreateSnapshot left on it; with ceph-csi the volume stays as long as that. A volume in use is FAILED_PRECONDITION, as the
    /// specification has it; ceph-csi answers INTERNAL.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field; FAILED_PRECONDITION while it is in use, has snapshots made by hand, or is encrypted;
    /// ABORTED while it is worked on; UNAVAILABLE when Ceph does not answer.
    pub(crate) fn delete_volume(
        &self,
        request: v1::DeleteVolumeRequest,
    ) -> Result<v1::DeleteVolumeResponse, Refusal> {
        check::required("volume_id", &request.volume_id)?;
        check::secrets(&request.secrets)?;
        // No driver like this one made it.
        let Some(id) = Id::parse(&request.volume_id) else { return Ok(v1::DeleteVolumeResponse {}) };
        let who = credentials::of_secrets(&request.secrets)?;
        let _call = self.calls.take()?;
        let _content = self.locks.alone(Key::Content(request.volume_id.clone()))?;
        match id {
            Id::Journal(handle) => self.delete_known(handle, who)?,
            Id::Migrated(volume) => self.delete_migrated(&volume, who)?,
        }
        Ok(v1::DeleteVolumeResponse {})
    }

    fn delete_known(&self, handle: Handle, who: Credentials) -> Result<(), Refusal> {
        let Some(known) = self.known(handle, Kind::Volume, who)? else { return Ok(()) };
        let attributes = &known.attributes;
        if attributes.is_encrypted {
            let image = &attributes.image;
            return Err(Refusal::WrongState(format!(
                "image {image:?} is encrypted: ceph-csi has to delete it, which knows where its key is"
            )));
        }
        let mirrors = known.site.config.rbd.mirror_daemon_count;
        self.remove_left_behind(&known)?;
        image::remove_volume(known.pool(), &attributes.image, mirrors)?;
        known.journal.forget(attributes.name.as_deref(), &known.handle.uuid, true)
    }

    /// Removes the snapshots that killed calls left on a volume, and that nobody will finish once it is gone.
    fn remove_left_behind(&self, known: &Known) -> Result<(), Refusal> {
        let (pool, name) = (known.pool(), known.attributes.image.as_str());
        let Some(image) = image::look(pool, name)? else { return Ok(()) };
        let snapshots = image.snapshots();
        let snapshots = snapshots.map_err(error::ceph(format!("cannot list the snapshots of {name:?}")))?;
        drop(image);
        for snapshot in snapshots {
            let Some((kind, uuid)) = cut_for(&snapshot) else { continue };
            let mut attributes = self.journal(Arc::clone(pool), kind).attributes(&uuid)?;
            if attributes.is_none() {
                attributes = self.known_elsewhere(&known.site, pool.id, kind, &uuid)?;
            }
            if is_left_behind(&snapshot, kind, attributes.as_ref()) {
                base::warn!("Removing a snapshot of a call that did not end"; "image" => name, "snapshot" => snapshot);
                image::remove_snapshot(pool, name, &snapshot)?;
            }
        }
        Ok(())
    }

    /// What the journals of the other pools know of a UUID: a clone may be made in another pool than its source.
    fn known_elsewhere(
        &self,
        site: &Site,
        own: i64,
        kind: Kind,
        uuid: &str,
    ) -> Result<Option<Attributes>, Refusal> {
        for id in pools(site)?.into_iter().filter(|id| *id != own) {
            let Some(pool) = site.pool(id)? else { continue };
            match self.journal(pool, kind).attributes(uuid) {
                // A pool that our user may not read has nothing of ours.
                Ok(None) | Err(Refusal::Denied { .. }) => {}
                known => return known,
            }
        }
        Ok(None)
    }

    /// A volume of the in-tree plugin: there is an image and nothing else.
    fn delete_migrated(&self, volume: &Migrated, who: Credentials) -> Result<(), Refusal> {
        let site = self.site(&volume.cluster, who)?;
        let Some(pool) = site.pool_named(&volume.pool)? else { return Ok(()) };
        image::remove_plain(&pool, &volume.image, site.config.rbd.mirror_daemon_count)
    }
}
