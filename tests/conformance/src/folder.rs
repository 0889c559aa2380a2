//! A driver's folder that leaves nothing behind.

use std::path::Path;
use std::process::Command;

use rustix::mount::{UnmountFlags, unmount};

use crate::namespace::{devices_of, mounts_below};

/// A temporary folder. When it is dropped, by a failing test too, what is mounted in it is unmounted, the loop
/// devices of its files are let go, and it is removed.
///
/// Make it before the driver: what is dropped last was made first.
#[derive(Debug)]
pub struct Folder(tempfile::TempDir);

impl Folder {
    /// A new, empty one.
    ///
    /// # Panics
    /// When the system has no place for it.
    #[must_use]
    #[allow(clippy::new_without_default, clippy::panic)]
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary folder: {error}")))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A mount keeps the folder from being removed, and what is removed through it is gone elsewhere. What
        // fails here fails again at the removal, and there is nobody left to tell.
        for target in mounts_below(self.path()).iter().rev() {
            let _ = unmount(target, UnmountFlags::DETACH);
        }
        for device in devices_of(self.path()) {
            let _ = Command::new("losetup").arg("-d").arg(device).status();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::{in_own_mounts, loop_devices_below};

    in_own_mounts!(a_test_that_panics_leaves_no_mount_no_device_and_no_folder, leaves_nothing());

    fn leaves_nothing() {
        let folder = Folder::new();
        let path = folder.path().to_owned();
        let panicked = std::panic::catch_unwind(move || {
            let (file, target) = (folder.path().join("file"), folder.path().join("target"));
            std::fs::File::create(&file).unwrap().set_len(1 << 20).unwrap();
            std::fs::create_dir(&target).unwrap();
            rustix::mount::mount_bind(folder.path(), &target).unwrap();
            assert!(Command::new("losetup").arg("-f").arg(&file).status().unwrap().success());
            assert_eq!((mounts_below(&path).len(), loop_devices_below(&path).len()), (1, 1));
            std::panic::panic_any(path);
        });
        let path = panicked.unwrap_err().downcast::<std::path::PathBuf>().unwrap();
        assert_eq!((mounts_below(&path).len(), loop_devices_below(&path).len()), (0, 0));
        assert!(!path.exists());
    }
}
