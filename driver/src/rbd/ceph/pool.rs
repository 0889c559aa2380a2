//! A pool, or a namespace of one: what images and objects are in.

use std::ffi::{CStr, c_int};
use std::io;
use std::ptr;
use std::sync::Arc;

use rustix::io::Errno;

use super::cluster::Cluster;
use super::layout::TrashEntry;
use super::library::{Library, Raw};
use super::options::ImageOptions;
use super::{c_string, checked, copied};

/// An image in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trashed {
    /// Its id.
    pub(crate) id: String,
    /// The name it had.
    pub(crate) name: String,
    /// It is there because clones depended on it, and is to go with the last of them.
    pub(crate) is_parent: bool,
}

/// `RBD_TRASH_IMAGE_SOURCE_USER_PARENT`.
const OF_PARENTS: c_int = 4;

/// A pool or a namespace of one.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(super) cluster: Arc<Cluster>,
    pub(super) raw: Raw,
    /// The pool's id.
    pub(crate) id: i64,
}

// SAFETY: a `rados_ioctx_t` may be used by several threads at once (librados.h) once its namespace is set, which is done
// before anybody else has it; it is freed once, by its owner.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

impl Pool {
    /// Opens a pool; an empty namespace is the default one.
    ///
    /// # Errors
    /// ENOENT.
    pub(crate) fn open(cluster: &Arc<Cluster>, id: i64, namespace: &str) -> io::Result<Self> {
        let namespace = c_string(namespace)?;
        let mut raw = ptr::null_mut();
        // SAFETY: the cluster is connected; `raw` is written on success.
        checked(unsafe { (cluster.library.rados_ioctx_create2)(cluster.raw, id, &raw mut raw) })?;
        // SAFETY: the pool is ours alone yet; the string is copied by the call.
        unsafe { (cluster.library.rados_ioctx_set_namespace)(raw, namespace.as_ptr()) };
        Ok(Self { cluster: Arc::clone(cluster), raw, id })
    }

    /// Another pool of the same cluster.
    ///
    /// # Errors
    /// ENOENT.
    pub(crate) fn sibling(&self, id: i64, namespace: &str) -> io::Result<Self> {
        Self::open(&self.cluster, id, namespace)
    }

    pub(super) fn library(&self) -> &'static Library {
        self.cluster.library
    }

    /// Makes an image of zeros.
    ///
    /// # Errors
    /// EEXIST; EINVAL for options that do not fit.
    pub(crate) fn create_image(&self, name: &str, size: u64, options: &ImageOptions) -> io::Result<()> {
        let name = c_string(name)?;
        let options = options.raw(self.library())?;
        // SAFETY: pool, string and options outlive the call.
        checked(unsafe { (self.library().rbd_create4)(self.raw, name.as_ptr(), size, options.raw) })?;
        Ok(())
    }

    /// Makes an image that begins with what a snapshot of an image in `parent` has, and stays its child.
    ///
    /// # Errors
    /// ENOENT; EEXIST.
    pub(crate) fn clone_image(
        &self,
        parent: &Pool,
        (image, snapshot): (&str, &str),
        name: &str,
        options: &ImageOptions,
    ) -> io::Result<()> {
        let (image, snapshot, name) = (c_string(image)?, c_string(snapshot)?, c_string(name)?);
        let options = options.raw(self.library())?;
        // SAFETY: pools, strings and options outlive the call.
        checked(unsafe {
            (self.library().rbd_clone3)(
                parent.raw,
                image.as_ptr(),
                snapshot.as_ptr(),
                self.raw,
                name.as_ptr(),
                options.raw,
            )
        })?;
        Ok(())
    }

    /// Removes an image. One whose snapshots live on in clones goes to the trash; Ceph removes it with the last of them.
    ///
    /// # Errors
    /// ENOENT; EBUSY while somebody has it open; ENOTEMPTY when it has snapshots of its own.
    pub(crate) fn remove_image(&self, name: &str) -> io::Result<()> {
        let name = c_string(name)?;
        // SAFETY: pool and string outlive the call.
        checked(unsafe { (self.library().rbd_remove)(self.raw, name.as_ptr()) }).map(|_| ())
    }

    /// Moves an image to the trash; or finishes that, if whoever began it ended.
    ///
    /// # Errors
    /// ENOENT, also where the beginner was a removal and came as far as the name: see [`Self::settle_in_trash`].
    pub(crate) fn move_to_trash(&self, name: &str) -> io::Result<()> {
        let name = c_string(name)?;
        // SAFETY: pool and string outlive the call.
        checked(unsafe { (self.library().rbd_trash_move)(self.raw, name.as_ptr(), 0) }).map(|_| ())
    }

    /// Says of an image that its move to the trash is done: the last step, which librbd does not resume where the move is a part of
    /// a removal and the name is gone already.
    ///
    /// # Errors
    /// ENOENT; ESTALE when the image is in another state than that of being moved.
    pub(crate) fn settle_in_trash(&self, id: &str) -> io::Result<()> {
        self.execute("rbd_trash", c"trash_state_set", &settling(id))
    }

    /// Has an object's OSD run a method of Ceph's class for images, which answers nothing.
    ///
    /// # Errors
    /// The method's.
    pub(super) fn execute(&self, object: &str, method: &CStr, request: &[u8]) -> io::Result<()> {
        let object = c_string(object)?;
        let mut nothing = [0; 1];
        // SAFETY: pool, names and request outlive the call; at most as many bytes as are given are written.
        checked(unsafe {
            (self.library().rados_exec)(
                self.raw,
                object.as_ptr(),
                c"rbd".as_ptr(),
                method.as_ptr(),
                request.as_ptr(),
                request.len(),
                nothing.as_mut_ptr(),
                nothing.len(),
            )
        })
        .map(|_| ())
    }

    /// Removes an image from the trash.
    ///
    /// # Errors
    /// ENOENT; EBUSY or ENOTEMPTY while clones depend on it; EUCLEAN when whoever moved it to the trash ended before it was
    /// there.
    pub(crate) fn remove_trashed(&self, id: &str) -> io::Result<()> {
        let id = c_string(id)?;
        // SAFETY: pool and string outlive the call.
        checked(unsafe { (self.library().rbd_trash_remove)(self.raw, id.as_ptr(), true) }).map(|_| ())
    }

    /// What is in the trash.
    ///
    /// # Errors
    /// Ceph's.
    pub(crate) fn trash(&self) -> io::Result<Vec<Trashed>> {
        let mut room = 64;
        loop {
            let empty = TrashEntry {
                id: ptr::null_mut(),
                name: ptr::null_mut(),
                source: 0,
                deleted: 0,
                kept_until: 0,
            };
            let mut entries = vec![empty; room];
            let mut count = room;
            // SAFETY: at most `count` entries are written; it is told how many there are.
            let outcome =
                unsafe { (self.library().rbd_trash_list)(self.raw, entries.as_mut_ptr(), &raw mut count) };
            match checked(outcome) {
                Err(error) if super::is(&error, Errno::RANGE) => {
                    room = count.max(2 * room);
                    continue;
                }
                Err(error) if super::is(&error, Errno::NOENT) => return Ok(Vec::new()),
                outcome => outcome?,
            };
            let written = entries.get(..count.min(room)).unwrap_or_default();
            let all = written.iter().map(|entry| {
                // SAFETY: Ceph wrote C strings, which are ours until the clean-up below.
                let (id, name) = unsafe { (copied(entry.id), copied(entry.name)) };
                Trashed { id, name, is_parent: entry.source == OF_PARENTS }
            });
            let all = all.collect();
            // SAFETY: these entries were written by rbd_trash_list and are cleaned up once.
            unsafe { (self.library().rbd_trash_list_cleanup)(entries.as_mut_ptr(), count.min(room)) };
            return Ok(all);
        }
    }
}

/// What the object class wants to be told: the image's id, the new state (normal), the state that it must be in (moving).
fn settling(id: &str) -> Vec<u8> {
    const NORMAL: u8 = 0;
    const MOVING: u8 = 1;
    [encoded(id), vec![NORMAL, MOVING]].concat()
}

/// A text as Ceph encodes it: its length, then itself.
pub(super) fn encoded(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes();
    [&length[..], text.as_bytes()].concat()
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: no image made from it is left, for each holds it; it is freed once.
        unsafe { (self.library().rados_ioctx_destroy)(self.raw) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settling_is_encoded_as_ceph_does() {
        assert_eq!(settling("10ab"), [4, 0, 0, 0, b'1', b'0', b'a', b'b', 0, 1]);
    }
}
