//! DeleteVolume.

use csi::v1;

use crate::check;
use crate::lock::Key;
use crate::plugin::Plugin;
use crate::refusal::Refusal;

impl Plugin {
    /// Removes a volume. An unknown one is gone already. Snapshots of it stay: they are whole copies.
    ///
    /// What is still attached, staged or published is refused with INTERNAL under
    /// `--check-volume-lifecycle` and only warned about otherwise, as in the Go driver, whose tests rely
    /// on both.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field, INTERNAL while in use, ABORTED while it is worked on.
    pub fn delete_volume(
        &self,
        request: v1::DeleteVolumeRequest,
    ) -> Result<v1::DeleteVolumeResponse, Refusal> {
        check::required("volume_id", &request.volume_id)?;
        check::secrets(&request.secrets)?;
        self.has_controller("DeleteVolume")?;
        let _record = self.locks.alone(Key::Volume(request.volume_id.clone()))?;
        let _content = self.locks.alone(Key::Content(request.volume_id.clone()))?;
        let found = self.store.read().volumes.get(&request.volume_id).cloned();
        let Some(volume) = found else { return Ok(v1::DeleteVolumeResponse {}) };
        if volume.attached.is_some() || !volume.staged.is_empty() || !volume.published.is_empty() {
            self.still_in_use(format!("volume {:?} is still in use and cannot be deleted", volume.id))?;
        }
        for target in volume.published.keys() {
            // Deleting below a live mount would leave users with a folder that nobody owns.
            self.vacate(&volume, target.as_ref())?;
        }
        for readonly in [false, true] {
            self.backend
                .detach(&(&*volume).into(), readonly)
                .map_err(Refusal::system("cannot let go of the volume's device"))?;
        }
        self.destroy(&volume)?;
        Ok(v1::DeleteVolumeResponse {})
    }

    /// Refuses under `--check-volume-lifecycle`, else only warns.
    pub(crate) fn still_in_use(&self, message: String) -> Result<(), Refusal> {
        if self.options.strict {
            return Err(Refusal::OutOfOrder(message));
        }
        base::warn!(message);
        Ok(())
    }
}
