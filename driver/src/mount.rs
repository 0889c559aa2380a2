//! Mounts on this node: bind, read-only, is it mounted, undo.
//!
//! Works on exactly the paths the caller of the RPC gave; a link at the end of a path is never followed.

use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatVfsMountFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

/// The mount options that this driver obeys; all others are left to nobody.
const OPTIONS: [(&str, MountFlags); 7] = [
    ("ro", MountFlags::RDONLY),
    ("nosuid", MountFlags::NOSUID),
    ("nodev", MountFlags::NODEV),
    ("noexec", MountFlags::NOEXEC),
    ("noatime", MountFlags::NOATIME),
    ("nodiratime", MountFlags::NODIRATIME),
    ("relatime", MountFlags::RELATIME),
];

/// What a target is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A folder, mode 0750.
    Folder,
    /// An empty file, mode 0644.
    File,
}

/// The flags for mount options by name; unknown ones are ignored, as the Go driver ignores all.
pub fn flags_of<'a>(options: impl IntoIterator<Item = &'a str>) -> MountFlags {
    let known = |option: &str| OPTIONS.iter().find(|(name, _)| *name == option).map(|(_, flag)| *flag);
    options.into_iter().filter_map(known).fold(MountFlags::empty(), MountFlags::union)
}

/// Whether something is mounted exactly here. An absent path is not mounted.
///
/// # Errors
/// The system's.
pub fn is_mounted(target: &Path) -> io::Result<bool> {
    let stat = match rustix::fs::statx(CWD, target, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE) {
        Ok(stat) => stat,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
        // A mount whose source is gone (stale handle) is still one.
        Err(Errno::STALE) => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    if stat.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) {
        return Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    }
    listed(target)
}

/// The slow way, for kernels before 5.8: look it up in the list of mounts.
fn listed(target: &Path) -> io::Result<bool> {
    let list = std::fs::read_to_string("/proc/self/mountinfo")?;
    let target = target.to_string_lossy();
    Ok(list.lines().filter_map(|line| line.split(' ').nth(4)).any(|path| unescaped(path) == target))
}

/// mountinfo writes space, tab, newline and backslash as octal escapes.
fn unescaped(path: &str) -> String {
    let mut plain = path.to_owned();
    for (escape, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        plain = plain.replace(escape, character);
    }
    plain
}

/// Whether the mount at `target` is read-only.
///
/// # Errors
/// The system's.
pub fn is_readonly(target: &Path) -> io::Result<bool> {
    Ok(rustix::fs::statvfs(target)?.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Makes what is to be mounted over; it may be there already, if it is of the right kind. A file with
/// content is somebody else's.
///
/// # Errors
/// The system's; a parent that does not exist is not made.
pub fn make_target(target: &Path, kind: Target) -> io::Result<()> {
    let made = match kind {
        Target::Folder => rustix::fs::mkdirat(CWD, target, Mode::from_raw_mode(0o750)),
        Target::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(CWD, target, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    };
    match made {
        Err(Errno::EXIST) => {}
        made => return Ok(made?),
    }
    let stat = rustix::fs::statat(CWD, target, AtFlags::SYMLINK_NOFOLLOW)?;
    match (kind, FileType::from_raw_mode(stat.st_mode)) {
        (Target::Folder, FileType::Directory) => Ok(()),
        (Target::File, FileType::RegularFile) if stat.st_size == 0 => Ok(()),
        (Target::Folder, _) => Err(Errno::NOTDIR.into()),
        (Target::File, FileType::Directory) => Err(Errno::ISDIR.into()),
        (Target::File, _) => Err(Errno::EXIST.into()),
    }
}

/// Mounts `source` over `target` with these options (a second step of the kernel's: options do not take
/// effect on the bind itself).
///
/// # Errors
/// The system's; nothing is mounted then.
pub fn bind(source: &Path, target: &Path, options: MountFlags) -> io::Result<()> {
    rustix::mount::mount_bind(source, target)?;
    if options.is_empty() {
        return Ok(());
    }
    let remounted = rustix::mount::mount_remount(target, MountFlags::BIND | options, "");
    if let Err(error) = remounted {
        unmount(target)?;
        return Err(error.into());
    }
    Ok(())
}

/// Unmounts all that is mounted at `target`; nothing mounted is fine.
///
/// # Errors
/// The system's, such as EBUSY.
pub fn unmount(target: &Path) -> io::Result<()> {
    while is_mounted(target)? {
        match rustix::mount::unmount(target, UnmountFlags::NOFOLLOW) {
            // No mount after all (any more).
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            outcome => outcome?,
        }
    }
    Ok(())
}

/// Removes a target after its unmount: an empty folder or an empty file, which is all that
/// [`make_target`] makes. Never what is in a folder, nor anything else that took the target's place.
///
/// Differs: the Go driver removes recursively, which after a failed unmount empties the volume.
///
/// # Errors
/// The system's, such as ENOTEMPTY for a folder or a file that is not empty, EEXIST for a link. An absent
/// target is fine.
pub fn remove_target(target: &Path) -> io::Result<()> {
    let stat = match rustix::fs::statat(CWD, target, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let flags = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => AtFlags::REMOVEDIR,
        FileType::RegularFile if stat.st_size == 0 => AtFlags::empty(),
        FileType::RegularFile => return Err(Errno::NOTEMPTY.into()),
        _ => return Err(Errno::EXIST.into()),
    };
    match rustix::fs::unlinkat(CWD, target, flags) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
