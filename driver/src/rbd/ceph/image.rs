//! An open image.

use std::ffi::c_char;
use std::io;
use std::ptr;
use std::sync::Arc;

use rustix::io::Errno;

use super::layout::{LinkedImage, SnapInfo, SnapSpec, Watcher};
use super::library::{Library, Raw};
use super::pool::{Pool, encoded};
use super::{c_string, checked, copied};

/// The longest image id, and the longest note.
const MAX_ID: usize = 128;
/// More watchers than this are counted as this many.
const MAX_WATCHERS: usize = 64;

/// The snapshot that an image is a clone of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parent {
    /// The id of the image's pool.
    pub(crate) pool: i64,
    /// The pool's namespace.
    pub(crate) namespace: String,
    /// The image's id.
    pub(crate) id: String,
}

/// An open image; closed when it is dropped.
#[derive(Debug)]
pub(crate) struct Image {
    pool: Arc<Pool>,
    raw: Raw,
}

// SAFETY: an `rbd_image_t` may be handed to another thread; it is used by one at a time, for Image is not Sync.
unsafe impl Send for Image {}

impl Image {
    /// Opens an image to change it.
    ///
    /// # Errors
    /// ENOENT.
    pub(crate) fn open(pool: &Arc<Pool>, name: &str) -> io::Result<Self> {
        Self::open_with(pool, name, pool.library().rbd_open)
    }

    /// Opens an image to look at it: it may be in use elsewhere, and nobody sees us.
    ///
    /// # Errors
    /// ENOENT.
    pub(crate) fn look(pool: &Arc<Pool>, name: &str) -> io::Result<Self> {
        Self::open_with(pool, name, pool.library().rbd_open_read_only)
    }

    /// As [`Self::look`], by the image's id: it may be in the trash.
    ///
    /// # Errors
    /// ENOENT.
    pub(crate) fn look_by_id(pool: &Arc<Pool>, id: &str) -> io::Result<Self> {
        Self::open_with(pool, id, pool.library().rbd_open_by_id_read_only)
    }

    fn open_with(
        pool: &Arc<Pool>,
        name: &str,
        open: unsafe extern "C" fn(Raw, *const c_char, *mut Raw, *const c_char) -> i32,
    ) -> io::Result<Self> {
        let name = c_string(name)?;
        let mut raw = ptr::null_mut();
        // SAFETY: pool and string outlive the call; `raw` is written on success; no snapshot is meant.
        checked(unsafe { open(pool.raw, name.as_ptr(), &raw mut raw, ptr::null()) })?;
        Ok(Self { pool: Arc::clone(pool), raw })
    }

    fn library(&self) -> &'static Library {
        self.pool.library()
    }

    /// Its size in bytes.
    ///
    /// # Errors
    /// Ceph's.
    pub(crate) fn size(&self) -> io::Result<u64> {
        let mut size = 0;
        // SAFETY: the image is open; the number is written.
        checked(unsafe { (self.library().rbd_get_size)(self.raw, &raw mut size) })?;
        Ok(size)
    }

    /// Its id.
    ///
    /// # Errors
    /// Ceph's.
    pub(crate) fn id(&self) -> io::Result<String> {
        let mut id: [c_char; MAX_ID] = [0; MAX_ID];
        // SAFETY: at most as many bytes as are given are written, the last one zero; so there is a C string.
        unsafe {
            checked((self.library().rbd_get_id)(self.raw, id.as_mut_ptr(), MAX_ID))?;
            Ok(copied(id.as_ptr()))
        }
    }

    /// When it was made, in seconds and nanoseconds since 1970.
    ///
    /// # Errors
    /// Ceph's.
    pub(crate) fn created(&self) -> io::Result<(i64, i32)> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the image is open; the time is written.
        checked(unsafe { (self.library().rbd_get_create_timestamp)(self.raw, &raw mut time) })?;
        Ok((time.tv_sec, i32::try_from(time.tv_nsec).unwrap_or(0)))
    }

    /// What it is a clone of, if it is one.
    ///
    /// # Errors
    /// Ceph's.
    pub(crate) fn parent(&self) -> io::Result<Option<Parent>> {
        let null = ptr::null_mut;
        let mut image = LinkedImage {
            pool_id: 0,
            pool_name: null(),
            pool_namespace: null(),
            image_id: null(),
            image_name: null(),
            trash: false,
        };
        let mut snapshot = SnapSpec { id: 0, namespace: 0, name: null() };
        // SAFETY: the image is open; both structures are written on success.
        let outcome = unsafe { (self.library().rbd_get_parent)(self.raw, &raw mut image, &raw mut snapshot) };
        if super::found(checked(outcome))?.is_none() {
            return Ok(None);
        }
        // SAFETY: Ceph wrote C strings, which are copied and then freed, once.
        unsafe {
            let parent = Parent {
                pool: image.pool_id,
                namespace: copied(image.pool_namespace),
                id: copied(image.image_id),
            };
            (self.library().rbd_linked_image_spec_cleanup)(&raw mut image);
            (self.library().rbd_snap_spec_cleanup)(&raw mut snapshot);
            Ok(Some(parent))
        }
    }

    /// How many clients have it open to change it, ourselves included where this one is.
    ///
    /// # Errors
    /// Ceph's.
    pub(crate) fn watchers(&self) -> io::Result<usize> {
        let mut watchers = [Watcher { address: ptr::null_mut(), id: 0, cookie: 0 }; MAX_WATCHERS];
        let mut count = MAX_WATCHERS;
        // SAFETY: the image is open; at most `count` entries are written.
        let outcome =
            unsafe { (self.library().rbd_watchers_list)(self.raw, watchers.as_mut_ptr(), &raw mut count) };
        match checked(outcome) {
            Err(error) if super::is(&error, Errno::RANGE) => return Ok(MAX_WATCHERS),
            outcome => outcome?,
        };
        // SAFETY: these entries were written by rbd_watchers_list and are cleaned up once.
        unsafe { (self.library().rbd_watchers_list_cleanup)(watchers.as_mut_ptr(), count) };
        Ok(count)
    }

    /// Makes it larger; a smaller size is refused with EINVAL.
    ///
    /// # Errors
    /// Ceph's.
    pub(crate) fn grow(&self, size: u64) -> io::Result<()> {
        /// Nobody wants to know.
        extern "C" fn untold(_: u64, _: u64, _: Raw) -> i32 {
            0
        }
        // SAFETY: the image is open to be changed; it may not shrink. The function uses nothing of what it is given.
        let outcome = unsafe { (self.library().rbd_resize2)(self.raw, size, false, untold, ptr::null_mut()) };
        checked(outcome).map(|_| ())
    }

    /// Takes a snapshot of it.
    ///
    /// # Errors
    /// EEXIST.
    pub(crate) fn snapshot(&self, name: &str) -> io::Result<()> {
        let name = c_string(name)?;
        // SAFETY: the image is open; the string outlives the call.
        checked(unsafe { (self.library().rbd_snap_create)(self.raw, name.as_ptr()) }).map(|_| ())
    }

    /// Removes a snapshot. One that has clones stays, without a name, until they are gone.
    ///
    /// # Errors
    /// ENOENT.
    pub(crate) fn remove_snapshot(&self, name: &str) -> io::Result<()> {
        let name = c_string(name)?;
        // SAFETY: the image is open; the string outlives the call.
        checked(unsafe { (self.library().rbd_snap_remove)(self.raw, name.as_ptr()) }).map(|_| ())
    }

    /// Whether it has a snapshot of this name.
    ///
    /// # Errors
    /// Ceph's.
    pub(crate) fn has_snapshot(&self, name: &str) -> io::Result<bool> {
        let name = c_string(name)?;
        let mut exists = false;
        // SAFETY: the image is open; the string outlives the call; the answer is written.
        checked(unsafe { (self.library().rbd_snap_exists)(self.raw, name.as_ptr(), &raw mut exists) })?;
        Ok(exists)
    }

    /// The names of its snapshots.
    ///
    /// # Errors
    /// Ceph's.
    pub(crate) fn snapshots(&self) -> io::Result<Vec<String>> {
        let mut room: i32 = 64;
        loop {
            let empty = SnapInfo { id: 0, size: 0, name: ptr::null() };
            // One more: Ceph ends the list with an entry without a name.
            let mut entries = vec![empty; usize::try_from(room).unwrap_or(0) + 1];
            let mut count = room;
            // SAFETY: at most `count` entries are written, and the one without a name; it is told how many there are.
            let outcome =
                unsafe { (self.library().rbd_snap_list)(self.raw, entries.as_mut_ptr(), &raw mut count) };
            match checked(outcome) {
                Err(error) if super::is(&error, Errno::RANGE) => {
                    room = count.max(room.saturating_mul(2));
                    continue;
                }
                outcome => outcome?,
            };
            // SAFETY: Ceph wrote C strings, which are ours until the clean-up below; it frees them up to the one without a name.
            let names = entries.iter().take_while(|entry| !entry.name.is_null());
            let names = names.map(|entry| unsafe { copied(entry.name) }).collect();
            // SAFETY: these entries were written by rbd_snap_list and are cleaned up once; the last of them has no name.
            unsafe { (self.library().rbd_snap_list_end)(entries.as_mut_ptr()) };
            return Ok(names);
        }
    }

    /// What is noted on it under a key; none if nothing is.
    ///
    /// # Errors
    /// ERANGE for a long text.
    pub(crate) fn metadata(&self, key: &str) -> io::Result<Option<String>> {
        let key = c_string(key)?;
        let mut value: [c_char; MAX_ID] = [0; MAX_ID];
        let mut room = MAX_ID;
        // SAFETY: the image is open; at most as many bytes as there is room are written, the last one zero on success.
        unsafe {
            let outcome =
                (self.library().rbd_metadata_get)(self.raw, key.as_ptr(), value.as_mut_ptr(), &raw mut room);
            Ok(super::found(checked(outcome))?.map(|_| copied(value.as_ptr())))
        }
    }

    /// Notes something on it under a key, or removes the note; an absent one is fine then. The image's header is told itself, past
    /// librbd: that would take the image's exclusive lock, which who maps it may never give back.
    ///
    /// # Errors
    /// Ceph's.
    pub(crate) fn set_metadata(&self, key: &str, value: Option<&str>) -> io::Result<()> {
        let header = format!("rbd_header.{}", self.id()?);
        match value {
            Some(value) => self.pool.execute(&header, c"metadata_set", &noting(key, value)),
            None => super::gone(self.pool.execute(&header, c"metadata_remove", &encoded(key))),
        }
    }

    /// Copies from the parent what the image still has from there, so that it has no parent.
    ///
    /// # Errors
    /// EINVAL when it has none.
    pub(crate) fn flatten(&self) -> io::Result<()> {
        // SAFETY: the image is open to be changed.
        checked(unsafe { (self.library().rbd_flatten)(self.raw) }).map(|_| ())
    }
}

/// What the object class wants to be told: a map with one entry.
fn noting(key: &str, value: &str) -> Vec<u8> {
    [1_u32.to_le_bytes().to_vec(), encoded(key), encoded(value)].concat()
}

impl Drop for Image {
    fn drop(&mut self) {
        // SAFETY: it was opened by us and is closed once.
        let outcome = unsafe { (self.library().rbd_close)(self.raw) };
        if outcome < 0 {
            base::warn!("Cannot close an image well"; "errno" => -outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_encoded_as_ceph_does() {
        let expected = [1, 0, 0, 0, 1, 0, 0, 0, b'k', 2, 0, 0, 0, b'1', b'0'];
        assert_eq!(noting("k", "10"), expected);
    }
}
