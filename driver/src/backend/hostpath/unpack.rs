//! Restoring an archive that the Go driver wrote (gzip tar of a folder's content).

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use flate2::read::GzDecoder;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, XattrFlags};
use rustix::io::Errno;
use tar::EntryType;

use super::copy::may_be_denied;
use super::{folder_flags, owner};

/// In an archive, keys of extended attributes begin with this.
const XATTR: &str = "SCHILY.xattr.";
const HERE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

type Entry<'a> = tar::Entry<'a, GzDecoder<BufReader<File>>>;

/// Unpacks into a folder that nobody else sees yet. Entries whose names or links would lead out of it
/// are left out.
///
/// # Errors
/// The system's, and those of an archive that cannot be read.
pub fn unpack(archive: File, folder: &Path) -> io::Result<()> {
    let root = rustix::fs::openat(CWD, folder, folder_flags(), Mode::empty())?;
    let mut archive = tar::Archive::new(GzDecoder::new(BufReader::new(archive)));
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(rustix::process::geteuid().is_root());
    archive.set_overwrite(true);
    let mut folders = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        match entry.header().entry_type() {
            // Last: what is put into a folder changes its times, and its mode may forbid it.
            EntryType::Directory => folders.push(entry),
            EntryType::Fifo | EntryType::Char | EntryType::Block => make_node(&root, &entry)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                if entry.unpack_in(folder)? {
                    set_xattrs(&root, &mut entry)?;
                }
            }
            _ => _ = entry.unpack_in(folder)?,
        }
    }
    // The inner ones first.
    folders.sort_by(|one, other| other.path_bytes().cmp(&one.path_bytes()));
    for mut entry in folders {
        if entry.unpack_in(folder)? {
            if entry.path()?.components().all(|part| part == Component::CurDir) {
                // The folder itself, which the archive reader leaves as it is.
                set_owner_and_mode(&root, &entry)?;
            }
            set_xattrs(&root, &mut entry)?;
        }
    }
    Ok(())
}

/// Makes a pipe or a device node, which the archive reader does not.
fn make_node(root: &OwnedFd, entry: &Entry<'_>) -> io::Result<()> {
    let header = entry.header();
    let kind = match header.entry_type() {
        EntryType::Char => FileType::CharacterDevice,
        EntryType::Block => FileType::BlockDevice,
        _ => FileType::Fifo,
    };
    let path = entry.path()?;
    let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else { return Ok(()) };
    let Some(parent) = parent_folder(root, parent)? else { return Ok(()) };
    let number = |part: io::Result<Option<u32>>| part.map(Option::unwrap_or_default);
    let device = rustix::fs::makedev(number(header.device_major())?, number(header.device_minor())?);
    let mode = Mode::from_raw_mode(header.mode()?);
    match rustix::fs::mknodat(&parent, name, kind, mode, device) {
        // Without root there are no device nodes.
        Err(Errno::PERM) => return Ok(()),
        made => made?,
    }
    // mknodat obeys the umask.
    rustix::fs::chmodat(&parent, name, mode, AtFlags::empty())?;
    let (uid, gid) = owner_of(entry)?;
    may_be_denied(rustix::fs::chownat(&parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW))
}

fn set_owner_and_mode(folder: &OwnedFd, entry: &Entry<'_>) -> io::Result<()> {
    let (uid, gid) = owner_of(entry)?;
    may_be_denied(rustix::fs::fchown(folder, uid, gid))?;
    Ok(rustix::fs::fchmod(folder, Mode::from_raw_mode(entry.header().mode()?))?)
}

fn owner_of(entry: &Entry<'_>) -> io::Result<(Option<Uid>, Option<Gid>)> {
    let id = |id: io::Result<u64>| id.and_then(|id| u32::try_from(id).map_err(io::Error::other));
    Ok(owner(id(entry.header().uid())?, id(entry.header().gid())?))
}

/// The folder with this path, made if need be; none if the path would lead out.
fn parent_folder(root: &OwnedFd, path: &Path) -> io::Result<Option<OwnedFd>> {
    let mut folder = root.try_clone()?;
    for part in path.components() {
        let name = match part {
            Component::Normal(name) => name,
            Component::CurDir => continue,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Ok(None),
        };
        match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        folder = rustix::fs::openat2(&folder, name, folder_flags(), Mode::empty(), HERE)?;
    }
    Ok(Some(folder))
}

/// Gives a file or folder the extended attributes that the archive has for it.
fn set_xattrs(root: &OwnedFd, entry: &mut Entry<'_>) -> io::Result<()> {
    let Some(extensions) = entry.pax_extensions()? else { return Ok(()) };
    let mut attributes = Vec::new();
    for extension in extensions {
        let extension = extension?;
        if let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix(XATTR)) {
            attributes.push((name.to_owned(), extension.value_bytes().to_vec()));
        }
    }
    if attributes.is_empty() {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let path = entry.path()?;
    let file = rustix::fs::openat2(root, path.as_ref(), flags, Mode::empty(), HERE)?;
    for (name, value) in attributes {
        match rustix::fs::fsetxattr(&file, name, &value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether a file is an archive of the Go driver's: gzip, and a tar header inside. A device's content may
/// begin like the former by chance.
pub fn is_archive(path: &Path) -> bool {
    let mut header = [0; 512];
    let read = File::open(path).and_then(|file| GzDecoder::new(BufReader::new(file)).read_exact(&mut header));
    read.is_ok() && header.get(257..262) == Some(b"ustar")
}
