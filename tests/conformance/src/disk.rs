//! A disk that can lose its power.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::ioctl::{Setter, ioctl, opcode};

use crate::namespace::{devices_of, mounts_below};

/// Room for what many short lives of a driver leave behind. The image is sparse.
const SIZE: u64 = 1 << 30;

/// An ext4 file system on an image file. What was written and not synced is in the kernel's memory and not in
/// the image, and a power cut loses it.
///
/// Use it inside [`crate::in_own_mounts!`].
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    point: PathBuf,
}

impl Disk {
    /// A new disk, mounted at `folder`/state, with its image beside it.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        let disk = Self { folder: folder.to_owned(), point: folder.join("state") };
        let image = disk.image();
        let made = std::fs::create_dir(&disk.point)
            .and_then(|()| File::create(&image))
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
        let cut = shut_down(&self.point);
        assert!(cut.is_ok(), "cannot cut the power of {}: {cut:?}", self.point.display());
        let mounts = mounts_below(&self.folder);
        for target in mounts.iter().rev().filter(|target| **target != self.point) {
            run("umount", &["--lazy"], &[target]);
        }
        // While the files can still be found by their paths. The disk's own device goes with its mount.
        for device in devices_of(&self.folder) {
            let _ = Command::new("losetup").arg("-d").arg(device).status();
        }
        run("umount", &[], &[&self.point]);
        self.mount();
    }

    fn image(&self) -> PathBuf {
        self.folder.join("disk.image")
    }

    fn mount(&self) {
        // The file system writes when it is told to, not every five seconds.
        run("mount", &["-o", "loop,commit=600"], &[&self.image(), &self.point]);
    }
}

/// Ends a file system where it is: from now on nothing more is written, neither data nor journal.
///
/// Copying the image while the file system is alive would not do: it may write between the copy's first block
/// and its last, and no disk ever held such a mixture.
#[allow(unsafe_code)]
fn shut_down(mounted: &Path) -> io::Result<()> {
    const SHUTDOWN: rustix::ioctl::Opcode = opcode::read::<u32>(b'X', 125);
    const WITHOUT_FLUSHING_THE_JOURNAL: u32 = 2;
    let file = File::open(mounted)?;
    // SAFETY: ext4's EXT4_IOC_SHUTDOWN reads one u32 behind the pointer, and writes nothing there.
    Ok(unsafe { ioctl(&file, Setter::<SHUTDOWN, u32>::new(WITHOUT_FLUSHING_THE_JOURNAL)) }?)
}

fn run(program: &str, args: &[&str], paths: &[&Path]) {
    let status = Command::new(program).args(args).args(paths).status();
    assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "{program} {paths:?}: {status:?}");
}
