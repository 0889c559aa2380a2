//! NodeGetVolumeHealth and NodeGetStorageHealth.

use csi::v1;

use crate::check;
use crate::health;
use crate::lock::Key;
use crate::mount;
use crate::plugin::Plugin;
use crate::refusal::Refusal;
use crate::store::Volume;

impl Plugin {
    /// What is wrong with a volume as this node sees it: what the storage side sees, and whether it is mounted
    /// wherever it is published. The paths of the request choose nothing.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field, NOT_FOUND for an unknown volume.
    pub fn node_volume_health(
        &self,
        request: v1::NodeGetVolumeHealthRequest,
    ) -> Result<v1::NodeGetVolumeHealthResponse, Refusal> {
        check::required("volume_id", &request.volume_id)?;
        check::optional_path("volume_publish_path", &request.volume_publish_path)?;
        check::optional_path("staging_target_path", &request.staging_target_path)?;
        let volume = self.store.volume(&request.volume_id)?;
        let mut health_statuses = self.volume_health(&volume, &self.backend.disk());
        health_statuses.extend(health::of_mounts(&self.lost_targets(&volume), volume.published.len()));
        let health = v1::VolumeHealth { volume_id: request.volume_id, health_statuses };
        Ok(v1::NodeGetVolumeHealthResponse { volume_health: Some(health) })
    }

    /// What is wrong with the file system of the state folder, which holds all volumes of this node.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field.
    pub fn storage_health(
        &self,
        request: v1::NodeGetStorageHealthRequest,
    ) -> Result<v1::NodeGetStorageHealthResponse, Refusal> {
        check::secrets(&request.secrets)?;
        Ok(v1::NodeGetStorageHealthResponse { backend_health: health::of_storage(&self.backend.disk()) })
    }

    /// Recorded targets where nothing is mounted. A publish records its target before it mounts, and an unpublish
    /// unmounts before it forgets: while one of them is at work, nothing is lost.
    fn lost_targets(&self, volume: &Volume) -> Vec<String> {
        let is_lost = |target: &String| !mount::is_mounted(target.as_ref()).unwrap_or(false);
        let mut lost: Vec<String> =
            volume.published.keys().filter(|target| is_lost(target)).cloned().collect();
        let record = Key::Volume(volume.id.clone());
        if lost.is_empty() || self.locks.is_held(&record) {
            return Vec::new();
        }
        // Looked at anew: a call may just have ended, and another one begun.
        lost.retain(is_lost);
        if self.locks.is_held(&record) {
            return Vec::new();
        }
        let now = self.store.read().volumes.get(&volume.id).cloned();
        lost.retain(|target| now.as_ref().is_some_and(|now| now.published.contains_key(target)));
        lost
    }
}
