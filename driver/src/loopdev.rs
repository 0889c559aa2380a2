//! Loop devices: block devices whose content is a file.
//!
//! A device is found by its file's identity (file system and inode), not by path, so renames and links do
//! not matter. Needs root.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;

use crate::sys::{self, Backing};

/// How often to try again when somebody else takes the free device first.
const ATTEMPTS: usize = 64;

/// The device for a file, made if there is none yet. One that was let go while somebody else (udev, `losetup`) had it
/// open still shows the file, and is gone the moment that ends: it is none.
///
/// # Errors
/// The system's.
pub(crate) fn attach(file: &File, path: &Path, readonly: bool) -> io::Result<PathBuf> {
    let mut known = find(path, Some(readonly))?.into_iter();
    if let Some(found) = known.find(|found| !found.leaving) {
        return Ok(found.node);
    }
    let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
    for _ in 0..ATTEMPTS {
        let number = sys::free_number(&control)?;
        let path = node(number)?;
        let device = open(&path, readonly)?;
        match sys::configure(&device, file, readonly) {
            Ok(()) => return Ok(path),
            Err(error) if is(&error, Errno::BUSY) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from(Errno::BUSY))
}

/// Lets go of a file's device, if there is one.
///
/// # Errors
/// The system's.
pub(crate) fn detach(path: &Path, readonly: bool) -> io::Result<()> {
    for found in find(path, Some(readonly))? {
        clear(&found.device)?;
    }
    Ok(())
}

/// Lets a file's devices see its present size.
///
/// # Errors
/// The system's.
pub(crate) fn refresh(path: &Path) -> io::Result<()> {
    for found in find(path, None)? {
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

/// Lets go of all devices whose file is directly in one of `folders` (or was removed from there), except
/// those `is_used` names. Files further below are not ours: users keep them in their volumes.
///
/// # Errors
/// The system's.
pub(crate) fn detach_strays(folders: &[PathBuf], is_used: impl Fn(&Path) -> bool) -> io::Result<()> {
    for (number, file) in backing_files()? {
        let mine = file.parent().is_some_and(|parent| folders.iter().any(|folder| folder == parent));
        if mine && !is_used(&file) {
            base::info!("Detaching a loop device that nothing uses"; "device" => number, "file" => file.display());
            clear(&open(&node(number)?, true)?)?;
        }
    }
    Ok(())
}

fn clear(device: &File) -> io::Result<()> {
    match sys::clear(device) {
        Err(error) if !is(&error, Errno::NXIO) => Err(error),
        _ => Ok(()),
    }
}

/// A device of a file.
struct Found {
    node: PathBuf,
    /// Opened for settings.
    device: File,
    leaving: bool,
}

/// The devices of a file.
fn find(path: &Path, readonly: Option<bool>) -> io::Result<Vec<Found>> {
    let file = match std::fs::metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for (number, _) in backing_files()? {
        // Without root other people's devices cannot be looked at; ours could not have been made either.
        let Ok(node) = node(number) else { continue };
        let Ok(device) = open(&node, true) else { continue };
        // Between listing and opening it may have been let go.
        let Ok(Backing { device: disk, inode, readonly: is_readonly, leaving }) = sys::backing(&device)
        else {
            continue;
        };
        let is_it = disk == file.dev() && inode == file.ino();
        if is_it && readonly.is_none_or(|wanted| wanted == is_readonly) {
            found.push(Found { node, device, leaving });
        }
    }
    Ok(found)
}

/// Numbers and files of all devices in use, from sysfs.
fn backing_files() -> io::Result<Vec<(i32, PathBuf)>> {
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
        if let Ok(text) = std::fs::read_to_string(entry.path().join("loop/backing_file")) {
            let text = text.trim_end_matches('\n');
            found.push((number, PathBuf::from(text.strip_suffix(" (deleted)").unwrap_or(text))));
        }
    }
    Ok(found)
}

/// The path of a device's node, which is made if nobody (no udev) made it.
fn node(number: i32) -> io::Result<PathBuf> {
    let path = PathBuf::from(format!("/dev/loop{number}"));
    if !path.try_exists()? {
        let number = u32::try_from(number).map_err(io::Error::other)?;
        let device = rustix::fs::makedev(7, number);
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
