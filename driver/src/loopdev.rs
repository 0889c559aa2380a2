//! Loop devices: block devices whose content is a file.
//!
//! A device's file is recognised by its identity (file system and inode): the path that sysfs shows is
//! relative to a mount namespace, and two drivers in two containers may show the same one. For the same
//! reason each device carries a tag of the state folder that it was made for. Needs root.
//!
//! Others may attach the same file. Ours shows the whole file, and carries our tag; or none, as those of an earlier
//! version; or the file's path below the Go driver's folder, as those of the Go driver (by `losetup`).

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;

use crate::backend::{DRIVERS, Occupant};
use crate::sys::{self, Backing, TAG};

/// The device number of loop devices.
const MAJOR: u32 = 7;

/// How often to try again when somebody else takes the free device first.
const ATTEMPTS: usize = 64;

/// A file's identity: its file system's device number and its inode.
pub(crate) type Identity = (u64, u64);

/// The tag of the devices that belong to a state folder with this identity.
pub(crate) fn tag((device, inode): Identity) -> String {
    format!("mooring:{device:x}:{inode:x}")
}

/// The device for a file, made with this tag if there is none yet. One that was let go while somebody else
/// (udev, `losetup`) had it open still shows the file, and is gone the moment that ends: it is none.
///
/// # Errors
/// The system's.
pub(crate) fn attach(file: &File, path: &Path, readonly: bool, tag: &str) -> io::Result<PathBuf> {
    let mut known = find_ours(path, Some(readonly), tag)?.into_iter();
    if let Some(found) = known.find(|found| !found.backing.leaving) {
        return Ok(found.node);
    }
    attach_new(file, readonly, tag)
}

/// A new device for a file, with this tag.
///
/// # Errors
/// The system's.
pub(crate) fn attach_new(file: &File, readonly: bool, tag: &str) -> io::Result<PathBuf> {
    let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
    for _ in 0..ATTEMPTS {
        let number = sys::free_number(&control)?;
        let path = node(number)?;
        let device = open(&path, readonly)?;
        match sys::configure(&device, file, readonly, tag) {
            Ok(()) => return Ok(path),
            Err(error) if is(&error, Errno::BUSY) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from(Errno::BUSY))
}

/// Lets go of our device of a file, if there is one.
///
/// # Errors
/// The system's.
pub(crate) fn detach(path: &Path, readonly: bool, tag: &str) -> io::Result<()> {
    for found in find_ours(path, Some(readonly), tag)? {
        clear(&found.device)?;
    }
    Ok(())
}

/// Whether a device node is of a device with this file. If the file is gone, the tag must do.
///
/// # Errors
/// The system's.
pub(crate) fn occupant(node: &Path, file: &Path, tag: &str) -> io::Result<Occupant> {
    let kind = std::fs::symlink_metadata(node)?;
    if !kind.file_type().is_block_device() || rustix::fs::major(kind.rdev()) != MAJOR {
        return Ok(Occupant::Stranger);
    }
    let backing = match open(node, true).and_then(|device| sys::backing(&device)) {
        // No file any more.
        Err(error) if is(&error, Errno::NXIO) => return Ok(Occupant::Remains),
        backing => backing?,
    };
    // It still shows the file, until somebody who looks at it closes it.
    let present = if backing.leaving { Occupant::Remains } else { Occupant::Volume };
    let is_it = match std::fs::metadata(file) {
        Ok(file) => (backing.device, backing.inode) == (file.dev(), file.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => is_tagged(&backing, tag),
        Err(error) => return Err(error),
    };
    Ok(if is_it { present } else { Occupant::Stranger })
}

/// Lets our devices of a file see its present size.
///
/// # Errors
/// The system's.
pub(crate) fn refresh(path: &Path, tag: &str) -> io::Result<()> {
    for found in find_ours(path, None, tag)? {
        sys::set_capacity(&found.device)?;
    }
    Ok(())
}

/// Brings what was written to a file's devices into the file, for a copy of it.
///
/// # Errors
/// The system's.
pub(crate) fn flush(path: &Path) -> io::Result<()> {
    for found in find(path, None)? {
        found.device.sync_all()?;
    }
    Ok(())
}

/// Lets go of the devices that nothing needs: those of files in `folder` with this tag, and those of a file in `recorded` that the
/// Go driver or an earlier version made, except for the files in `in_use`. Files come with the volumes' names.
///
/// # Errors
/// The system's.
pub(crate) fn detach_strays(
    folder: &Path,
    tag: &str,
    recorded: &HashMap<Identity, String>,
    in_use: &HashMap<Identity, String>,
) -> io::Result<()> {
    let names: HashSet<&str> = recorded.values().map(String::as_str).collect();
    for found in devices(|shown| is_in(shown, folder) || names.iter().any(|name| has_name(shown, name)))? {
        let file = (found.backing.device, found.backing.inode);
        let is_recorded = || recorded.get(&file).is_some_and(|name| is_ours(&found.backing, tag, name));
        if (is_tagged(&found.backing, tag) || is_recorded()) && !in_use.contains_key(&file) {
            base::info!("Detaching a loop device that nothing uses"; "device" => found.node.display());
            if let Err(error) = clear(&found.device) {
                base::error!(error, "Cannot detach a loop device"; "device" => found.node.display());
            }
        }
    }
    Ok(())
}

fn is_tagged(backing: &Backing, tag: &str) -> bool {
    text(backing) == tag.as_bytes()
}

/// What is written on a device, without the zero bytes behind.
fn text(backing: &Backing) -> &[u8] {
    backing.tag.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Whether a device with the file of the volume `name` is ours: see the module.
fn is_ours(backing: &Backing, tag: &str, name: &str) -> bool {
    let is_known = || match text(backing) {
        b"" => true,
        text => text == tag.as_bytes() || is_go_drivers(text, name),
    };
    backing.is_whole && is_known()
}

/// Whether a device's text is the path that the Go driver had for a volume. Ours are in a folder of a driver, one
/// level below [`DRIVERS`]: whoever attached such a path was neither the Go driver nor we.
fn is_go_drivers(text: &[u8], name: &str) -> bool {
    let path = Path::new(OsStr::from_bytes(text));
    let last = path.file_name().unwrap_or_default().as_bytes();
    // The kernel cuts long ones off.
    let is_it = last == name.as_bytes() || text.len() == TAG - 1 && name.as_bytes().starts_with(last);
    is_it && path.parent().and_then(Path::parent).and_then(Path::file_name) != Some(DRIVERS.as_ref())
}

fn clear(device: &File) -> io::Result<()> {
    match sys::clear(device) {
        Err(error) if !is(&error, Errno::NXIO) => Err(error),
        _ => Ok(()),
    }
}

/// A device in use.
struct Found {
    node: PathBuf,
    /// Opened for settings.
    device: File,
    backing: Backing,
}

/// The devices of a file.
fn find(path: &Path, readonly: Option<bool>) -> io::Result<Vec<Found>> {
    let file = match std::fs::metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let mut found = devices(|shown| has_name(shown, name))?;
    found.retain(|found| {
        let is_it = (found.backing.device, found.backing.inode) == (file.dev(), file.ino());
        is_it && readonly.is_none_or(|wanted| wanted == found.backing.readonly)
    });
    Ok(found)
}

/// As [`find`], those that are ours.
fn find_ours(path: &Path, readonly: Option<bool>, tag: &str) -> io::Result<Vec<Found>> {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let mut found = find(path, readonly)?;
    found.retain(|found| is_ours(&found.backing, tag, name));
    Ok(found)
}

/// Whether the path that sysfs shows may be that of a file of this name, wherever it is.
fn has_name(shown: &str, name: &str) -> bool {
    let shown = shown.strip_suffix(DELETED).unwrap_or(shown);
    Path::new(shown).file_name() == Some(OsStr::new(name))
}

/// Whether the path that sysfs shows may be that of a file in this folder. In another mount namespace the path may begin at the
/// folder, or above it.
fn is_in(shown: &str, folder: &Path) -> bool {
    let parent = Path::new(shown).parent();
    parent.is_some_and(|parent| parent == Path::new("/") || parent.file_name() == folder.file_name())
}

/// What sysfs shows behind the path of a file that is deleted.
const DELETED: &str = " (deleted)";

/// The devices in use with a file whose path, as sysfs shows it, is wanted. No other is looked at: to look at a device is to look at
/// its file, and that never ends where the file lies in a FUSE file system whose program hangs.
fn devices(wanted: impl Fn(&str) -> bool) -> io::Result<Vec<Found>> {
    let entries = match std::fs::read_dir("/sys/block") {
        Ok(entries) => entries,
        // No sysfs, no loop devices to speak of.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("loop")?.parse().ok());
        let Some(number) = number else { continue };
        // There is none while the device has no file.
        let Ok(shown) = std::fs::read_to_string(entry.path().join("loop/backing_file")) else { continue };
        if !wanted(shown.trim_end_matches('\n')) {
            continue;
        }
        // Without root other people's devices cannot be looked at; ours could not have been made either.
        let Ok(node) = node(number) else { continue };
        let Ok(device) = open(&node, true) else { continue };
        // Between listing and opening it may have been let go.
        let Ok(backing) = sys::backing(&device) else { continue };
        found.push(Found { node, device, backing });
    }
    Ok(found)
}

/// The path of a device's node, which is made if nobody (no udev) made it.
fn node(number: i32) -> io::Result<PathBuf> {
    let path = PathBuf::from(format!("/dev/loop{number}"));
    if !path.try_exists()? {
        let number = u32::try_from(number).map_err(io::Error::other)?;
        let device = rustix::fs::makedev(MAJOR, number);
        match rustix::fs::mknodat(CWD, &path, FileType::BlockDevice, Mode::from_raw_mode(0o660), device) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(path)
}

fn open(path: &Path, readonly: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(!readonly).open(path)
}

fn is(error: &io::Error, code: Errno) -> bool {
    error.raw_os_error() == Some(code.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_looked_at_only_if_its_file_may_be_ours() {
        let folder = Path::new("/csi-data-dir/drivers/hostpath.csi.k8s.io");
        for (shown, in_folder, named) in [
            ("/csi-data-dir/drivers/hostpath.csi.k8s.io/vol-1", true, true),
            ("/csi-data-dir/drivers/hostpath.csi.k8s.io/vol-2", true, false),
            ("/drivers/hostpath.csi.k8s.io/vol-1", true, true),
            ("/vol-1", true, true),
            ("/csi-data-dir/drivers/hostpath.csi.k8s.io/vol-1 (deleted)", true, true),
            ("/csi-data-dir/vol-1", false, true),
            ("/var/lib/rbd/fuse/pool%2Fvol-1/mount/csi-vol-1", false, false),
            ("", false, false),
        ] {
            assert_eq!((is_in(shown, folder), has_name(shown, "vol-1")), (in_folder, named), "{shown:?}");
        }
    }
}
