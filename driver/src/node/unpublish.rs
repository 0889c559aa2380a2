//! NodeUnpublishVolume.

use std::path::Path;

use csi::v1;

use crate::backend::{Item, Occupant};
use crate::check;
use crate::lock::Key;
use crate::mount;
use crate::plugin::Plugin;
use crate::refusal::Refusal;
use crate::store::Volume;

impl Plugin {
    /// Undoes a publish: unmounts, removes the target, and removes an inline volume with its last one.
    ///
    /// Differs: an unknown volume with an id of the kubelet's making for inline volumes is fine: it went
    /// with an earlier call whose answer was lost. The Go driver says NOT_FOUND, and the pod never ends.
    ///
    /// Differs: the Go driver unmounts whatever is at the target. Ours unmounts this volume, recorded there or
    /// not, and leaves anything else alone.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field; NOT_FOUND; FAILED_PRECONDITION when something else is mounted where
    /// the volume is recorded; INTERNAL when the unmount fails. A target where the volume is not published is
    /// fine.
    pub fn unpublish(
        &self,
        request: v1::NodeUnpublishVolumeRequest,
    ) -> Result<v1::NodeUnpublishVolumeResponse, Refusal> {
        check::required("volume_id", &request.volume_id)?;
        check::path("target_path", &request.target_path)?;
        let _record = self.locks.alone(Key::Volume(request.volume_id.clone()))?;
        let volume = match self.store.volume(&request.volume_id) {
            Err(Refusal::Unknown { id, .. }) if is_inline_id(&id) => {
                return Ok(v1::NodeUnpublishVolumeResponse {});
            }
            found => found?,
        };
        let target = Path::new(&request.target_path);
        if !volume.published.contains_key(&request.target_path) {
            if matches!(self.found_at(&volume, target)?, Some(Occupant::Volume | Occupant::Remains)) {
                self.vacate(&volume, target)?;
            }
            if volume.ephemeral && volume.published.is_empty() {
                // Its only publication was lost and could not be made again.
                let _content = self.locks.alone(Key::Content(volume.id.clone()))?;
                self.destroy(&volume)?;
            }
            // An earlier call may have forgotten the publication and then failed.
            self.release(&volume.id)?;
            return Ok(v1::NodeUnpublishVolumeResponse {});
        }
        self.vacate(&volume, target)?;
        if volume.ephemeral && volume.published.len() == 1 {
            let _content = self.locks.alone(Key::Content(volume.id.clone()))?;
            self.destroy(&volume)?;
        } else {
            self.store.undo(&volume.id, |volume| {
                volume.published.remove(&request.target_path);
            })?;
            self.release(&volume.id)?;
        }
        Ok(v1::NodeUnpublishVolumeResponse {})
    }

    /// What is mounted at a target, if anything is.
    pub(super) fn found_at(&self, volume: &Volume, target: &Path) -> Result<Option<Occupant>, Refusal> {
        let cannot = || Refusal::system(format!("cannot look at {}", target.display()));
        if !mount::is_mounted(target).map_err(cannot())? {
            return Ok(None);
        }
        self.backend.occupant(&Item::from(volume), target).map(Some).map_err(cannot())
    }

    /// Unmounts this volume from a target, and nothing else.
    pub(super) fn unmount(&self, volume: &Volume, target: &Path) -> Result<(), Refusal> {
        let item = Item::from(volume);
        let is_ours = || Ok(self.backend.occupant(&item, target)? != Occupant::Stranger);
        let is_free = mount::unmount_while(target, is_ours)
            .map_err(Refusal::system(format!("cannot unmount {}", target.display())))?;
        if is_free {
            return Ok(());
        }
        Err(Refusal::WrongState(format!(
            "what is mounted at {} is not volume {:?}: unmount it first",
            target.display(),
            volume.id
        )))
    }

    /// Unmounts this volume from a target and removes the target.
    pub(crate) fn vacate(&self, volume: &Volume, target: &Path) -> Result<(), Refusal> {
        self.unmount(volume, target)?;
        mount::remove_target(target)
            .map_err(Refusal::system(format!("cannot remove target {}", target.display())))
    }

    /// Lets go of devices that no publication needs.
    pub(super) fn release(&self, id: &str) -> Result<(), Refusal> {
        let found = self.store.read().volumes.get(id).cloned();
        let Some(volume) = found else { return Ok(()) };
        for readonly in [false, true] {
            if !volume.published.values().any(|publication| publication.readonly == readonly) {
                self.backend
                    .detach(&Item::from(&*volume), readonly)
                    .map_err(Refusal::system("cannot let go of the volume's device"))?;
            }
        }
        Ok(())
    }
}

/// Whether the kubelet made this id for an inline volume: `csi-` and 64 hex digits.
fn is_inline_id(id: &str) -> bool {
    id.strip_prefix("csi-")
        .is_some_and(|hash| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
