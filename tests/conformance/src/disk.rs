//! A disk that can lose its power.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::namespace::{devices_of, mounts_below};

/// Room for what many short lives of a driver leave behind. The image is sparse.
const SIZE: u64 = 1 << 30;

/// An ext4 file system on an image file. What was written and not synced is in the kernel's memory and not in
/// the image: a copy of the image is what a disk holds after a power cut.
///
/// Use it inside [`crate::in_own_mounts!`].
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    point: PathBuf,
    cuts: usize,
}

impl Disk {
    /// A new disk, mounted at `folder`/state, with its image beside it.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        let disk = Self { folder: folder.to_owned(), point: folder.join("state"), cuts: 0 };
        let image = disk.image();
        let made = std::fs::create_dir(&disk.point)
            .and_then(|()| std::fs::File::create(&image))
            .and_then(|file| file.set_len(SIZE));
        assert!(made.is_ok(), "{}: {made:?}", image.display());
        // Nothing is left to be initialised later, which would write when nobody expects it.
        run("mkfs.ext4", &["-q", "-F", "-m0", "-E", "lazy_itable_init=0,lazy_journal_init=0"], &[&image]);
        disk.mount();
        disk
    }

    /// Cuts the power and starts the node again: all that was not synced is lost, and so are all mounts and
    /// loop devices below the folder. The driver must be dead.
    ///
    /// # Panics
    /// When the disk is broken afterwards.
    pub fn cut_power(&mut self) {
        let before = self.image();
        self.cuts += 1;
        run("cp", &["--sparse=always"], &[&before, &self.image()]);
        let mounts = mounts_below(&self.folder);
        for target in mounts.iter().rev().filter(|target| **target != self.point) {
            run("umount", &["--lazy"], &[target]);
        }
        // While the files can still be found by their paths. The disk's own device goes with its mount.
        for device in devices_of(&self.folder) {
            let _ = Command::new("losetup").arg("-d").arg(device).status();
        }
        run("umount", &[], &[&self.point]);
        let removed = std::fs::remove_file(&before);
        assert!(removed.is_ok(), "{removed:?}");
        self.mount();
    }

    fn image(&self) -> PathBuf {
        self.folder.join(format!("disk-{}.image", self.cuts))
    }

    fn mount(&self) {
        // The file system writes when it is told to, not every five seconds.
        run("mount", &["-o", "loop,commit=600"], &[&self.image(), &self.point]);
    }
}

fn run(program: &str, args: &[&str], paths: &[&Path]) {
    let status = Command::new(program).args(args).args(paths).status();
    assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "{program} {paths:?}: {status:?}");
}
