//! Mounts on this node: bind with options, look, undo.
//!
//! Works on exactly the paths the caller of the RPC gave; a link at the end of a path is never followed.

pub mod table;

use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatVfsMountFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use crate::sys::{self, MountAttributes};

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

/// The flags for mount options by name; unknown ones are ignored, as the Go driver ignores all. One element may hold
/// several, with commas between them, as on the command line of `mount`.
pub fn flags_of<'a>(options: impl IntoIterator<Item = &'a str>) -> MountFlags {
    let known = |option: &str| OPTIONS.iter().find(|(name, _)| *name == option).map(|(_, flag)| *flag);
    options
        .into_iter()
        .flat_map(|element| element.split(','))
        .filter_map(known)
        .fold(MountFlags::empty(), MountFlags::union)
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
    table::lists(target)
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

/// Mounts `source` over `target` with these options on top of those that the source's mount has. The mount
/// appears with all its options at once, so that a kill leaves either it or nothing.
///
/// On kernels before 5.12 options need a second step. There the caller must look, before it trusts a mount
/// that it finds, whether the mount has the options: see [`has_options`].
///
/// # Errors
/// The system's; nothing is mounted then.
pub fn bind(source: &Path, target: &Path, options: MountFlags) -> io::Result<()> {
    match bind_at_once(source, target, options) {
        Err(Errno::NOSYS) => bind_in_steps(source, target, options),
        outcome => Ok(outcome?),
    }
}

fn bind_at_once(source: &Path, target: &Path, options: MountFlags) -> Result<(), Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let detached = rustix::mount::open_tree(CWD, source, flags)?;
    if !options.is_empty() {
        sys::set_mount_attributes(&detached, attributes(options))?;
    }
    rustix::mount::move_mount(&detached, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// As [`bind`], on kernels before 5.12: a kill between the steps leaves a mount without its options. Copies of the mount
/// that propagate, such as from a container to its host, never get them.
///
/// # Errors
/// The system's; nothing is mounted then.
pub fn bind_in_steps(source: &Path, target: &Path, options: MountFlags) -> io::Result<()> {
    rustix::mount::mount_bind(source, target)?;
    if options.is_empty() {
        return Ok(());
    }
    // A remount drops what it does not name.
    let remounted = present(target)
        .and_then(|present| rustix::mount::mount_remount(target, MountFlags::BIND | present | options, ""));
    if let Err(error) = remounted {
        unmount(target)?;
        return Err(error.into());
    }
    Ok(())
}

fn attributes(options: MountFlags) -> MountAttributes {
    let known = [
        (MountFlags::RDONLY, MountAttributes::READ_ONLY),
        (MountFlags::NOSUID, MountAttributes::NO_SUID),
        (MountFlags::NODEV, MountAttributes::NO_DEV),
        (MountFlags::NOEXEC, MountAttributes::NO_EXEC),
        (MountFlags::NODIRATIME, MountAttributes::NO_DIR_ATIME),
        (MountFlags::RELATIME, MountAttributes::REL_ATIME),
        (MountFlags::NOATIME, MountAttributes::NO_ATIME),
    ];
    let wanted = known.into_iter().filter(|(option, _)| options.contains(*option));
    wanted.fold(MountAttributes::NONE, |all, (_, attribute)| all.with(attribute))
}

/// The options that a mount has now.
fn present(target: &Path) -> Result<MountFlags, Errno> {
    let flags = rustix::fs::statvfs(target)?.f_flag;
    let known = [
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    let present = known.into_iter().filter(|(flag, _)| flags.contains(*flag));
    Ok(present.fold(MountFlags::empty(), |all, (_, option)| all | option))
}

/// Whether the mount at `target` has those of these options that protect somebody: `ro`, `nosuid`, `nodev`,
/// `noexec`.
///
/// # Errors
/// The system's.
pub fn has_options(target: &Path, options: MountFlags) -> io::Result<bool> {
    let entry = table::entry(target)?;
    let protecting = OPTIONS.iter().take(4).filter(|(_, flag)| options.contains(*flag));
    Ok(protecting.into_iter().all(|(name, _)| entry.has(name)))
}

/// Unmounts all that is mounted at `target`; nothing mounted is fine.
///
/// # Errors
/// The system's, such as EBUSY.
pub fn unmount(target: &Path) -> io::Result<()> {
    unmount_while(target, || Ok(true)).map(drop)
}

/// Unmounts what is mounted at `target`, from the top down, as long as `is_ours` says of the topmost mount
/// that it is. Returns whether nothing is left; nothing mounted is fine.
///
/// # Errors
/// The system's, such as EBUSY; or those of `is_ours`.
pub fn unmount_while(target: &Path, is_ours: impl Fn() -> io::Result<bool>) -> io::Result<bool> {
    while is_mounted(target)? {
        if !is_ours()? {
            return Ok(false);
        }
        match rustix::mount::unmount(target, UnmountFlags::NOFOLLOW) {
            // No mount after all (any more).
            Err(Errno::INVAL | Errno::NOENT) => return Ok(true),
            outcome => outcome?,
        }
    }
    Ok(true)
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

#[cfg(test)]
mod tests;
