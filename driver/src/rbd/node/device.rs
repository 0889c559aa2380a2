//! Block devices, and which of them is at a path.

use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::mount;

/// The device number of loop devices.
const LOOP: u32 = 7;

/// What is at a path where a volume may be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum At {
    /// A file system on this device.
    Folder(PathBuf),
    /// The device itself.
    Block(PathBuf),
}

impl At {
    /// The device.
    pub(super) fn device(&self) -> &Path {
        match self {
            Self::Folder(device) | Self::Block(device) => device,
        }
    }
}

/// The device that is mounted at a path; none where there is nothing, or something else.
///
/// # Errors
/// The system's.
pub(super) fn at(path: &Path) -> io::Result<Option<At>> {
    if !is_mounted(path)? {
        return Ok(None);
    }
    let metadata = std::fs::metadata(path)?;
    if metadata.file_type().is_block_device() {
        return Ok(named(metadata.rdev())?.map(At::Block));
    }
    if !metadata.is_dir() {
        return Ok(None);
    }
    Ok(named(metadata.dev())?.map(At::Folder))
}

/// Whether something is mounted at a path, be its device gone or not.
///
/// # Errors
/// The system's.
pub(super) fn is_mounted(path: &Path) -> io::Result<bool> {
    match mount::is_mounted(path) {
        Err(error) if is_broken(&error) => mount::table::lists(path),
        outcome => outcome,
    }
}

/// Whether an error says that what is mounted there has lost its device or its daemon.
pub(super) fn is_broken(error: &io::Error) -> bool {
    let broken = [Errno::IO, Errno::NOTCONN, Errno::SHUTDOWN, Errno::NXIO];
    error.raw_os_error().is_some_and(|code| broken.iter().any(|errno| errno.raw_os_error() == code))
}

/// Unmounts all that is mounted at a path, be its device gone or not; nothing mounted is fine.
///
/// # Errors
/// The system's, such as EBUSY.
pub(super) fn unmount(path: &Path) -> io::Result<()> {
    while is_mounted(path)? {
        if !unmount_top(path)? {
            break;
        }
    }
    Ok(())
}

/// Unmounts what was mounted last at a path; whether there was anything.
///
/// # Errors
/// The system's, such as EBUSY.
pub(super) fn unmount_top(path: &Path) -> io::Result<bool> {
    match rustix::mount::unmount(path, UnmountFlags::NOFOLLOW) {
        // No mount after all (any more).
        Err(Errno::INVAL | Errno::NOENT) => Ok(false),
        outcome => outcome.map(|()| true).map_err(io::Error::from),
    }
}

/// The node of a device by its number; none for a file system that is on no device.
fn named(number: u64) -> io::Result<Option<PathBuf>> {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    match std::fs::read_link(format!("/sys/dev/block/{major}:{minor}")) {
        Ok(link) => Ok(link.file_name().map(|name| Path::new("/dev").join(name))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where a device is mounted: its file system, or its node. Nothing that is mounted is asked.
///
/// # Errors
/// The system's. A device that is gone is mounted nowhere.
pub(super) fn points(device: &Path) -> io::Result<Vec<PathBuf>> {
    let number = match std::fs::metadata(device) {
        Ok(metadata) => metadata.rdev(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let number = format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
    mount::table::points_of_device(&number, device)
}

/// A device's size in bytes.
///
/// # Errors
/// The system's.
pub(super) fn size(device: &Path) -> io::Result<u64> {
    std::fs::File::open(device)?.seek(SeekFrom::End(0))
}

/// Whether a device is a loop device.
///
/// # Errors
/// The system's.
pub(super) fn is_loop(device: &Path) -> io::Result<bool> {
    let metadata = std::fs::metadata(device)?;
    Ok(metadata.file_type().is_block_device() && rustix::fs::major(metadata.rdev()) == LOOP)
}
