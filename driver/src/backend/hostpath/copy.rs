//! Copies of files and folders that share blocks where the file system can, and keep holes elsewhere.
//!
//! A folder may be in use while it is copied, by somebody who wants to lead the copy astray: every step
//! is taken from an open handle, follows no links and crosses no mounts. Kept are modes, owners, times,
//! extended attributes, links (hard and symbolic), pipes and device nodes; sockets are left out.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{
    AtFlags, Dir, FallocateFlags, FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps,
    XattrFlags,
};
use rustix::io::Errno;

use super::owner;

/// Folders in folders beyond this are refused: each level holds three handles open.
const MAX_DEPTH: usize = 400;
const HERE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_XDEV);

/// Where the first of several hard links was put: folder and name relative to the copy's root.
type Links = HashMap<(u64, u64), CString>;

/// Copies a file's content into an empty file. They share blocks where the file system can.
pub(super) fn copy_file(from: &File, to: &File) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    to.set_len(from.metadata()?.len())?;
    data_ranges(from, |start, end| copy_range(from, to, start, end))
}

/// As [`copy_file`], but no block is shared in the end: to write to a shared one takes space, which a device's file
/// was promised to have already. Where the file system can, the content is that of one moment all the same.
pub(super) fn copy_file_apart(from: &File, to: &File) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        match take_apart(to) {
            // As btrfs says.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => to.set_len(0)?,
            outcome => return outcome,
        }
    }
    to.set_len(from.metadata()?.len())?;
    data_ranges(from, |start, end| copy_bytes(from, to, start, end))
}

/// Gives a file blocks of its own where it has data, and none elsewhere: what is set aside and not written is shared
/// as well.
fn take_apart(file: &File) -> io::Result<()> {
    // Beyond the end too: a last block that is not whole would stay.
    let end = file.metadata()?.len().next_multiple_of(1 << 20);
    let punch = |start: u64, end: u64| match end.saturating_sub(start) {
        0 => Ok(()),
        length => {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(file, flags, start, length)
        }
    };
    let mut done = 0;
    data_ranges(file, |start, end| {
        punch(done, start)?;
        done = end;
        Ok(rustix::fs::fallocate(file, FallocateFlags::UNSHARE_RANGE, start, end - start)?)
    })?;
    Ok(punch(done, end)?)
}

/// Where a file has data, as far as the file system tells: begin and end.
fn data_ranges(file: &File, mut each: impl FnMut(u64, u64) -> io::Result<()>) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut position = 0;
    while position < length {
        let start = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(position)) {
            Ok(start) => start,
            // Only a hole is left.
            Err(Errno::NXIO) => break,
            // No holes on this file system: all is data.
            Err(Errno::INVAL) => position,
            Err(error) => return Err(error.into()),
        };
        let end = match rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(start)) {
            Ok(end) => end.min(length),
            Err(Errno::INVAL) => length,
            // The file shrank under the copy.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        each(start, end)?;
        position = end.max(start + 1);
    }
    Ok(())
}

/// Copies the bytes from `start` to `end`, through this process: the kernel's ways share blocks where they can.
fn copy_bytes(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut position = start;
    while position < end {
        let wanted = usize::try_from(end - position).unwrap_or(usize::MAX).min(buffer.len());
        let part = buffer.get_mut(..wanted).unwrap_or_default();
        let count = match from.read_at(part, position) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all_at(part.get(..count).unwrap_or_default(), position)?;
        position += count as u64;
    }
    Ok(())
}

/// Copies the bytes from `start` to `end`, in the kernel if it can.
fn copy_range(mut from: &File, mut to: &File, start: u64, end: u64) -> io::Result<()> {
    let (mut read_at, mut write_at) = (start, start);
    while read_at < end {
        let left = usize::try_from(end - read_at).unwrap_or(usize::MAX);
        let (at, to_at) = (Some(&mut read_at), Some(&mut write_at));
        match rustix::fs::copy_file_range(from, at, to, to_at, left) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(Errno::INTR) => {}
            Err(Errno::NOSPC) => return Err(Errno::NOSPC.into()),
            Err(_) => {
                from.seek(SeekFrom::Start(read_at))?;
                to.seek(SeekFrom::Start(read_at))?;
                let mut rest = from.take(end - read_at);
                io::copy(&mut rest, &mut to)?;
                return to.flush();
            }
        }
    }
    Ok(())
}

/// Copies what is in a folder, and the folder's own attributes, into an empty folder.
pub(super) fn copy_folder(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let mut copy = Copy { root: to, links: Links::new() };
    copy.folder(from, to, &mut Vec::new())
}

struct Copy<'a> {
    root: &'a OwnedFd,
    links: Links,
}

impl Copy<'_> {
    fn folder(&mut self, from: &OwnedFd, to: &OwnedFd, path: &mut Vec<CString>) -> io::Result<()> {
        if path.len() > MAX_DEPTH {
            return Err(io::Error::other(format!("folders are nested deeper than {MAX_DEPTH}")));
        }
        for entry in Dir::read_from(from)? {
            let name = entry?.file_name().to_owned();
            if name.as_bytes() == b"." || name.as_bytes() == b".." {
                continue;
            }
            path.push(name.clone());
            match self.entry(from, to, &name, path) {
                // Removed, or replaced by something else, since the folder was read.
                Err(error) if has_moved(&error) => {}
                outcome => outcome?,
            }
            path.pop();
        }
        attributes(from, to)
    }

    fn entry(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &CString,
        path: &mut Vec<CString>,
    ) -> io::Result<()> {
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let is_linked = kind != FileType::Directory && stat.st_nlink > 1;
        let first = self.links.get(&(stat.st_dev, stat.st_ino)).filter(|_| is_linked);
        if let Some(first) = first {
            return Ok(rustix::fs::linkat(self.root, first, to, name, AtFlags::empty())?);
        }
        match kind {
            FileType::Directory => self.subfolder(from, to, name, path)?,
            FileType::RegularFile => regular(from, to, name)?,
            FileType::Symlink => symlink(from, to, name, &stat)?,
            FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice => {
                let mode = Mode::from_raw_mode(stat.st_mode);
                match rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev) {
                    // Without root there are no device nodes to copy to.
                    Err(Errno::PERM) => return Ok(()),
                    outcome => outcome?,
                }
                owned(to, name, &stat)?;
            }
            FileType::Socket | FileType::Unknown => return Ok(()),
        }
        if is_linked {
            self.links.insert((stat.st_dev, stat.st_ino), joined(path));
        }
        Ok(())
    }

    fn subfolder(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &CString,
        path: &mut Vec<CString>,
    ) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inner = match rustix::fs::openat2(from, name, flags, Mode::empty(), HERE) {
            // A mount inside the volume is not the volume's content.
            Err(Errno::XDEV) => return Ok(()),
            inner => inner?,
        };
        rustix::fs::mkdirat(to, name, Mode::RWXU)?;
        let copy = rustix::fs::openat2(to, name, flags, Mode::empty(), HERE)?;
        self.folder(&inner, &copy, path)
    }
}

fn regular(from: &OwnedFd, to: &OwnedFd, name: &CString) -> io::Result<()> {
    // NONBLOCK: the file may have become a pipe since it was looked at.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let source = File::from(rustix::fs::openat2(from, name, flags, Mode::empty(), HERE)?);
    if !source.metadata()?.is_file() {
        return Err(Errno::NOENT.into());
    }
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let copy = File::from(rustix::fs::openat2(to, name, flags, Mode::RUSR | Mode::WUSR, HERE)?);
    copy_file(&source, &copy)?;
    attributes(&source, &copy)
}

fn symlink(from: &OwnedFd, to: &OwnedFd, name: &CString, stat: &Stat) -> io::Result<()> {
    let target = rustix::fs::readlinkat(from, name, Vec::new())?;
    rustix::fs::symlinkat(target, to, name)?;
    owned(to, name, stat)
}

fn owned(to: &OwnedFd, name: &CString, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = owner(stat.st_uid, stat.st_gid);
    may_be_denied(rustix::fs::chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW))
}

/// Owner, attributes, mode and times, in an order in which none undoes another.
fn attributes(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    let stat = rustix::fs::fstat(&from)?;
    let (uid, gid) = owner(stat.st_uid, stat.st_gid);
    may_be_denied(rustix::fs::fchown(&to, uid, gid))?;
    extended(&from, &to)?;
    rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode))?;
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok(rustix::fs::futimens(&to, &times)?)
}

/// A time of a file. Machines differ in the type that the kernel has for the nanoseconds.
fn time(seconds: i64, nanoseconds: impl TryInto<i64>) -> Timespec {
    Timespec { tv_sec: seconds, tv_nsec: nanoseconds.try_into().unwrap_or(0) }
}

fn extended(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    let mut names = vec![0_u8; 64 * 1024];
    let length = match rustix::fs::flistxattr(&from, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    names.truncate(length);
    let mut value = vec![0_u8; if length == 0 { 0 } else { 64 * 1024 }];
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let length = match rustix::fs::fgetxattr(&from, name, &mut value) {
            Ok(length) => length,
            Err(Errno::NODATA | Errno::OPNOTSUPP) => continue,
            Err(error) => return Err(error.into()),
        };
        let value = value.get(..length).unwrap_or_default();
        match rustix::fs::fsetxattr(&to, name, value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Without root, files belong to who copies them.
pub(super) fn may_be_denied(outcome: Result<(), Errno>) -> io::Result<()> {
    match outcome {
        Err(Errno::PERM) => Ok(()),
        outcome => Ok(outcome?),
    }
}

fn has_moved(error: &io::Error) -> bool {
    [Errno::NOENT, Errno::LOOP, Errno::NOTDIR]
        .iter()
        .any(|code| error.raw_os_error() == Some(code.raw_os_error()))
}

fn joined(path: &[CString]) -> CString {
    let bytes: Vec<&[u8]> = path.iter().map(|part| part.as_bytes()).collect();
    // Names come from the kernel: they hold no zero byte.
    CString::new(bytes.join(&b'/')).unwrap_or_default()
}
