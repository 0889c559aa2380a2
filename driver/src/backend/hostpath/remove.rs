//! Removing a file, or a folder with all in it, however deep its user made it.
//!
//! Folders inside are not walked down. Each is emptied of files, and the folders in it are hoisted up into the folder
//! that is being removed, under numbers; then it is empty itself. So a few handles and 8 bytes for each folder that
//! waits are enough for any depth. A kill anywhere leaves a folder that the next removal goes on with. Links are
//! removed, never followed, and no mount is entered: what is mounted inside stays, and so do the folders above it.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Dir, FileType, IFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

const HERE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_XDEV);
/// Subvolumes within subvolumes whose folders cannot be hoisted out of them: each holds a handle.
const MAX_NESTED: usize = 64;

/// Removes what has this name in the folder `at`; absent is fine.
///
/// # Errors
/// The first of the system's; all that can be removed is gone then.
pub(super) fn remove(at: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let stat = match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        stat => stat?,
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return unlink(at, name, AtFlags::empty());
    }
    let root = open(at, name)?;
    empty(&root, MAX_NESTED)?;
    unlink(at, name, AtFlags::REMOVEDIR)
}

/// Removes all that is in a folder.
fn empty(root: &OwnedFd, nested: usize) -> io::Result<()> {
    loosen(root);
    let mut hoist = Hoist { root, next: 0, waiting: Vec::new() };
    let mut first = hoist.flatten(root, true, nested);
    while let Some(number) = hoist.waiting.pop() {
        let name = number.to_string();
        let removed = match open(root, name.as_ref()) {
            Ok(folder) => hoist
                .flatten(&folder, false, nested)
                .and_then(|()| unlink(root, name.as_ref(), AtFlags::REMOVEDIR)),
            // A file of the user's had the number, and went with the others.
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(error) => Err(error.into()),
        };
        first = first.and(removed);
    }
    first
}

/// The folder that is being removed, and the folders hoisted into it.
struct Hoist<'a> {
    root: &'a OwnedFd,
    /// The number to be tried for the next one.
    next: u64,
    /// Numbers of folders in the root, all below `next`.
    waiting: Vec<u64>,
}

impl Hoist<'_> {
    /// Removes a folder's files and empty folders, and hoists the other folders; those of the root itself get a
    /// number too.
    fn flatten(&mut self, folder: &OwnedFd, is_root: bool, nested: usize) -> io::Result<()> {
        let mut first = Ok(());
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let removed = match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(Errno::ISDIR) if is_root && self.waits(name) => Ok(()),
                Err(Errno::ISDIR) => self.folder(folder, name, nested),
                Err(error) => Err(error.into()),
            };
            first = first.and(removed);
        }
        first
    }

    /// Whether a folder of the root has its number already: the root is read while folders are put into it.
    fn waits(&self, name: &CStr) -> bool {
        let number = name.to_str().ok().and_then(|name| name.parse::<u64>().ok());
        number.is_some_and(|number| number < self.next && name.to_bytes() == number.to_string().as_bytes())
    }

    fn folder(&mut self, parent: &OwnedFd, name: &CStr, nested: usize) -> io::Result<()> {
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        loop {
            let number = self.next;
            self.next += 1;
            self.waiting.push(number);
            let to = number.to_string();
            match rustix::fs::renameat(parent, name, self.root, &to) {
                Ok(()) => return Ok(()),
                // The user has something of this name there: it waits as well. An empty folder is replaced.
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                // A subvolume's folders cannot leave it. They are hoisted within it.
                Err(Errno::XDEV) if nested > 0 => {
                    self.waiting.pop();
                    empty(&open(parent, OsStr::from_bytes(name.to_bytes()))?, nested - 1)?;
                    return Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?);
                }
                Err(error) => {
                    self.waiting.pop();
                    return Err(error.into());
                }
            }
        }
    }
}

fn open(at: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat2(at, name, flags, Mode::empty(), HERE)
}

fn unlink(at: &OwnedFd, name: &OsStr, flags: AtFlags) -> io::Result<()> {
    match rustix::fs::unlinkat(at, name, flags) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Takes the flag from a folder that keeps folders of another quota project out of it. File systems without such
/// flags need nothing.
fn loosen(folder: &OwnedFd) {
    if let Ok(flags) = rustix::fs::ioctl_getflags(folder)
        && flags.contains(IFlags::PROJECT_INHERIT)
    {
        let _ = rustix::fs::ioctl_setflags(folder, flags - IFlags::PROJECT_INHERIT);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn removed(folder: &Path, name: &str) -> io::Result<()> {
        let at = rustix::fs::open(folder, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        remove(&at, name.as_ref())
    }

    #[test]
    fn a_link_goes_and_what_it_leads_to_stays() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        std::fs::create_dir_all(tree.join("inner")).unwrap();
        std::fs::create_dir(folder.path().join("beside")).unwrap();
        std::fs::write(folder.path().join("beside/kept"), "data").unwrap();
        for link in [tree.join("link"), tree.join("inner/link"), folder.path().join("link")] {
            std::os::unix::fs::symlink(folder.path().join("beside"), link).unwrap();
        }
        for name in ["tree", "tree", "link"] {
            removed(folder.path(), name).unwrap();
        }
        let left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["beside"]);
        assert!(folder.path().join("beside/kept").exists());
    }

    #[test]
    fn folders_whose_names_are_numbers_go_too() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        // Files and folders, in all orders in which the root may be read.
        for number in 0..40 {
            let name = if number % 3 == 0 { format!("{}", number / 3) } else { format!("x{number}") };
            std::fs::create_dir_all(tree.join(&name).join(format!("{}", number % 7)).join("deep")).unwrap();
            std::fs::create_dir_all(tree.join(&name).join("00").join("deep")).unwrap();
        }
        for number in 14..60 {
            std::fs::write(tree.join(number.to_string()), "file").unwrap();
        }
        removed(folder.path(), "tree").unwrap();
        assert!(!tree.exists());
    }
}
