//! Folders and files of the local disk.
//!
//! ```text
//! <driver's folder>/<name>        a volume: folder (an empty one has mode 0777) or device file
//! <driver's folder>/<name>.snap   a snapshot: folder, device file, or a Go driver's gzip tar archive
//! <driver's folder>/.new/...      prepared, not kept
//! <driver's folder>/.old/...      retired, not yet removed
//! ```
//! Between these places content moves by rename, which is atomic. Content is on the disk before it is
//! recorded, and a retirement before the record goes, so that a power cut leaves neither a record without
//! content nor content without a record in the driver's folder. Only `.new` and `.old` are ever
//! cleaned; a stranger's file in the folder is never touched. Recorded content that is still in the former
//! folder (the Go driver's or an earlier version's) moves here at the start. All access is beneath one open
//! folder (openat2 with RESOLVE_BENEATH and no links), so no name can lead out of it.
//!
//! A device's file has all its space from the beginning, so that writing to it never fails for want of
//! space; or takes it when it is written ([`Space`]). So in the first case it shares no blocks with a snapshot or a
//! clone either. Snapshots keep their holes. A file system that writes everything to a new place (btrfs) cannot keep
//! that promise.
//!
//! Differs: snapshots of folders are copies (reflinks or sparse where the file system can) instead of
//! gzip archives; archives of the Go driver are still restored. Loop devices exist while a block volume
//! is published instead of from its creation, and a read-only publication gets a read-only device.

mod copy;
mod make;
mod remove;
pub mod unpack;

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, ResolveFlags, StatVfsMountFlags, Uid};
use rustix::io::Errno;

use super::{Backend, Content, Disk, Item, Kind, Occupant, is_plain_name};
use crate::loopdev;
use crate::mount::table;
use crate::store::Access;

const NEW: &str = ".new";
const OLD: &str = ".old";
/// Access to volume folders is the users' business.
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o777);
const FILE_MODE: Mode = Mode::from_raw_mode(0o600);
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// When a device's file takes its space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// When it is made or grown.
    AtOnce,
    /// When it is written: for tests.
    WhenWritten,
}

/// The local disk.
#[derive(Debug)]
pub struct Hostpath {
    path: PathBuf,
    root: OwnedFd,
    new: OwnedFd,
    old: OwnedFd,
    /// Where recorded content may lie that was taken over.
    former: OwnedFd,
    space: Space,
    /// Marks this folder's loop devices.
    tag: String,
    /// What was found in `.new` or `.old` at the start: place and name. Names never repeat, so none of them
    /// is made again.
    leftovers: Mutex<Vec<(&'static str, OsString)>>,
}

impl Hostpath {
    /// Content in `folder`, or taken over from the folder `former`. Both must exist.
    ///
    /// # Errors
    /// The system's.
    pub fn open(folder: &Path, former: &Path, space: Space) -> io::Result<Self> {
        let path = folder.canonicalize()?;
        let root = rustix::fs::openat(CWD, &path, folder_flags(), Mode::empty())?;
        let sub = |name: &str| -> io::Result<OwnedFd> {
            match rustix::fs::mkdirat(&root, name, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            Ok(rustix::fs::openat2(&root, name, folder_flags(), Mode::empty(), BENEATH)?)
        };
        let (new, old) = (sub(NEW)?, sub(OLD)?);
        let stat = rustix::fs::fstat(&root)?;
        let former = rustix::fs::openat(CWD, former, folder_flags(), Mode::empty())?;
        Ok(Self {
            path,
            root,
            new,
            old,
            former,
            space,
            tag: loopdev::tag((stat.st_dev, stat.st_ino)),
            leftovers: Mutex::default(),
        })
    }

    /// The file name of an item.
    fn file_name(item: &Item) -> io::Result<String> {
        if !is_plain_name(&item.name) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{:?} is no name", item.name)));
        }
        Ok(match item.kind {
            Kind::Volume => item.name.clone(),
            Kind::Snapshot | Kind::Archive => format!("{}.snap", item.name),
        })
    }

    /// The path of an item, for system calls that take no folder handle.
    fn path(&self, item: &Item) -> io::Result<PathBuf> {
        Ok(self.path.join(Self::file_name(item)?))
    }

    fn open_folder(at: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
        Ok(rustix::fs::openat2(at, name, folder_flags(), Mode::empty(), BENEATH)?)
    }

    fn open_file(at: &OwnedFd, name: &str, access: OFlags) -> io::Result<File> {
        let flags = access | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(File::from(rustix::fs::openat2(at, name, flags, Mode::empty(), BENEATH)?))
    }

    fn leftovers(&self) -> MutexGuard<'_, Vec<(&'static str, OsString)>> {
        self.leftovers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The files of the block volumes among these.
    fn devices(&self, items: &[Item]) -> io::Result<HashMap<loopdev::Identity, String>> {
        let mut found = HashMap::new();
        for item in items.iter().filter(|item| item.kind == Kind::Volume && item.access == Access::Block) {
            match rustix::fs::statat(&self.root, Self::file_name(item)?, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => _ = found.insert((stat.st_dev, stat.st_ino), item.name.clone()),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    /// As [`Self::devices`], without those that cannot be looked at.
    fn devices_that_are_there(&self, items: &[Item]) -> HashMap<loopdev::Identity, String> {
        let each = items.iter().filter_map(|item| self.devices(std::slice::from_ref(item)).ok());
        each.flatten().collect()
    }

    /// Notes what is in `.new` or `.old`, but for what is recorded and could not be brought to its place.
    fn note_leftovers(&self, place: &'static str, unsettled: &[Item]) -> io::Result<()> {
        let owned: HashSet<String> = unsettled.iter().filter_map(|item| Self::file_name(item).ok()).collect();
        for entry in std::fs::read_dir(self.path.join(place))? {
            let name = entry?.file_name();
            if !name.to_str().is_some_and(|name| owned.contains(name)) {
                self.leftovers().push((place, name));
            }
        }
        Ok(())
    }

    /// Brings one recorded item to its place, wherever a kill left it.
    fn settle(&self, item: &Item) -> io::Result<()> {
        let name = Self::file_name(item)?;
        if exists(&self.root, &name)? {
            return Ok(());
        }
        match rustix::fs::renameat(&self.former, name.as_str(), &self.root, name.as_str()) {
            Ok(()) => return sync(&self.root),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        match self.keep(item) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Reported as the volume's health; its record stays, so that it can be deleted.
                base::warn!("The content of a recorded object is missing"; "name" => name);
                Ok(())
            }
            outcome => outcome,
        }
    }
}

impl Backend for Hostpath {
    fn recover(&self, recorded: &[Item], in_use: &[Item]) -> Vec<Item> {
        let mut unsettled = Vec::new();
        for item in recorded {
            if let Err(error) = self.settle(item) {
                base::error!(error, "Cannot take up the content of a recorded object"; "name" => item.name);
                unsettled.push(item.clone());
            }
        }
        for place in [NEW, OLD] {
            if let Err(error) = self.note_leftovers(place, &unsettled) {
                base::error!(error, "Cannot list content that nothing owns"; "place" => place);
            }
        }
        // A file that cannot be looked at may be behind any of the devices.
        let detached = self.devices(in_use).and_then(|in_use| {
            loopdev::detach_strays(&self.path, &self.tag, &self.devices_that_are_there(recorded), &in_use)
        });
        if let Err(error) = detached {
            base::error!(error, "Cannot let go of loop devices that nothing uses");
        }
        unsettled
    }

    fn clean(&self) -> io::Result<()> {
        let leftovers = std::mem::take(&mut *self.leftovers());
        let mut first = Ok(());
        for (place, name) in leftovers {
            base::info!("Removing content that nothing owns"; "name" => name.display());
            let at = if place == NEW { &self.new } else { &self.old };
            let removed = remove::remove(at, &name);
            if let Err(error) = &removed {
                base::error!(error, "Cannot remove content that nothing owns"; "name" => name.display());
            }
            first = first.and(removed);
        }
        first
    }

    fn prepare(&self, item: &Item, size: u64, content: Content<'_>) -> io::Result<()> {
        let name = Self::file_name(item)?;
        let made = match item.access {
            Access::Mount => self.make_folder(&name, content),
            Access::Block => self.make_file(&name, size, content),
        };
        let made = made.and_then(|()| sync(&self.new));
        if made.is_err() {
            // The reason counts, not whether cleaning worked: a restart cleans as well.
            let _ = remove::remove(&self.new, name.as_ref());
        }
        made
    }

    fn keep(&self, item: &Item) -> io::Result<()> {
        let name = Self::file_name(item)?;
        for place in [&self.new, &self.old] {
            match rustix::fs::renameat(place, name.as_str(), &self.root, name.as_str()) {
                Ok(()) => return sync(&self.root).and_then(|()| sync(place)),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if exists(&self.root, &name)? { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn retire(&self, item: &Item) -> io::Result<()> {
        let name = Self::file_name(item)?;
        match rustix::fs::renameat(&self.root, name.as_str(), &self.old, name.as_str()) {
            Ok(()) => sync(&self.old).and_then(|()| sync(&self.root)),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn remove(&self, item: &Item) -> io::Result<()> {
        let name = Self::file_name(item)?;
        remove::remove(&self.new, name.as_ref())?;
        remove::remove(&self.old, name.as_ref())
    }

    fn grow(&self, volume: &Item, size: u64) -> io::Result<()> {
        if volume.access == Access::Block {
            let file = Self::open_file(&self.root, &Self::file_name(volume)?, OFlags::RDWR)?;
            if file.metadata()?.len() < size {
                self.extend(&file, size)?;
                file.sync_all()?;
            }
        }
        Ok(())
    }

    fn refresh(&self, volume: &Item) -> io::Result<()> {
        match volume.access {
            Access::Mount => Ok(()),
            Access::Block => loopdev::refresh(&self.path(volume)?, &self.tag),
        }
    }

    fn attach(&self, volume: &Item, readonly: bool) -> io::Result<PathBuf> {
        let path = self.path(volume)?;
        match volume.access {
            Access::Mount => {
                Self::open_folder(&self.root, &Self::file_name(volume)?)?;
                Ok(path)
            }
            Access::Block => {
                let access = if readonly { OFlags::RDONLY } else { OFlags::RDWR };
                let file = Self::open_file(&self.root, &Self::file_name(volume)?, access)?;
                loopdev::attach(&file, &path, readonly, &self.tag)
            }
        }
    }

    fn detach(&self, volume: &Item, readonly: bool) -> io::Result<()> {
        match volume.access {
            Access::Mount => Ok(()),
            Access::Block => loopdev::detach(&self.path(volume)?, readonly, &self.tag),
        }
    }

    fn occupant(&self, volume: &Item, target: &Path) -> io::Result<Occupant> {
        match volume.access {
            Access::Block => loopdev::occupant(target, &self.path(volume)?, &self.tag),
            Access::Mount => {
                let place = table::place(&self.path)?.join(&Self::file_name(volume)?);
                let is_it = table::entry(target)?.root == place;
                Ok(if is_it { Occupant::Volume } else { Occupant::Stranger })
            }
        }
    }

    fn open(&self, item: &Item) -> io::Result<File> {
        Self::open_file(&self.root, &Self::file_name(item)?, OFlags::RDONLY)
    }

    fn is_there(&self, volume: &Item) -> io::Result<bool> {
        exists(&self.root, &Self::file_name(volume)?)
    }

    fn disk(&self) -> io::Result<Disk> {
        // The open folder answers for ever; publishing goes by the path.
        let (open, named) = (rustix::fs::fstat(&self.root)?, rustix::fs::stat(&self.path)?);
        if (open.st_dev, open.st_ino) != (named.st_dev, named.st_ino) {
            return Err(io::Error::other(format!(
                "{} is another folder than at the driver's start",
                self.path.display()
            )));
        }
        let stat = rustix::fs::fstatvfs(&self.root)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        let mut disk = Disk {
            total: bytes(stat.f_blocks),
            available: bytes(stat.f_bavail),
            readonly: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
        };
        // A file system that gave up after an error may show it only to who writes. The file has no name.
        let nameless = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.new, ".", nameless, FILE_MODE) {
            Ok(_) => {}
            Err(Errno::ROFS) => disk.readonly = true,
            Err(Errno::NOSPC | Errno::DQUOT) => disk.available = 0,
            // It has no nameless files.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {}
            // That is about this process or the node, not about the disk.
            Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(disk)
    }
}

/// Brings a folder's names to the disk.
fn sync(folder: &OwnedFd) -> io::Result<()> {
    Ok(rustix::fs::fsync(folder)?)
}

fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC
}

fn exists(at: &OwnedFd, name: &str) -> io::Result<bool> {
    match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Owner of what a copy makes.
fn owner(uid: u32, gid: u32) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
}

#[cfg(test)]
mod tests;
