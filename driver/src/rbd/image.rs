//! Images of volumes and snapshots: what is there, and how it goes.

use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;

use crate::rbd::ceph::{self, Image, Pool, Trashed, is};
use crate::rbd::error;
use crate::rbd::held::Held;
use crate::rbd::names::{Kind, intermediate};
use crate::rbd::plan::Seen;
use crate::refusal::Refusal;

/// The trashed images that somebody had open.
static HELD: Held = Held::new();

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
    trash.iter().filter(|trashed| is_meant(trashed)).try_for_each(|trashed| remove_trashed(pool, trashed))
}

fn remove_trashed(pool: &Arc<Pool>, Trashed { id, name, .. }: &Trashed) -> Result<(), Refusal> {
    let mut removed = ceph::gone(pool.remove_trashed(id));
    if removed.as_ref().is_err_and(|error| is(error, Errno::UCLEAN)) {
        removed = finish_move(pool, id, name).and_then(|()| ceph::gone(pool.remove_trashed(id)));
    }
    match removed {
        Ok(()) => Ok(()),
        // A client that ended holds it for some more seconds; the caller tries again, and must not forget it before.
        Err(busy) if is(&busy, Errno::BUSY) => {
            Err(Refusal::Held(format!("image {name:?} is open in another client")))
        }
        Err(kept) if is(&kept, Errno::NOTEMPTY) => {
            base::v!(4, "An image stays in the trash: clones depend on it"; "image" => name, "id" => id);
            Ok(())
        }
        Err(error) => Err(error::ceph(format!("cannot remove image {name:?} from the trash"))(error)),
    }
}

/// What is left of a move to the trash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// The image still has its name: the move is begun anew, by the name.
    All,
    /// The last step, which is done by the image's id.
    State,
}

/// Decides what is left of the move of the image `id`, from the id of the image that has its name by now.
fn rest_of_move(named: Option<&str>, id: &str) -> Rest {
    if named == Some(id) { Rest::All } else { Rest::State }
}

/// Finishes a move to the trash, wherever whoever began it ended. When the image has no name any more, all but the last step is
/// done, and another image may be called so.
fn finish_move(pool: &Arc<Pool>, id: &str, name: &str) -> std::io::Result<()> {
    let named = ceph::found(Image::look(pool, name).and_then(|image| image.id()))?;
    let moved = match rest_of_move(named.as_deref(), id) {
        Rest::All => pool.move_to_trash(name),
        Rest::State => pool.settle_in_trash(id),
    };
    match moved {
        // Somebody else was faster.
        Err(settled) if is(&settled, Errno::STALE) || is(&settled, Errno::NOENT) => Ok(()),
        outcome => outcome,
    }
}

/// Removes from the trash what went there for its clones, which are gone. Ceph does so when it removes the last clone; if
/// that was interrupted, as it may have been where an image is gone and the journal still has it, nobody else does.
fn sweep(pool: &Arc<Pool>) -> Result<(), Refusal> {
    let trash = pool.trash().map_err(error::ceph("cannot look into the trash"))?;
    let parents = trash.into_iter().filter(|trashed| trashed.is_parent);
    each(parents, |trashed| {
        let key = (pool.id, trashed.id.clone());
        match remove_trashed(pool, trashed) {
            Err(Refusal::Held(_)) if HELD.has_lasted(key.clone(), Instant::now()) => Ok(()),
            held @ Err(Refusal::Held(_)) => held,
            outcome => {
                HELD.forget(&key);
                outcome
            }
        }
    })
}

/// Does the same about each image of the trash. What fails is another call's image as likely as this one's: it is logged, and this
/// call goes on. An outage ends it, and so does, at the end, an image that may be free in some seconds.
fn each(
    trash: impl Iterator<Item = Trashed>,
    remove: impl Fn(&Trashed) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut held = Ok(());
    for trashed in trash {
        match remove(&trashed) {
            Ok(()) => {}
            outage @ Err(Refusal::Outage { .. }) => return outage,
            busy @ Err(Refusal::Held(_)) => held = busy,
            Err(refusal) => {
                base::warn!("An image stays in the trash"; "image" => trashed.name, "id" => trashed.id, "reason" => refusal);
            }
        }
    }
    held
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_move_is_finished_by_name_only_while_the_name_is_its_own() {
        for (named, expected) in
            [(Some("10ab"), Rest::All), (None, Rest::State), (Some("another"), Rest::State)]
        {
            assert_eq!(rest_of_move(named, "10ab"), expected, "{named:?}");
        }
    }

    #[test]
    fn one_image_in_the_trash_does_not_block_the_others() {
        let busy = || Err(Refusal::Held("open".to_owned()));
        let linked = || Err(error::ceph("cannot")(Errno::MLINK.into()));
        let outage = || Err(error::ceph("cannot")(Errno::TIMEDOUT.into()));
        for (first, tried, code) in [
            (&linked as &dyn Fn() -> Result<(), Refusal>, 2, None),
            (&busy, 2, Some(tonic::Code::Aborted)),
            (&outage, 1, Some(tonic::Code::Unavailable)),
        ] {
            let seen = RefCell::new(0);
            let trash =
                ["a", "b"].map(|id| Trashed { id: id.to_owned(), name: String::new(), is_parent: true });
            let outcome = each(trash.into_iter(), |trashed| {
                *seen.borrow_mut() += 1;
                if trashed.id == "a" { first() } else { Ok(()) }
            });
            assert_eq!(*seen.borrow(), tried);
            assert_eq!(outcome.err().map(|refusal| refusal.code()), code);
        }
    }
}
