//! NodeStageVolume and NodeUnstageVolume: bookkeeping, since this driver's volumes need no preparation.

use csi::v1;

use crate::check;
use crate::controller::common_access;
use crate::lock::Key;
use crate::plugin::Plugin;
use crate::refusal::Refusal;

impl Plugin {
    /// Records a staging path.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field or the wrong access type; NOT_FOUND; INTERNAL when the volume must
    /// be attached first; FAILED_PRECONDITION when it is staged at another path.
    pub fn stage(&self, request: v1::NodeStageVolumeRequest) -> Result<v1::NodeStageVolumeResponse, Refusal> {
        check::required("volume_id", &request.volume_id)?;
        check::path("staging_target_path", &request.staging_target_path)?;
        check::below("staging_target_path", &request.staging_target_path, &self.options.target_roots)?;
        let capability = request.volume_capability.as_ref().ok_or(Refusal::Missing("volume_capability"))?;
        check::capability("volume_capability", capability)?;
        check::map("publish_context", &request.publish_context)?;
        check::map("volume_context", &request.volume_context)?;
        check::secrets(&request.secrets)?;
        let _record = self.locks.alone(Key::Volume(request.volume_id.clone()))?;
        let volume = self.store.volume(&request.volume_id)?;
        if self.options.attach && volume.attached.is_none() {
            return Err(Refusal::OutOfOrder(format!("volume {:?} is not attached to this node", volume.id)));
        }
        if common_access(std::slice::from_ref(capability))? != volume.access {
            let reason = format!("volume {:?} is a {} volume", volume.id, volume.access.word());
            return Err(Refusal::invalid("volume_capability", reason));
        }
        let is_staged = volume.staged.contains(&request.staging_target_path);
        if is_staged && volume.staged_in == self.boot {
            return Ok(v1::NodeStageVolumeResponse {});
        }
        if let Some(path) = volume.staged.first().filter(|_| !is_staged) {
            return Err(Refusal::WrongState(format!("volume {:?} is staged already at {path:?}", volume.id)));
        }
        self.store.update(&volume.id, |volume| {
            volume.staged.insert(request.staging_target_path);
            volume.staged_in.clone_from(&self.boot);
        })?;
        Ok(v1::NodeStageVolumeResponse {})
    }

    /// Forgets a staging path; a volume that is not staged there is fine. Publications whose mounts are visibly gone
    /// are forgotten too: with the kubelet's folder their unpublish was lost.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field; NOT_FOUND; INTERNAL while the volume is published.
    pub fn unstage(
        &self,
        request: v1::NodeUnstageVolumeRequest,
    ) -> Result<v1::NodeUnstageVolumeResponse, Refusal> {
        check::required("volume_id", &request.volume_id)?;
        check::path("staging_target_path", &request.staging_target_path)?;
        let _record = self.locks.alone(Key::Volume(request.volume_id.clone()))?;
        let volume = self.store.volume(&request.volume_id)?;
        if !volume.staged.contains(&request.staging_target_path) {
            return Ok(v1::NodeUnstageVolumeResponse {});
        }
        let present = self.without_lost(&volume)?;
        if let Some(target) = present.published.keys().next() {
            let message = format!("volume {:?} is still published at {target:?}", volume.id);
            return Err(Refusal::OutOfOrder(message));
        }
        self.release(&volume.id)?;
        self.store.undo(&volume.id, |volume| {
            volume.staged.remove(&request.staging_target_path);
            volume.staged_in = None;
        })?;
        Ok(v1::NodeUnstageVolumeResponse {})
    }
}
