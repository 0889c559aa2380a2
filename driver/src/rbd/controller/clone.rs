//! Volumes that begin with what a snapshot or another volume has.
//!
//! ```text
//! restore:  snapshot's image @ its snapshot ──clone──▶ image
//! clone:    volume's image @ <image>-temp ──clone──▶ <image>-temp @ <image> ──clone──▶ image
//! ```
//! The snapshots that a clone is made by are removed at once; Ceph keeps each, without a name, for as long as it has clones.

use std::sync::Arc;

use csi::v1;

use crate::lock::{Guard, Key};
use crate::rbd::ceph::{ImageOptions, Pool, is};
use crate::rbd::class::OF_INTERMEDIATES;
use crate::rbd::credentials::Credentials;
use crate::rbd::driver::{Known, Rbd};
use crate::rbd::error;
use crate::rbd::flatten::{self, Verdict};
use crate::rbd::handle::Handle;
use crate::rbd::image;
use crate::rbd::names::{Kind, intermediate};
use crate::refusal::Refusal;
use crate::store::Source;

/// What a volume begins with. Held, so that it is neither deleted nor grown meanwhile.
#[derive(Debug)]
pub(super) struct Origin {
    known: Known,
    kind: Kind,
    size: u64,
    _hold: Guard,
}

impl Rbd {
    /// Finds the source of a request.
    ///
    /// # Errors
    /// NOT_FOUND; INVALID_ARGUMENT when it is in another cluster or encrypted; ABORTED while it is worked on.
    pub(super) fn origin(&self, source: &Source, cluster: &str, who: Credentials) -> Result<Origin, Refusal> {
        let (kind, id) = match source {
            Source::Snapshot(id) => (Kind::Snapshot, id),
            Source::Volume(id) => (Kind::Volume, id),
        };
        let unknown = || Refusal::Unknown { kind: kind.word(), id: id.clone() };
        let handle = Handle::parse(id).ok_or_else(unknown)?;
        let wrong = |reason: String| Refusal::invalid("volume_content_source", reason);
        if handle.cluster != cluster {
            return Err(wrong(format!("{} {id:?} is not in cluster {cluster:?}", kind.word())));
        }
        let hold = self.locks.shared(Key::Content(id.clone()))?;
        let known = self.known(handle, kind, who)?.ok_or_else(unknown)?;
        if known.attributes.is_encrypted {
            return Err(wrong(format!("{} {id:?} is encrypted, which this driver cannot copy", kind.word())));
        }
        let seen = image::seen(known.pool(), &known.attributes.image, kind)?;
        let seen = seen.filter(|seen| seen.is_whole).ok_or_else(unknown)?;
        Ok(Origin { known, kind, size: seen.size, _hold: hold })
    }

    /// Cuts a source's chain of clones where it is long.
    ///
    /// # Errors
    /// ABORTED when nothing may be added to the chain before.
    pub(super) fn check_depth(&self, origin: &Origin) -> Result<(), Refusal> {
        // A clone of a volume is two links further, for what lies between them.
        let links = if origin.kind == Kind::Volume { 2 } else { 1 };
        self.check_chain(origin.known.pool(), &origin.known.attributes.image, links)
    }

    /// Cuts a chain to which this many links are to be added.
    ///
    /// # Errors
    /// ABORTED when nothing may be added to the chain before.
    pub(super) fn check_chain(&self, pool: &Arc<Pool>, name: &str, links: usize) -> Result<(), Refusal> {
        let depth = flatten::depth(pool, name)?;
        let (soft, hard) = (self.options.soft_depth, self.options.hard_depth);
        match flatten::judge(depth, soft.saturating_sub(links), hard.saturating_sub(links)) {
            _ if depth == 0 => Ok(()),
            Verdict::Short => Ok(()),
            Verdict::Long => {
                self.flattening.begin(pool, name);
                Ok(())
            }
            Verdict::TooLong => {
                self.flattening.begin(pool, name);
                Err(Refusal::Held(format!("image {name:?} has {depth} parents and is being cut off them")))
            }
        }
    }
}

impl Origin {
    /// The size of a copy: as large as the source at least.
    ///
    /// # Errors
    /// OUT_OF_RANGE when less is asked for.
    pub(super) fn size_for(&self, bytes: u64, range: &v1::CapacityRange) -> Result<u64, Refusal> {
        if range.required_bytes == 0
            && u64::try_from(range.limit_bytes).is_ok_and(|limit| limit == 0 || limit >= self.size)
        {
            return Ok(self.size);
        }
        if bytes < self.size {
            let (size, what) = (self.size, self.kind.word());
            return Err(Refusal::Size(format!("the {what} has {size} bytes, only {bytes} are asked for")));
        }
        Ok(bytes)
    }

    /// Copies it to a new image of this size.
    ///
    /// # Errors
    /// Ceph's.
    pub(super) fn copy(
        &self,
        pool: &Arc<Pool>,
        image: &str,
        bytes: u64,
        options: &ImageOptions,
    ) -> Result<(), Refusal> {
        let (from_pool, from) = (self.known.pool(), self.known.attributes.image.as_str());
        match self.kind {
            Kind::Snapshot => {
                let failed = error::ceph(format!("cannot restore snapshot image {from:?} to {image:?}"));
                pool.clone_image(from_pool, (from, from), image, options).map_err(failed)?;
            }
            Kind::Volume => {
                let between = intermediate(image);
                let plain = of_intermediate(options);
                clone_by_snapshot((from_pool, from), &between, (pool, &between), &plain)?;
                clone_by_snapshot((pool, &between), image, (pool, image), options)?;
            }
        }
        self.finish(pool, image, bytes).map(|_| ())
    }

    /// Does what is left once there is the image; gives its size.
    ///
    /// # Errors
    /// Ceph's.
    pub(super) fn finish(&self, pool: &Arc<Pool>, image: &str, bytes: u64) -> Result<u64, Refusal> {
        let failed = || error::ceph(format!("cannot grow image {image:?}"));
        let missing = || failed()(rustix::io::Errno::NOENT.into());
        if self.kind == Kind::Volume {
            image::remove_snapshot(pool, &intermediate(image), image)?;
        }
        let present = image::look(pool, image)?.ok_or_else(missing)?.size().map_err(failed())?;
        if present >= bytes {
            return Ok(present);
        }
        image::open(pool, image)?.ok_or_else(missing)?.grow(bytes).map_err(failed())?;
        Ok(bytes)
    }

    /// Removes what a copy that was not finished may have left on the source.
    ///
    /// # Errors
    /// Ceph's.
    pub(super) fn tidy(&self, image: &str) -> Result<(), Refusal> {
        match self.kind {
            Kind::Snapshot => Ok(()),
            Kind::Volume => {
                image::remove_snapshot(self.known.pool(), &self.known.attributes.image, &intermediate(image))
            }
        }
    }
}

/// The options of an image that is between others.
pub(super) fn of_intermediate(options: &ImageOptions) -> ImageOptions {
    ImageOptions {
        features: Some(OF_INTERMEDIATES),
        data_pool: options.data_pool.clone(),
        ..ImageOptions::default()
    }
}

/// Takes a snapshot of an image, makes a clone of it, and removes the snapshot.
///
/// # Errors
/// Ceph's.
pub(super) fn clone_by_snapshot(
    (from_pool, from): (&Arc<Pool>, &str),
    snapshot: &str,
    (pool, to): (&Arc<Pool>, &str),
    options: &ImageOptions,
) -> Result<(), Refusal> {
    let failed = || error::ceph(format!("cannot clone image {from:?} to {to:?}"));
    let source = image::open(from_pool, from)?;
    let source = source.ok_or_else(|| failed()(rustix::io::Errno::NOENT.into()))?;
    match source.snapshot(snapshot) {
        // Of a call that ended before its clone: as good as ours only if it is taken anew.
        Err(error) if is(&error, rustix::io::Errno::EXIST) => {
            source.remove_snapshot(snapshot).and_then(|()| source.snapshot(snapshot)).map_err(failed())?;
        }
        outcome => outcome.map_err(failed())?,
    }
    let cloned = pool.clone_image(from_pool, (from, snapshot), to, options).map_err(failed());
    // Removed in any case: nothing needs it by its name.
    let removed = source.remove_snapshot(snapshot).map_err(failed());
    cloned.and(removed)
}
