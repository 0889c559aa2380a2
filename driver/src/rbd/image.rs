//! Images of volumes and snapshots: what is there, and how it goes.

use std::sync::Arc;

use rustix::io::Errno;

use crate::rbd::ceph::{self, Image, Pool, Trashed, is};
use crate::rbd::error;
use crate::rbd::names::{Kind, intermediate};
use crate::rbd::plan::Seen;
use crate::refusal::Refusal;

/// Opens an image to look at it; none if there is none.
///
/// # Errors
/// Ceph's.
pub(crate) fn look(pool: &Arc<Pool>, name: &str) -> Result<Option<Image>, Refusal> {
    let image = ceph::found(Image::look(pool, name));
    image.map_err(error::ceph(format!("cannot open image {name:?}")))
}

/// Opens an image to change it; none if there is none.
///
/// # Errors
/// Ceph's.
pub(crate) fn open(pool: &Arc<Pool>, name: &str) -> Result<Option<Image>, Refusal> {
    let image = ceph::found(Image::open(pool, name));
    image.map_err(error::ceph(format!("cannot open image {name:?}")))
}

/// What there is of an image.
///
/// # Errors
/// Ceph's.
pub(crate) fn seen(pool: &Arc<Pool>, name: &str, kind: Kind) -> Result<Option<Seen>, Refusal> {
    let Some(image) = look(pool, name)? else { return Ok(None) };
    let read = || {
        let is_whole = kind == Kind::Volume || image.has_snapshot(name)?;
        Ok(Seen { id: image.id()?, size: image.size()?, is_whole })
    };
    read().map(Some).map_err(error::ceph(format!("cannot look at image {name:?}")))
}

/// Removes a snapshot of an image; neither need be there.
///
/// # Errors
/// Ceph's.
pub(crate) fn remove_snapshot(pool: &Arc<Pool>, name: &str, snapshot: &str) -> Result<(), Refusal> {
    // Looked at first: whoever opens an image to change it disturbs who has it mapped.
    let what = || error::ceph(format!("cannot remove snapshot {snapshot:?} of image {name:?}"));
    let Some(seen) = look(pool, name)? else { return Ok(()) };
    if !seen.has_snapshot(snapshot).map_err(what())? {
        return Ok(());
    }
    drop(seen);
    let Some(image) = open(pool, name)? else { return Ok(()) };
    ceph::gone(image.remove_snapshot(snapshot)).map_err(what())
}

/// Removes an image; it need not be there, or may be in the trash. Tells whether it was there.
///
/// # Errors
/// FAILED_PRECONDITION when it is in use or has snapshots that somebody made by hand; Ceph's.
fn remove(pool: &Arc<Pool>, name: &str, mirrors: usize) -> Result<bool, Refusal> {
    let what = || error::ceph(format!("cannot remove image {name:?}"));
    if let Some(image) = look(pool, name)?
        && image.watchers().map_err(what())? > mirrors
    {
        return Err(Refusal::WrongState(format!("cannot remove image {name:?}: it is in use")));
    }
    let removed = match ceph::found(pool.remove_image(name)) {
        Err(error) if is(&error, Errno::NOTEMPTY) => {
            return Err(Refusal::WrongState(format!("cannot remove image {name:?}: it has snapshots")));
        }
        outcome => outcome.map_err(what())?,
    };
    // It is in the trash if it has clones. The last of them may have gone just before: then nobody else removes it.
    discard(pool, |trashed| trashed.name == name)?;
    Ok(removed.is_some())
}

/// Removes images from the trash. One that clones depend on stays; Ceph removes it with the last of them.
fn discard(pool: &Arc<Pool>, is_meant: impl Fn(&Trashed) -> bool) -> Result<(), Refusal> {
    let trash = pool.trash().map_err(error::ceph("cannot look into the trash"))?;
    for Trashed { id, name, .. } in trash.iter().filter(|trashed| is_meant(trashed)) {
        let mut removed = ceph::gone(pool.remove_trashed(id));
        if removed.as_ref().is_err_and(|error| is(error, Errno::UCLEAN)) {
            removed = finish_move(pool, id, name).and_then(|()| ceph::gone(pool.remove_trashed(id)));
        }
        match removed {
            Ok(()) => {}
            // A client that ended holds it for some more seconds; the caller tries again, and must not forget it before.
            Err(busy) if is(&busy, Errno::BUSY) => {
                return Err(Refusal::Held(format!("image {name:?} is open in another client")));
            }
            Err(kept) if is(&kept, Errno::NOTEMPTY) => {
                base::v!(4, "An image stays in the trash: clones depend on it"; "image" => name, "id" => id);
            }
            Err(error) => {
                return Err(error::ceph(format!("cannot remove image {name:?} from the trash"))(error));
            }
        }
    }
    Ok(())
}

/// Finishes a move to the trash, wherever whoever began it ended.
fn finish_move(pool: &Arc<Pool>, id: &str, name: &str) -> std::io::Result<()> {
    match pool.move_to_trash(name) {
        // It has no name any more: all but the last step is done.
        Err(nameless) if is(&nameless, Errno::NOENT) => match pool.settle_in_trash(id) {
            // Somebody else was faster.
            Err(settled) if is(&settled, Errno::STALE) || is(&settled, Errno::NOENT) => Ok(()),
            outcome => outcome,
        },
        outcome => outcome,
    }
}

/// Removes from the trash what went there for its clones, which are gone. Ceph does so when it removes the last clone; if
/// that was interrupted, as it may have been where an image is gone and the journal still has it, nobody else does.
fn sweep(pool: &Arc<Pool>) -> Result<(), Refusal> {
    discard(pool, |trashed| trashed.is_parent)
}

/// Removes the image of an in-tree volume.
///
/// # Errors
/// As [`remove_volume`].
pub(crate) fn remove_plain(pool: &Arc<Pool>, name: &str, mirrors: usize) -> Result<(), Refusal> {
    remove(pool, name, mirrors).map(drop)
}

/// Removes a volume's image, and the intermediate if it is a clone. What is gone already is fine.
///
/// # Errors
/// FAILED_PRECONDITION when it is in use or has snapshots that somebody made by hand; Ceph's.
pub(crate) fn remove_volume(pool: &Arc<Pool>, name: &str, mirrors: usize) -> Result<(), Refusal> {
    let was_there = remove(pool, name, mirrors)?;
    let between = intermediate(name);
    remove_snapshot(pool, &between, name)?;
    remove(pool, &between, mirrors)?;
    if was_there { Ok(()) } else { sweep(pool) }
}

/// Removes a snapshot's image, and what its making may have left on the image that it is of.
///
/// # Errors
/// As [`remove_volume`].
pub(crate) fn remove_snapshot_image(
    pool: &Arc<Pool>,
    name: &str,
    source: Option<&str>,
    mirrors: usize,
) -> Result<(), Refusal> {
    if let Some(source) = source {
        remove_snapshot(pool, source, name)?;
    }
    remove_snapshot(pool, name, name)?;
    if remove(pool, name, mirrors)? { Ok(()) } else { sweep(pool) }
}
