//! The image that a volume is to be staged from.

use std::path::Path;

use csi::v1;

use super::mapper::{Kind, Spec};
use super::stash::Stash;
use crate::lock::{Guard, Key};
use crate::rbd::ceph::Image;
use crate::rbd::connections::Site;
use crate::rbd::credentials::Credentials;
use crate::rbd::driver::Rbd;
use crate::rbd::error;
use crate::rbd::handle::Id;
use crate::rbd::image;
use crate::rbd::names::Kind as ImageKind;
use crate::refusal::Refusal;

/// On an image: its mkfs has begun, and nobody has seen it end. Until it is removed nothing is mounted. It says the image's id: a copy
/// has what is noted on its source.
const MKFS: &str = "mooring.mkfs";

/// An image with where it is. Held, so that nobody else on this node maps it or takes it away meanwhile, be it as another volume.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) spec: Spec,
    /// By comma.
    pub(super) monitors: String,
    /// Whether a file system is being made on it, or was when whoever did so ended.
    pub(super) is_mkfs_begun: bool,
    /// Whether it says so of any image.
    pub(super) has_mark: bool,
    /// The staging folder's note about it: of a call that was killed, and may have mapped it.
    pub(super) former: Option<Stash>,
    id: String,
    site: Site,
    seen: Image,
    _hold: Guard,
}

impl Rbd {
    /// Finds the image of a volume.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a context that lacks something; NOT_FOUND; ABORTED while another volume is made of the image here; Ceph's.
    pub(super) fn source(
        &self,
        request: &v1::NodeStageVolumeRequest,
        who: Credentials,
        is_static: bool,
    ) -> Result<Source, Refusal> {
        let id = &request.volume_id;
        let unknown = || Refusal::no_volume(id);
        let context = |name: &'static str| {
            let value = request.volume_context.get(name).filter(|value| !value.is_empty());
            value.cloned().ok_or_else(|| Refusal::invalid("volume_context", format!("{name} is missing")))
        };
        let (site, pool, image) = match Id::parse(id) {
            Some(Id::Journal(handle)) if !is_static => {
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
            _ if is_static => {
                let site = self.site(&context("clusterID")?, who)?;
                let pool = site.pool_named(&context("pool")?)?.ok_or_else(unknown)?;
                (site, pool, id.clone())
            }
            _ => return Err(unknown()),
        };
        let failed = || error::ceph(format!("cannot look at image {image:?}"));
        let seen = image::look(&pool, &image)?.ok_or_else(unknown)?;
        let pool_name = site.cluster.pool_name(pool.id).map_err(failed())?;
        let cluster = site.cluster.fsid().map_err(failed())?;
        let namespace = site.config.rbd.rados_namespace.clone();
        let mut spec = Spec { cluster, pool: pool_name, namespace, image };
        // A call that was killed may have mapped it, as an earlier version does: without the cluster.
        let former = Stash::read(Path::new(&request.staging_target_path)).ok().flatten();
        let former = former.filter(|former| former.spec().may_be(&spec));
        if let Some(former) = &former {
            spec = former.spec();
        }
        let hold = self.locks.alone(Key::Image(spec.to_string()))?;
        let read = || Ok((seen.id()?, seen.metadata(MKFS)?));
        let (id, mark) = read().map_err(error::ceph(format!("cannot look at image {spec}")))?;
        let (has_mark, is_mkfs_begun) = (mark.is_some(), mark.as_ref() == Some(&id));
        let monitors = site.config.monitors.join(",");
        Ok(Source { spec, monitors, is_mkfs_begun, has_mark, former, id, site, seen, _hold: hold })
    }

    /// Holds the image that a staging folder's note is about, if there is one.
    ///
    /// # Errors
    /// ABORTED while another volume is made of it.
    pub(super) fn hold(&self, stash: Option<&Stash>) -> Result<Option<Guard>, Refusal> {
        stash.map(|stash| self.locks.alone(Key::Image(stash.spec().to_string()))).transpose()
    }

    /// Checks that nobody else has an image open.
    ///
    /// # Errors
    /// ABORTED when somebody has; Ceph's.
    pub(super) fn check_alone(&self, source: &Source, mapper: Kind) -> Result<(), Refusal> {
        let Source { spec, site, seen, .. } = source;
        let watchers = seen.watchers().map_err(error::ceph(format!("cannot look at image {spec}")))?;
        let mirrors = site.config.rbd.mirror_daemon_count;
        if !is_open_elsewhere(watchers, mirrors, false) {
            return Ok(());
        }
        let is_here = self.mappers.of(mapper).is_open_here(spec);
        if is_open_elsewhere(
            watchers,
            mirrors,
            is_here.map_err(Refusal::system("cannot list mapped images"))?,
        ) {
            return Err(Refusal::Held(format!("image {spec} is open in another client")));
        }
        Ok(())
    }
}

impl Source {
    /// Notes on the image that its mkfs begins, or has ended. What a killed mkfs leaves looks like data that somebody wrote.
    ///
    /// # Errors
    /// Ceph's.
    pub(super) fn note_mkfs(&self, is_begun: bool) -> Result<(), Refusal> {
        let noted = self.seen.set_metadata(MKFS, is_begun.then_some(self.id.as_str()));
        noted.map_err(error::ceph(format!("cannot note on image {} that a file system is made", self.spec)))
    }
}

/// Whether another client than this node's has an image open: the mirror daemons have, and this node once if it maps it.
fn is_open_elsewhere(watchers: usize, mirrors: usize, is_here: bool) -> bool {
    watchers > mirrors + usize::from(is_here)
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
}
