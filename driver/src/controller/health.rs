//! ControllerListVolumeHealth and ControllerGetVolumeHealth.

use std::io;

use csi::v1;
use prost::Message as _;
use v1::volume_health::VolumeHealthEntry;

use super::list::{MAX_PAGE_BYTES, MAX_PAGE_ENTRIES, token, token_id};
use crate::backend::{Disk, Item};
use crate::check;
use crate::health;
use crate::lock::Key;
use crate::plugin::Plugin;
use crate::refusal::Refusal;
use crate::store::Volume;

impl Plugin {
    /// A page of the volumes that something is wrong with, by id; the token is as in ListVolumes. So many healthy
    /// volumes are passed over for one answer at most that a page may be empty and not the last.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field, ABORTED for a token that is not ours.
    pub fn list_volume_health(
        &self,
        request: v1::ControllerListVolumeHealthRequest,
    ) -> Result<v1::ControllerListVolumeHealthResponse, Refusal> {
        self.has_controller("ControllerListVolumeHealth")?;
        let limit = check::max_entries(request.max_entries)?.unwrap_or(MAX_PAGE_ENTRIES);
        let from = token_id(&request.starting_token)?;
        check::secrets(&request.secrets)?;
        let page = self.store.read().volume_page(from, MAX_PAGE_ENTRIES);
        let disk = self.backend.disk();
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for volume in &page.entries {
            let health_statuses = self.volume_health(volume, &disk);
            if health_statuses.is_empty() {
                continue;
            }
            let entry = v1::VolumeHealth { volume_id: volume.id.clone(), health_statuses };
            bytes += entry.encoded_len() + 8;
            if entries.len() == limit || bytes > MAX_PAGE_BYTES {
                let next_token = token(Some(volume.id.clone()));
                return Ok(v1::ControllerListVolumeHealthResponse { entries, next_token });
            }
            entries.push(entry);
        }
        Ok(v1::ControllerListVolumeHealthResponse { entries, next_token: token(page.next) })
    }

    /// What is wrong with one volume, wherever it is used.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field, NOT_FOUND for an unknown volume.
    pub fn get_volume_health(
        &self,
        request: v1::ControllerGetVolumeHealthRequest,
    ) -> Result<v1::ControllerGetVolumeHealthResponse, Refusal> {
        self.has_controller("ControllerGetVolumeHealth")?;
        check::required("volume_id", &request.volume_id)?;
        check::secrets(&request.secrets)?;
        let volume = self.store.volume(&request.volume_id)?;
        let health_statuses = self.volume_health(&volume, &self.backend.disk());
        let health = v1::VolumeHealth { volume_id: request.volume_id, health_statuses };
        Ok(v1::ControllerGetVolumeHealthResponse { volume_health: Some(health) })
    }

    /// What the storage side sees of a volume.
    pub(crate) fn volume_health(&self, volume: &Volume, disk: &io::Result<Disk>) -> Vec<VolumeHealthEntry> {
        health::of_volume(&self.content_of(volume), disk, u64::try_from(volume.size).unwrap_or(0))
    }

    /// Whether a volume has its content. A call that makes or removes the volume hides the content for a moment: that
    /// is no loss.
    fn content_of(&self, volume: &Volume) -> io::Result<bool> {
        let item = Item::from(volume);
        if self.backend.is_there(&item)? {
            return Ok(true);
        }
        if self.is_hidden(&item) {
            return Err(io::Error::other("it is not in its place: a call or a start did not finish"));
        }
        let keys = [Key::Name("volume", volume.name.clone()), Key::Content(volume.id.clone())];
        let is_worked_on = || keys.iter().any(|key| self.locks.is_held(key));
        // Looked at anew: a call may just have ended, and another one begun.
        if is_worked_on() || self.backend.is_there(&item)? || is_worked_on() {
            return Ok(true);
        }
        Ok(!self.store.read().volumes.contains_key(&volume.id))
    }
}
