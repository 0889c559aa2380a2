//! NodePublishVolume.
//!
//! A publication is recorded before its mount is made, and its mount undone before its record goes; so
//! after a kill each mount has a record, and the next start drops the records that have no mount. A mount
//! that is there already is trusted only if it is this volume with the options asked for.

use std::path::Path;
use std::sync::Arc;

use csi::v1;
use rustix::mount::MountFlags;
use v1::volume_capability::AccessType;
use v1::volume_capability::access_mode::Mode;

use crate::backend::{Item, Occupant};
use crate::check;
use crate::controller::common_access;
use crate::controller::create::POOL;
use crate::lock::Key;
use crate::mount::{self, Target};
use crate::plugin::{Plugin, new_name};
use crate::refusal::Refusal;
use crate::store::{Access, Publication, Volume};

/// Set by the kubelet for inline volumes.
const EPHEMERAL: &str = "csi.storage.k8s.io/ephemeral";
/// The size of inline volumes: 100 MiB.
const EPHEMERAL_SIZE: i64 = 100 << 20;

impl Plugin {
    /// Binds a volume to a target path; an inline volume is made first.
    ///
    /// Without `--check-volume-lifecycle` a volume that was never staged may be published without a
    /// staging path, as csc does.
    ///
    /// Differs: known mount options (ro, nosuid, nodev, noexec, noatime, nodiratime, relatime) and a
    /// read-only attachment are obeyed; the Go driver obeys `readonly` only. A second publish at the same
    /// target with other arguments is ALREADY_EXISTS.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field; NOT_FOUND; FAILED_PRECONDITION when it is not staged, or has its
    /// single writer already; ALREADY_EXISTS when the target is taken; INTERNAL when the mount fails.
    pub fn publish(
        &self,
        request: v1::NodePublishVolumeRequest,
    ) -> Result<v1::NodePublishVolumeResponse, Refusal> {
        let capability = self.check_publish(&request)?;
        let access = common_access(std::slice::from_ref(capability))?;
        let _record = self.locks.alone(Key::Volume(request.volume_id.clone()))?;
        let is_inline = self.is_inline(&request);
        if is_inline {
            self.make_inline(&request, access)?;
        }
        let volume = self.store.volume(&request.volume_id)?;
        let is_new = is_inline && volume.published.is_empty();
        match self.publish_made(&request, capability, volume) {
            Err(refusal) if is_new => Err(self.take_back(&request.volume_id, &request.target_path, refusal)),
            outcome => outcome,
        }
    }

    /// Binds a volume that is there.
    fn publish_made(
        &self,
        request: &v1::NodePublishVolumeRequest,
        capability: &v1::VolumeCapability,
        volume: Arc<Volume>,
    ) -> Result<v1::NodePublishVolumeResponse, Refusal> {
        let access = common_access(std::slice::from_ref(capability))?;
        let mode = capability.access_mode.map_or(0, |mode| mode.mode);
        let readonly = request.readonly
            || volume.attached == Some(true)
            || matches!(Mode::try_from(mode), Ok(Mode::SingleNodeReaderOnly | Mode::MultiNodeReaderOnly));
        let wanted = Publication { readonly, mode, boot: self.boot.clone() };
        if access != volume.access {
            let reason = format!("volume {:?} is a {} volume", volume.id, volume.access.word());
            return Err(Refusal::invalid("volume_capability", reason));
        }
        self.check_staged(&volume, &request.staging_target_path)?;
        let volume = self.check_sharing(volume, &request.target_path, &wanted)?;
        let target = Path::new(&request.target_path);
        let is_recorded = volume.published.contains_key(&request.target_path);
        let options = options_of(capability, &volume, readonly);
        match self.found_at(&volume, target)? {
            None => {}
            Some(Occupant::Stranger) => {
                return Err(Refusal::Clash(format!("something else is mounted at {}", target.display())));
            }
            Some(Occupant::Volume) if is_recorded && has_options(target, options)? => {
                return Ok(v1::NodePublishVolumeResponse {});
            }
            // Not as the caller wants it, such as writable: to be mounted anew.
            Some(Occupant::Volume | Occupant::Remains) => self.unmount(&volume, target)?,
        }
        let is_of_this_boot =
            volume.published.get(&request.target_path).is_some_and(|it| it.boot == self.boot);
        if !is_recorded || !is_of_this_boot {
            self.store.update(&volume.id, |volume| {
                volume.published.insert(request.target_path.clone(), wanted.clone());
            })?;
        }
        if let Err(refusal) = self.mount(&volume, target, readonly, options) {
            return Err(self.withdraw(&volume, &request.target_path, refusal));
        }
        Ok(v1::NodePublishVolumeResponse {})
    }

    fn check_publish<'a>(
        &self,
        request: &'a v1::NodePublishVolumeRequest,
    ) -> Result<&'a v1::VolumeCapability, Refusal> {
        let capability = request.volume_capability.as_ref().ok_or(Refusal::Missing("volume_capability"))?;
        check::required("volume_id", &request.volume_id)?;
        check::path("target_path", &request.target_path)?;
        check::below("target_path", &request.target_path, &self.options.target_roots)?;
        check::optional_path("staging_target_path", &request.staging_target_path)?;
        check::capability("volume_capability", capability)?;
        check::map("publish_context", &request.publish_context)?;
        check::map("volume_context", &request.volume_context)?;
        check::secrets(&request.secrets)?;
        Ok(capability)
    }

    fn is_inline(&self, request: &v1::NodePublishVolumeRequest) -> bool {
        match request.volume_context.get(EPHEMERAL) {
            Some(value) => value == "true",
            None => self.options.ephemeral,
        }
    }

    /// Makes an inline volume unless it is there already. Its id is the caller's, its content's name ours.
    fn make_inline(&self, request: &v1::NodePublishVolumeRequest, access: Access) -> Result<(), Refusal> {
        if access == Access::Block {
            return Err(Refusal::invalid("volume_capability", "an inline volume cannot be a block volume"));
        }
        let id = &request.volume_id;
        let existing = self.store.read().volumes.get(id).cloned();
        if let Some(volume) = existing {
            if volume.ephemeral {
                return self.show_recorded(id, &Item::from(&*volume));
            }
            return Err(Refusal::Clash(format!("volume {id:?} exists already and is no inline volume")));
        }
        let room = self.reserve(request.volume_context.get(POOL), EPHEMERAL_SIZE)?;
        let volume = Volume {
            id: id.clone(),
            name: format!("ephemeral-{id}"),
            data: new_name(),
            size: EPHEMERAL_SIZE,
            access,
            pool: room.pool.clone(),
            parameters: Default::default(),
            mutable: Default::default(),
            source: None,
            legacy: false,
            ephemeral: true,
            attached: None,
            staged: Default::default(),
            staged_in: None,
            published: Default::default(),
        };
        self.make(&volume, None)
    }

    /// Whether the volume may be published at the target as well. Publications whose mounts are visibly gone do not
    /// count.
    fn check_sharing(
        &self,
        volume: Arc<Volume>,
        target: &str,
        wanted: &Publication,
    ) -> Result<Arc<Volume>, Refusal> {
        if check_sharing(&volume, target, wanted).is_ok() {
            return Ok(volume);
        }
        let present = self.without_lost(&volume)?;
        check_sharing(&present, target, wanted)?;
        Ok(Arc::new(present))
    }

    /// Whether the volume is staged where the caller says.
    fn check_staged(&self, volume: &Volume, staging: &str) -> Result<(), Refusal> {
        if volume.ephemeral || volume.staged.contains(staging) {
            return Ok(());
        }
        match volume.staged.first() {
            Some(path) => {
                let reason = format!("volume {:?} is staged at {path:?}, not at {staging:?}", volume.id);
                Err(Refusal::invalid("staging_target_path", reason))
            }
            None if staging.is_empty() && !self.options.strict => Ok(()),
            None => Err(Refusal::WrongState(format!("volume {:?} is not staged", volume.id))),
        }
    }

    fn mount(
        &self,
        volume: &Volume,
        target: &Path,
        readonly: bool,
        options: MountFlags,
    ) -> Result<(), Refusal> {
        let kind = match volume.access {
            Access::Mount => Target::Folder,
            Access::Block => Target::File,
        };
        let cannot = |what: &str| format!("cannot {what} {}", target.display());
        mount::make_target(target, kind).map_err(Refusal::system(cannot("make target")))?;
        let source = self
            .backend
            .attach(&Item::from(volume), readonly)
            .map_err(Refusal::system(format!("cannot open volume {:?}", volume.id)))?;
        mount::bind(&source, target, options).map_err(Refusal::system(cannot("mount volume at")))
    }

    /// Undoes a publication that failed half-way. Returns why it failed, with a code that is not final if it
    /// could not be undone: after a final one the kubelet would not call again.
    fn withdraw(&self, volume: &Volume, target: &str, refusal: Refusal) -> Refusal {
        let _ = mount::remove_target(target.as_ref());
        let undone = self.store.undo(&volume.id, |volume| {
            volume.published.remove(target);
        });
        finished(refusal, undone.and_then(|()| self.release(&volume.id)))
    }

    /// Removes an inline volume that was to be published for the first time and could not be: after a final code the
    /// kubelet forgets it. Returns why, as [`Self::withdraw`].
    fn take_back(&self, id: &str, target: &str, refusal: Refusal) -> Refusal {
        let Ok(volume) = self.store.volume(id) else { return refusal };
        let removed = match self.found_at(&volume, target.as_ref()) {
            // What a publication left is for the next call.
            _ if !volume.published.is_empty() => return refusal,
            Ok(None | Some(Occupant::Stranger)) => {
                let content = self.locks.alone(Key::Content(volume.id.clone()));
                content.and_then(|_content| self.destroy(&volume))
            }
            Ok(Some(Occupant::Volume | Occupant::Remains)) => Err(Refusal::Busy(format!("{id:?}"))),
            Err(refusal) => Err(refusal),
        };
        finished(refusal, removed)
    }
}

/// Why a publish failed: not final if what it did could not be undone.
fn finished(refusal: Refusal, undone: Result<(), Refusal>) -> Refusal {
    match undone {
        Ok(()) => refusal,
        Err(error) => Refusal::Unfinished { what: refusal.to_string(), source: std::io::Error::other(error) },
    }
}

/// The specification's table for a second publish on a node. SINGLE_NODE_WRITER at a second target is
/// taken, as by the Go driver: callers that do not know the newer modes use it for several pods.
fn check_sharing(volume: &Volume, target: &str, wanted: &Publication) -> Result<(), Refusal> {
    if let Some(present) = volume.published.get(target) {
        // Records of a Go driver do not say how; whatever is asked for is what was.
        if (present.readonly, present.mode) == (wanted.readonly, wanted.mode) || present.mode == 0 {
            return Ok(());
        }
        let message = format!("volume {:?} is published at {target:?} already, in another way", volume.id);
        return Err(Refusal::Clash(message));
    }
    let is_single = |mode: i32| mode == Mode::SingleNodeSingleWriter as i32;
    let other =
        volume.published.iter().find(|(_, present)| is_single(wanted.mode) || is_single(present.mode));
    match other {
        None => Ok(()),
        Some((other, _)) => {
            let message = format!("volume {:?} has its single writer at {other:?}", volume.id);
            Err(Refusal::WrongState(message))
        }
    }
}

/// The options that the mount gets. A read-only mount does not protect a device: that is what the read-only
/// device is for.
fn options_of(capability: &v1::VolumeCapability, volume: &Volume, readonly: bool) -> MountFlags {
    let options = match &capability.access_type {
        Some(AccessType::Mount(mount)) => mount::flags_of(mount.mount_flags.iter().map(String::as_str)),
        _ => MountFlags::empty(),
    };
    if readonly && volume.access == Access::Mount { options | MountFlags::RDONLY } else { options }
}

fn has_options(target: &Path, options: MountFlags) -> Result<bool, Refusal> {
    mount::has_options(target, options)
        .map_err(Refusal::system(format!("cannot look at {}", target.display())))
}
