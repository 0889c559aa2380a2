//! NodeStageVolume and NodeUnstageVolume.

use std::path::{Path, PathBuf};

use csi::v1;
use rustix::mount::MountFlags;
use v1::volume_capability::AccessType;
use v1::volume_capability::access_mode::Mode;

use super::device::{self, At};
use super::mapper::{Kind, Mapper, Request, Spec, options_for};
use super::ours;
use super::source::Source;
use super::stash::Stash;
use crate::check;
use crate::filesystem::{self, FsType};
use crate::lock::Key;
use crate::mount::{self, Target};
use crate::rbd::credentials::{self, Credentials};
use crate::rbd::driver::Rbd;
use crate::rbd::error;
use crate::refusal::Refusal;

/// How a volume is to be there.
struct Wanted {
    /// The file system; none for a block volume.
    kind: Option<FsType>,
    readonly: bool,
    /// Nobody else may have the image open.
    is_alone: bool,
    mount_options: Vec<String>,
    /// For mkfs; none: the usual ones.
    mkfs_options: Option<Vec<String>>,
    mapper: Kind,
    map_options: String,
    unmap_options: String,
    /// An administrator made the image: it is never formatted.
    is_static: bool,
}

/// Where a volume is mounted in its staging folder: as ceph-csi has it.
pub(super) fn mount_point(staging: &str, volume: &str) -> PathBuf {
    Path::new(staging).join(volume)
}

/// The id as a file name.
///
/// # Errors
/// INVALID_ARGUMENT for one that leads elsewhere.
pub(super) fn checked_id(volume: &str) -> Result<(), Refusal> {
    check::required("volume_id", volume)?;
    if volume.contains('/') || volume.starts_with('.') {
        return Err(Refusal::invalid("volume_id", "must not have slashes nor begin with a dot"));
    }
    Ok(())
}

impl Rbd {
    /// Maps an image, makes a file system on it if it is blank, and mounts it; or mounts the device itself.
    ///
    /// Differs: ceph-csi waits for up to a minute while another node has the image open; ours answers ABORTED at once, and the
    /// kubelet tries again.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field; NOT_FOUND; ALREADY_EXISTS when it is staged in another way; ABORTED while it is worked
    /// on or open elsewhere; UNAVAILABLE when Ceph does not answer; INTERNAL when a step fails, which is then undone.
    pub(crate) fn stage(
        &self,
        request: v1::NodeStageVolumeRequest,
    ) -> Result<v1::NodeStageVolumeResponse, Refusal> {
        checked_id(&request.volume_id)?;
        check::path("staging_target_path", &request.staging_target_path)?;
        check::below("staging_target_path", &request.staging_target_path, &self.options.target_roots)?;
        let capability = request.volume_capability.as_ref().ok_or(Refusal::Missing("volume_capability"))?;
        check::capability("volume_capability", capability)?;
        check::map("publish_context", &request.publish_context)?;
        check::map("volume_context", &request.volume_context)?;
        check::secrets(&request.secrets)?;
        let wanted = self.wanted_on_node(capability, &request)?;
        let _call = self.calls.take()?;
        let _volume = self.locks.alone(Key::Volume(request.volume_id.clone()))?;
        let target = mount_point(&request.staging_target_path, &request.volume_id);
        let staging = Path::new(&request.staging_target_path);
        match (self.staged(staging, &target)?, wanted.kind) {
            (Some(At::Folder(device)), Some(kind)) => {
                // The call that mounted it may have been killed before it did so.
                if !wanted.readonly {
                    let what = format!("cannot grow the file system at {}", target.display());
                    let grown = filesystem::grow(&device, &target, kind);
                    grown.map_err(|error| Refusal::system(what)(std::io::Error::other(error)))?;
                }
                return Ok(v1::NodeStageVolumeResponse {});
            }
            (Some(At::Block(_)), None) => return Ok(v1::NodeStageVolumeResponse {}),
            (Some(_), _) => {
                let what = format!("volume {:?} is staged already, in another way", request.volume_id);
                return Err(Refusal::Clash(what));
            }
            (None, _) => {}
        }
        let who = credentials::of_secrets(&request.secrets)?;
        let source = self.source(&request, who.clone(), wanted.is_static)?;
        self.unmap_otherwise(staging, &source, wanted.mapper)?;
        if wanted.is_alone {
            self.check_alone(&source, wanted.mapper)?;
        }
        if let Err(refusal) = self.stage_image((staging, &target), &source, &who, &wanted) {
            base::warn!("Undoing a stage that failed"; "volume" => request.volume_id, "image" => source.spec);
            return Err(error::once_undone(refusal, self.unstage_image(staging, &target)));
        }
        Ok(v1::NodeStageVolumeResponse {})
    }

    fn wanted_on_node(
        &self,
        capability: &v1::VolumeCapability,
        request: &v1::NodeStageVolumeRequest,
    ) -> Result<Wanted, Refusal> {
        let context = |name: &str| {
            request.volume_context.get(name).map(String::as_str).filter(|value| !value.is_empty())
        };
        if context("encrypted").is_some_and(|value| value != "false") {
            return Err(Refusal::invalid("volume_context", "encryption is not supported by this driver"));
        }
        let mapper = match context("mounter") {
            None => self.options.mapper,
            Some("rbd") => Kind::Krbd,
            Some("rbd-nbd") => Kind::Nbd,
            Some(other) => {
                return Err(Refusal::invalid(
                    "volume_context",
                    format!("mounter {other:?} is neither rbd nor rbd-nbd"),
                ));
            }
        };
        let mode = capability.access_mode.map(|mode| mode.mode());
        let readonly = matches!(mode, Some(Mode::MultiNodeReaderOnly | Mode::SingleNodeReaderOnly));
        let is_shared = matches!(mode, Some(Mode::MultiNodeMultiWriter | Mode::MultiNodeSingleWriter));
        let (kind, mount_options) = match &capability.access_type {
            Some(AccessType::Mount(mount)) => {
                let kind = FsType::named(&mount.fs_type)
                    .ok_or_else(|| Refusal::invalid("volume_capability", "fs_type must be ext4 or xfs"))?;
                if is_shared {
                    let reason = "a file system can be mounted for writing on one node only";
                    return Err(Refusal::invalid("volume_capability", reason));
                }
                (Some(kind), options_of(kind, readonly, &mount.mount_flags))
            }
            _ => (None, Vec::new()),
        };
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        Ok(Wanted {
            kind,
            readonly,
            is_alone: !readonly && !is_shared,
            mount_options,
            mkfs_options: context("mkfsOptions").map(words),
            mapper,
            map_options: options_for(mapper, context("mapOptions").unwrap_or_default()),
            unmap_options: options_for(mapper, context("unmapOptions").unwrap_or_default()),
            is_static: context("staticVolume") == Some("true"),
        })
    }

    /// What is staged already; none if nothing is, or if what was has lost its device, which is then taken away.
    fn staged(&self, staging: &Path, target: &Path) -> Result<Option<At>, Refusal> {
        let cannot = || Refusal::system::<std::io::Error>(format!("cannot look at {}", target.display()));
        let at = match device::at(target) {
            Err(error) if device::is_broken(&error) => {
                let _image = self.hold(Stash::read(staging).ok().flatten().as_ref())?;
                self.unstage_image(staging, target)?;
                return Ok(None);
            }
            at => at.map_err(cannot())?,
        };
        match at {
            Some(at) if !self.is_staged(&at, staging).map_err(cannot())? => {
                Err(Refusal::Clash(format!("something else is mounted at {}", target.display())))
            }
            at => Ok(at),
        }
    }

    /// Whether what is mounted in a staging folder is the image that was staged there.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn is_staged(&self, at: &At, staging: &Path) -> std::io::Result<bool> {
        let stash = Stash::read(staging)?;
        let mapped = match stash.as_ref().filter(|stash| stash.device.is_empty()) {
            Some(stash) => self.mappers.of(stash.kind()).find(&stash.spec())?,
            None => None,
        };
        Ok(ours::is_staged(at, stash.as_ref(), mapped.as_deref()))
    }

    /// Unmaps an image that a call which was killed has mapped in another way than is wanted now.
    fn unmap_otherwise(&self, staging: &Path, source: &Source, mapper: Kind) -> Result<(), Refusal> {
        let Some(former) = source.former.as_ref().filter(|former| former.kind() != mapper) else {
            return Ok(());
        };
        let cannot = || Refusal::system::<std::io::Error>(format!("cannot unmap image {}", source.spec));
        if self.is_staged_elsewhere(former, staging).map_err(cannot())? {
            return Ok(());
        }
        let unmapped =
            self.mappers.of(former.kind()).unmap(&source.spec, &former.device, &former.unmap_options);
        unmapped.map_err(cannot())
    }

    fn stage_image(
        &self,
        (staging, target): (&Path, &Path),
        source: &Source,
        who: &Credentials,
        wanted: &Wanted,
    ) -> Result<(), Refusal> {
        let Source { spec, monitors, former, .. } = source;
        let mut stash = Stash::new(spec, wanted.mapper, wanted.unmap_options.clone());
        let cannot = |what: &str| Refusal::system::<std::io::Error>(format!("cannot {what} image {spec}"));
        // A call that was killed may have mapped it.
        stash.device = former.as_ref().map_or(String::new(), |former| former.device.clone());
        // Before the device: an unstage finds by it what there may be.
        stash.write(staging).map_err(cannot("note"))?;
        let mapper: &dyn Mapper = self.mappers.of(wanted.mapper);
        let device = match mapper.find(spec).map_err(cannot("look for"))? {
            Some(device) => device,
            None => mapper
                .map(&Request {
                    spec,
                    monitors,
                    user: &who.user,
                    key: &who.key,
                    readonly: wanted.readonly,
                    options: &wanted.map_options,
                    former: &stash.device,
                })
                .map_err(error::ceph(format!("cannot map image {spec}")))?,
        };
        stash.device = device.display().to_string();
        stash.write(staging).map_err(cannot("note"))?;
        prepare(&device, source, wanted)?;
        let Some(kind) = wanted.kind else {
            mount::make_target(target, Target::File).map_err(cannot("make a file for"))?;
            return mount::bind(&device, target, MountFlags::empty()).map_err(cannot("bind"));
        };
        mount::make_target(target, Target::Folder).map_err(cannot("make a folder for"))?;
        let wrong = |error| unmountable(spec, error);
        let options: Vec<&str> = wanted.mount_options.iter().map(String::as_str).collect();
        filesystem::mount(&device, target, kind, &options).map_err(wrong)?;
        if !wanted.readonly {
            // A copy may be larger than its source, whose file system it has.
            filesystem::grow(&device, target, kind).map_err(wrong)?;
        }
        Ok(())
    }

    /// Unmounts and unmaps a volume. One that is not staged is fine.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field; ABORTED while it is worked on; INTERNAL when a step fails: call again.
    pub(crate) fn unstage(
        &self,
        request: v1::NodeUnstageVolumeRequest,
    ) -> Result<v1::NodeUnstageVolumeResponse, Refusal> {
        checked_id(&request.volume_id)?;
        check::path("staging_target_path", &request.staging_target_path)?;
        let _call = self.calls.take()?;
        let _volume = self.locks.alone(Key::Volume(request.volume_id.clone()))?;
        let target = mount_point(&request.staging_target_path, &request.volume_id);
        let staging = Path::new(&request.staging_target_path);
        let cannot = || Refusal::system::<std::io::Error>(format!("cannot look at {}", target.display()));
        match device::at(&target) {
            // What was a volume.
            Err(error) if device::is_broken(&error) => {}
            at => {
                if let Some(at) = at.map_err(cannot())?
                    && !self.is_staged(&at, staging).map_err(cannot())?
                    && !ours::is_of_image(at.device(), &self.options.fuse_folder).map_err(cannot())?
                {
                    let what = format!("what is mounted at {} is no image", target.display());
                    return Err(Refusal::WrongState(what));
                }
            }
        }
        let _image = self.hold(Stash::read(staging).ok().flatten().as_ref())?;
        self.unstage_image(staging, &target)?;
        Ok(v1::NodeUnstageVolumeResponse {})
    }

    /// Whether what is mapped of an image is mounted in another staging folder, as another volume that is of the same image.
    fn is_staged_elsewhere(&self, stash: &Stash, staging: &Path) -> std::io::Result<bool> {
        let spec = stash.spec();
        for device in self.mappers.of(stash.kind()).devices(&spec, &stash.device)? {
            let points = device::points(&device)?;
            let folders = points.iter().filter_map(|point| point.parent());
            let notes = folders.filter(|folder| *folder != staging).map(Stash::read);
            if ours::is_one_of(&spec, notes.filter_map(|note| note.ok().flatten())) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn unstage_image(&self, staging: &Path, target: &Path) -> Result<(), Refusal> {
        let cannot =
            |what: &str| Refusal::system::<std::io::Error>(format!("cannot {what} {}", target.display()));
        device::unmount(target).map_err(cannot("unmount"))?;
        mount::remove_target(target).map_err(cannot("remove"))?;
        let stash = Stash::read(staging).map_err(cannot("read the note about"))?;
        if let Some(stash) = stash
            && !self.is_staged_elsewhere(&stash, staging).map_err(cannot("look for other mounts of"))?
        {
            let mapper = self.mappers.of(stash.kind());
            mapper
                .unmap(&stash.spec(), &stash.device, &stash.unmap_options)
                .map_err(cannot("unmap the image of"))?;
        }
        Stash::remove(staging).map_err(cannot("remove the note about"))
    }
}

/// Makes a file system on a device that is to have one and has none; whatever was noted of an mkfs is gone before anybody writes.
fn prepare(device: &Path, source: &Source, wanted: &Wanted) -> Result<(), Refusal> {
    if wanted.readonly {
        return Ok(());
    }
    let wrong = |error| unmountable(&source.spec, error);
    let is_made = match wanted.kind.filter(|_| !wanted.is_static) {
        Some(kind) if filesystem::is_to_be_made(device, kind, source.is_mkfs_begun).map_err(wrong)? => {
            let options = wanted.mkfs_options.as_ref();
            let options: Option<Vec<&str>> = options.map(|all| all.iter().map(String::as_str).collect());
            source.note_mkfs(true)?;
            filesystem::make(device, kind, options.as_deref().unwrap_or(usual(kind))).map_err(wrong)?;
            true
        }
        _ => false,
    };
    if is_made || source.has_mark { source.note_mkfs(false) } else { Ok(()) }
}

fn unmountable(spec: &Spec, error: filesystem::FsError) -> Refusal {
    Refusal::System { what: format!("cannot mount image {spec}"), source: std::io::Error::other(error) }
}

/// The options of mkfs unless the class has others: ceph-csi's.
fn usual(kind: FsType) -> &'static [&'static str] {
    match kind {
        FsType::Ext4 => &["-m0", "-Enodiscard,lazy_itable_init=1,lazy_journal_init=1"],
        FsType::Xfs => &["-K"],
    }
}

/// The options of a mount: those asked for, and what copies need: a copy has the identity of its source, and a copy of a volume
/// in use has a journal that cannot be written back to a read-only device.
fn options_of(kind: FsType, readonly: bool, asked: &[String]) -> Vec<String> {
    let mut options = asked.to_vec();
    let mut add = |option: &str| options.push(option.to_owned());
    if kind == FsType::Xfs {
        add("nouuid");
    }
    if readonly {
        add("ro");
        add(if kind == FsType::Xfs { "norecovery" } else { "noload" });
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_mounted_beside_their_sources() {
        let asked = ["noatime".to_owned()];
        for (kind, readonly, expected) in [
            (FsType::Ext4, false, &["noatime"][..]),
            (FsType::Ext4, true, &["noatime", "ro", "noload"]),
            (FsType::Xfs, false, &["noatime", "nouuid"]),
            (FsType::Xfs, true, &["noatime", "nouuid", "ro", "norecovery"]),
        ] {
            assert_eq!(options_of(kind, readonly, &asked), expected, "{kind:?} {readonly}");
        }
    }
}
