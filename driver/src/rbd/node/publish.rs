//! NodePublishVolume and NodeUnpublishVolume.

use std::path::Path;

use csi::v1;
use rustix::mount::MountFlags;
use v1::volume_capability::AccessType;
use v1::volume_capability::access_mode::Mode;

use super::device::{self, At};
use super::ours;
use super::stage::{checked_id, mount_point};
use crate::check;
use crate::lock::Key;
use crate::mount::{self, Target, table};
use crate::rbd::driver::Rbd;
use crate::refusal::Refusal;

impl Rbd {
    /// Binds a staged volume to a target.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field; FAILED_PRECONDITION when it is not staged, or has its single writer already;
    /// ALREADY_EXISTS when the target is taken; ABORTED while it is worked on; INTERNAL when the mount fails.
    pub(crate) fn publish(
        &self,
        request: v1::NodePublishVolumeRequest,
    ) -> Result<v1::NodePublishVolumeResponse, Refusal> {
        let capability = request.volume_capability.as_ref().ok_or(Refusal::Missing("volume_capability"))?;
        checked_id(&request.volume_id)?;
        check::path("target_path", &request.target_path)?;
        check::below("target_path", &request.target_path, &self.options.target_roots)?;
        check::capability("volume_capability", capability)?;
        check::map("publish_context", &request.publish_context)?;
        check::map("volume_context", &request.volume_context)?;
        check::secrets(&request.secrets)?;
        if request.staging_target_path.is_empty() {
            return Err(Refusal::WrongState(
                "staging_target_path is missing: stage the volume first".to_owned(),
            ));
        }
        check::path("staging_target_path", &request.staging_target_path)?;
        let _volume = self.locks.alone(Key::Volume(request.volume_id.clone()))?;
        let source = mount_point(&request.staging_target_path, &request.volume_id);
        let target = Path::new(&request.target_path);
        let cannot = |what: &str, path: &Path| {
            Refusal::system::<std::io::Error>(format!("cannot {what} {}", path.display()))
        };
        let kind = self.staged_kind(&request, capability, &source)?;
        let options = options_of(capability, request.readonly);
        let here = table::entry(&source).map_err(cannot("look at", &source))?.root;
        if device::is_mounted(target).map_err(cannot("look at", target))? {
            let there = table::entry(target).map_err(cannot("look at", target))?;
            let is_as_wanted = mount::has_options(target, options).map_err(cannot("look at", target))?
                && there.has("ro") == options.contains(MountFlags::RDONLY);
            if there.root == here && is_as_wanted {
                return Ok(v1::NodePublishVolumeResponse {});
            }
            return Err(Refusal::Clash(format!("something else is mounted at {}", target.display())));
        }
        let mode = capability.access_mode.map(|mode| mode.mode());
        if mode == Some(Mode::SingleNodeSingleWriter) {
            let mounts = table::points(&here).map_err(cannot("look for mounts of", &source))?;
            if let Some(other) = mounts.iter().find(|point| **point != source) {
                let what =
                    format!("volume {:?} has its single writer at {}", request.volume_id, other.display());
                return Err(Refusal::WrongState(what));
            }
        }
        mount::make_target(target, kind).map_err(cannot("make target", target))?;
        if let Err(error) = mount::bind(&source, target, options) {
            // Made right before; what somebody else put there stays.
            let _ = mount::remove_target(target);
            return Err(cannot("mount the volume at", target)(error));
        }
        Ok(v1::NodePublishVolumeResponse {})
    }

    /// What a volume is staged as, which must be what is asked for.
    fn staged_kind(
        &self,
        request: &v1::NodePublishVolumeRequest,
        capability: &v1::VolumeCapability,
        source: &Path,
    ) -> Result<Target, Refusal> {
        let cannot = || Refusal::system::<std::io::Error>(format!("cannot look at {}", source.display()));
        let staged = device::at(source).map_err(cannot())?;
        let Some(at) = staged else {
            let what = format!("volume {:?} is not staged at {}", request.volume_id, source.display());
            return Err(Refusal::WrongState(what));
        };
        if !self.is_staged(&at, Path::new(&request.staging_target_path)).map_err(cannot())? {
            let what = format!("what is mounted at {} is not the volume", source.display());
            return Err(Refusal::WrongState(what));
        }
        match (at, &capability.access_type) {
            (At::Folder(_), Some(AccessType::Mount(_))) => Ok(Target::Folder),
            (At::Block(_), Some(AccessType::Block(_))) => Ok(Target::File),
            _ => Err(Refusal::invalid("volume_capability", "the volume is staged in another way")),
        }
    }

    /// Takes a volume away from a target. Nothing there is fine.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field; FAILED_PRECONDITION when something is mounted there that is on no device; ABORTED while
    /// it is worked on; INTERNAL when the unmount fails.
    pub(crate) fn unpublish(
        &self,
        request: v1::NodeUnpublishVolumeRequest,
    ) -> Result<v1::NodeUnpublishVolumeResponse, Refusal> {
        checked_id(&request.volume_id)?;
        check::path("target_path", &request.target_path)?;
        let _volume = self.locks.alone(Key::Volume(request.volume_id.clone()))?;
        let target = Path::new(&request.target_path);
        let cannot =
            |what: &str| Refusal::system::<std::io::Error>(format!("cannot {what} {}", target.display()));
        // One mount after the other: there may be somebody else's below ours.
        while device::is_mounted(target).map_err(cannot("look at"))? {
            if !self.is_volume(target, &request.volume_id).map_err(cannot("look at"))? {
                let what = format!("what is mounted at {} is no volume", target.display());
                return Err(Refusal::WrongState(what));
            }
            if !device::unmount_top(target).map_err(cannot("unmount"))? {
                break;
            }
        }
        mount::remove_target(target).map_err(cannot("remove"))?;
        Ok(v1::NodeUnpublishVolumeResponse {})
    }

    /// Whether what is mounted at a target is a volume: an image's device, or what is mounted where the volume is staged. The call does
    /// not say where that is.
    fn is_volume(&self, target: &Path, volume: &str) -> std::io::Result<bool> {
        let at = match device::at(target) {
            // What was a volume.
            Err(error) if device::is_broken(&error) => return Ok(true),
            at => at?,
        };
        let Some(at) = at else { return Ok(false) };
        if ours::is_of_image(at.device(), &self.options.fuse_folder)? {
            return Ok(true);
        }
        let mounts = table::points(&table::entry(target)?.root)?;
        Ok(mounts.iter().any(|point| point != target && point.file_name() == Some(volume.as_ref())))
    }
}

/// The options of the bind mount. A read-only mount does not protect a device from writes: an image that is only to be read
/// is mapped read-only.
fn options_of(capability: &v1::VolumeCapability, readonly: bool) -> MountFlags {
    let Some(AccessType::Mount(mount)) = &capability.access_type else { return MountFlags::empty() };
    let options = mount::flags_of(mount.mount_flags.iter().map(String::as_str));
    let mode = capability.access_mode.map(|mode| mode.mode());
    let readonly = readonly || matches!(mode, Some(Mode::MultiNodeReaderOnly | Mode::SingleNodeReaderOnly));
    if readonly { options | MountFlags::RDONLY } else { options }
}
