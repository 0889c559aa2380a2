//! NodeStageVolume and NodeUnstageVolume.

use std::path::{Path, PathBuf};

use csi::v1;
use rustix::mount::MountFlags;
use v1::volume_capability::AccessType;
use v1::volume_capability::access_mode::Mode;

use super::device::{self, At};
use super::mapper::{Kind, Mapper, Request, Spec, options_for};
use super::stash::Stash;
use crate::check;
use crate::filesystem::{self, FsType};
use crate::lock::Key;
use crate::mount::{self, Target};
use crate::rbd::credentials::{self, Credentials};
use crate::rbd::driver::Rbd;
use crate::rbd::error;
use crate::rbd::handle::Id;
use crate::rbd::image;
use crate::rbd::names::Kind as ImageKind;
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
        let mut looked = device::at(&target);
        if looked.as_ref().is_err_and(device::is_broken) {
            // Its device was lost: staged anew.
            self.unstage_image(Path::new(&request.staging_target_path), &target)?;
            looked = Ok(None);
        }
        match looked.map_err(Refusal::system(format!("cannot look at {}", target.display())))? {
            Some(At::Folder(_)) if wanted.kind.is_some() => return Ok(v1::NodeStageVolumeResponse {}),
            Some(At::Block(_)) if wanted.kind.is_none() => return Ok(v1::NodeStageVolumeResponse {}),
            Some(_) => {
                let what = format!("volume {:?} is staged already, in another way", request.volume_id);
                return Err(Refusal::Clash(what));
            }
            None => {}
        }
        let who = credentials::of_secrets(&request.secrets)?;
        let (spec, monitors) = self.image_of(&request, who.clone(), &wanted)?;
        let staging = Path::new(&request.staging_target_path);
        let stash = Stash::new(&spec, wanted.mapper, wanted.unmap_options.clone());
        let staged = self.stage_image(staging, &target, &spec, stash, &monitors, &who, &wanted);
        if let Err(refusal) = staged {
            base::warn!("Undoing a stage that failed"; "volume" => request.volume_id, "image" => spec);
            return Err(match self.unstage_image(staging, &target) {
                Ok(()) => refusal,
                Err(other) => Refusal::Unfinished {
                    what: format!("{refusal}; nor can it be undone"),
                    source: std::io::Error::other(other.to_string()),
                },
            });
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

    /// The image of a volume, and its cluster's monitors.
    fn image_of(
        &self,
        request: &v1::NodeStageVolumeRequest,
        who: Credentials,
        wanted: &Wanted,
    ) -> Result<(Spec, String), Refusal> {
        let id = &request.volume_id;
        let unknown = || Refusal::no_volume(id);
        let context = |name: &'static str| {
            let value = request.volume_context.get(name).filter(|value| !value.is_empty());
            value.cloned().ok_or_else(|| Refusal::invalid("volume_context", format!("{name} is missing")))
        };
        let (site, pool, image) = match Id::parse(id) {
            Some(Id::Journal(handle)) if !wanted.is_static => {
                let known = self.known(handle, ImageKind::Volume, who)?.ok_or_else(unknown)?;
                let pool = known.pool().clone();
                (known.site, pool, known.attributes.image)
            }
            Some(Id::Migrated(volume)) => {
                let site = self.site(&volume.cluster, who)?;
                let pool = site.pool_named(&volume.pool)?.ok_or_else(unknown)?;
                (site, pool, volume.image)
            }
            // An administrator's: its id is the image's name.
            _ if wanted.is_static => {
                let site = self.site(&context("clusterID")?, who)?;
                let pool = site.pool_named(&context("pool")?)?.ok_or_else(unknown)?;
                (site, pool, id.clone())
            }
            _ => return Err(unknown()),
        };
        let failed = || error::ceph(format!("cannot look at image {image:?}"));
        let seen = image::look(&pool, &image)?.ok_or_else(unknown)?;
        let pool_name = site.cluster.pool_name(pool.id).map_err(failed())?;
        let namespace = site.config.rbd.rados_namespace.clone();
        let spec = Spec { pool: pool_name, namespace, image: image.clone() };
        let watchers = seen.watchers().map_err(failed())?;
        let mirrors = site.config.rbd.mirror_daemon_count;
        let is_here = || self.mappers.of(wanted.mapper).is_open_here(&spec);
        if wanted.is_alone
            && is_open_elsewhere(watchers, mirrors, false)
            && is_open_elsewhere(
                watchers,
                mirrors,
                is_here().map_err(Refusal::system("cannot list mapped images"))?,
            )
        {
            return Err(Refusal::Held(format!("image {image:?} is open in another client")));
        }
        Ok((spec, site.config.monitors.join(",")))
    }

    #[allow(clippy::too_many_arguments)]
    fn stage_image(
        &self,
        staging: &Path,
        target: &Path,
        spec: &Spec,
        mut stash: Stash,
        monitors: &str,
        who: &Credentials,
        wanted: &Wanted,
    ) -> Result<(), Refusal> {
        let cannot = |what: &str| Refusal::system::<std::io::Error>(format!("cannot {what} image {spec}"));
        // A call that was killed may have mapped it.
        let former = Stash::read(staging).ok().flatten();
        stash.device =
            former.filter(|former| former.spec() == *spec).map_or(String::new(), |former| former.device);
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
        let Some(kind) = wanted.kind else {
            mount::make_target(target, Target::File).map_err(cannot("make a file for"))?;
            return mount::bind(&device, target, MountFlags::empty()).map_err(cannot("bind"));
        };
        mount::make_target(target, Target::Folder).map_err(cannot("make a folder for"))?;
        let wrong = |error: filesystem::FsError| Refusal::System {
            what: format!("cannot mount image {spec}"),
            source: std::io::Error::other(error),
        };
        if !wanted.readonly && !wanted.is_static {
            let options = wanted.mkfs_options.as_ref();
            let options: Option<Vec<&str>> = options.map(|all| all.iter().map(String::as_str).collect());
            filesystem::format(&device, kind, options.as_deref().unwrap_or(usual(kind))).map_err(wrong)?;
        }
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
        self.unstage_image(Path::new(&request.staging_target_path), &target)?;
        Ok(v1::NodeUnstageVolumeResponse {})
    }

    fn unstage_image(&self, staging: &Path, target: &Path) -> Result<(), Refusal> {
        let cannot =
            |what: &str| Refusal::system::<std::io::Error>(format!("cannot {what} {}", target.display()));
        device::unmount(target).map_err(cannot("unmount"))?;
        mount::remove_target(target).map_err(cannot("remove"))?;
        let stash = Stash::read(staging).map_err(cannot("read the note about"))?;
        let Some(stash) = stash else { return Ok(()) };
        let mapper = self.mappers.of(stash.kind());
        mapper
            .unmap(&stash.spec(), &stash.device, &stash.unmap_options)
            .map_err(cannot("unmap the image of"))?;
        Stash::remove(staging).map_err(cannot("remove the note about"))
    }
}

/// Whether another client than this node's has an image open: the mirror daemons have, and this node once if it maps it.
fn is_open_elsewhere(watchers: usize, mirrors: usize, is_here: bool) -> bool {
    watchers > mirrors + usize::from(is_here)
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
    fn one_client_may_be_this_nodes_and_the_mirrors_count_for_none() {
        for (watchers, mirrors, is_here, expected) in [
            (0, 0, false, false),
            (1, 0, false, true),
            (1, 0, true, false),
            (2, 0, true, true),
            (1, 1, false, false),
            (2, 1, true, false),
            (3, 1, true, true),
        ] {
            let elsewhere = is_open_elsewhere(watchers, mirrors, is_here);
            assert_eq!(elsewhere, expected, "{watchers} {mirrors} {is_here}");
        }
    }

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
