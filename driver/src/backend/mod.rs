//! Where the content of volumes and snapshots lives.
//!
//! Everything above this trait (names, idempotency, limits, records, publishing) is the same for every
//! kind of storage. A backend keeps bytes under names that never repeat and that only this driver makes.
//!
//! # What a backend promises
//! 1. **Prepared content is invisible until kept.** [`Backend::prepare`] may take long and may be killed
//!    anywhere; what it leaves is either removed by [`Backend::clean`] or finished by
//!    [`Backend::keep`]. The record is written between the two, so that content is kept if and only if it
//!    is recorded.
//! 2. **Removal can be taken back until it is recorded.** [`Backend::retire`] hides content,
//!    [`Backend::keep`] shows it again, [`Backend::remove`] destroys it.
//! 3. **Every call may be repeated.** Keeping what is kept, retiring what is retired, removing what is
//!    gone: all succeed.
//! 4. **Calls block**; the driver runs them off its async threads. Calls for one item never overlap, except
//!    reads (a copy of it, [`Backend::open`]).
//! 5. **Copies are whole or an error**, cut at one moment as far as the storage can; holes stay holes.
//! 6. **No call follows what a volume's user wrote**: links and names inside a volume lead nowhere else.

pub mod hostpath;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::store::{Access, Snapshot, Volume};

/// In a state folder: holds the folders of all drivers. No id of a volume is this word.
pub(crate) const DRIVERS: &str = "drivers";

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A volume: users read and write it.
    Volume,
    /// A snapshot: nobody writes it.
    Snapshot,
    /// A folder's snapshot as the archive that the Go driver wrote.
    Archive,
}

/// The name of some content, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its name; see [`is_plain_name`].
    pub name: String,
    /// Volume or snapshot.
    pub kind: Kind,
    /// Folder or device.
    pub access: Access,
}

impl From<&Volume> for Item {
    fn from(volume: &Volume) -> Self {
        Self { name: volume.data.clone(), kind: Kind::Volume, access: volume.access }
    }
}

impl From<&Snapshot> for Item {
    fn from(snapshot: &Snapshot) -> Self {
        let kind = if snapshot.archive { Kind::Archive } else { Kind::Snapshot };
        Self { name: snapshot.data.clone(), kind, access: snapshot.access }
    }
}

/// What new content begins with.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// Nothing: an empty folder, a device of zeros.
    Empty,
    /// What this item holds now. It has the same access type.
    CopyOf(&'a Item),
}

/// The file system that the storage is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Its size in bytes.
    pub total: u64,
    /// Bytes left for users; 0 also when no file can be made for want of inodes or quota.
    pub available: u64,
    /// Nothing can be written to it.
    pub readonly: bool,
}

/// What is mounted where a volume is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occupant {
    /// The volume.
    Volume,
    /// What was the volume: a device that was let go of.
    Remains,
    /// Something else.
    Stranger,
}

/// A kind of storage. See the module for what each call must promise.
pub trait Backend: Send + Sync + 'static {
    /// After a start, before anything else: keeps all that is recorded, notes what was prepared or retired
    /// and is not, and lets go of devices that no volume in `in_use` needs. What fails is logged and left as it is:
    /// one bad inode must not stop the driver. Returns what is recorded and could not be kept.
    fn recover(&self, recorded: &[Item], in_use: &[Item]) -> Vec<Item>;

    /// Removes what [`Backend::recover`] noted, beside any other call.
    ///
    /// # Errors
    /// The first of the system's; all else that was noted is removed then.
    fn clean(&self) -> io::Result<()>;

    /// Makes new content of `size` bytes (a folder may ignore the size). Nobody sees it yet.
    ///
    /// # Errors
    /// The system's, such as a full disk; what was made so far is gone then.
    fn prepare(&self, item: &Item, size: u64, content: Content<'_>) -> io::Result<()>;

    /// Makes prepared or retired content permanent and visible.
    ///
    /// # Errors
    /// The system's, when there is no such content.
    fn keep(&self, item: &Item) -> io::Result<()>;

    /// Hides content that is about to be removed.
    ///
    /// # Errors
    /// The system's. Absent content is no error.
    fn retire(&self, item: &Item) -> io::Result<()>;

    /// Destroys prepared or retired content.
    ///
    /// # Errors
    /// The system's. Absent content is no error.
    fn remove(&self, item: &Item) -> io::Result<()>;

    /// Makes a device at least `size` bytes large; folders have no size.
    ///
    /// # Errors
    /// The system's.
    fn grow(&self, volume: &Item, size: u64) -> io::Result<()>;

    /// Lets the node's open devices of a volume see its present size.
    ///
    /// # Errors
    /// The system's.
    fn refresh(&self, volume: &Item) -> io::Result<()>;

    /// The path to bind to a target: the folder, or the node's device for the volume (made if need be).
    ///
    /// # Errors
    /// The system's.
    fn attach(&self, volume: &Item, readonly: bool) -> io::Result<PathBuf>;

    /// Lets go of the node's device, if there is one.
    ///
    /// # Errors
    /// The system's.
    fn detach(&self, volume: &Item, readonly: bool) -> io::Result<()>;

    /// What the topmost mount at `target` is. It may be asked after the content is gone.
    ///
    /// # Errors
    /// The system's, such as that there is no `target`.
    fn occupant(&self, volume: &Item, target: &Path) -> io::Result<Occupant>;

    /// A device's content, for reading.
    ///
    /// # Errors
    /// The system's.
    fn open(&self, item: &Item) -> io::Result<File>;

    /// Whether a volume has its content.
    ///
    /// # Errors
    /// The system's: it cannot be known.
    fn is_there(&self, volume: &Item) -> io::Result<bool>;

    /// The file system that all content is on.
    ///
    /// # Errors
    /// The system's: the storage cannot be reached.
    fn disk(&self) -> io::Result<Disk>;
}

/// Whether a name can be a file name and nothing else: 1 to 128 of letters, digits, `-`, `_`, `.`, the
/// first one not a dot.
pub fn is_plain_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}
