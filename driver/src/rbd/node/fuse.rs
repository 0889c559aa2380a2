//! Mapping by rbd-fuse and a loop device: for kernels that have neither krbd nor nbd.
//!
//! Slower than the others, and the daemon ends with the container that it was started in.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::command;
use super::device;
use super::mapper::{Mapper, Request, Spec};
use crate::{loopdev, mount, sys};

/// How long a device may stay busy after it was let go of.
const LINGERING: Duration = Duration::from_secs(5);

/// How often it is looked at.
const PAUSE: Duration = Duration::from_millis(10);
/// A daemon's configuration, in the folder of its image.
const CONF: &str = "ceph.conf";

/// Maps by rbd-fuse.
#[derive(Debug)]
pub(super) struct Fuse {
    /// A folder for each image: the daemon's configuration, and where it mounts.
    pub(super) folder: PathBuf,
    /// The longest that it may take.
    pub(super) patience: Duration,
}

impl Fuse {
    fn home(&self, spec: &Spec) -> PathBuf {
        self.folder.join(spec.to_string().replace('%', "%25").replace('/', "%2F"))
    }

    fn mounted(&self, spec: &Spec) -> PathBuf {
        self.home(spec).join("mount")
    }

    /// Starts the daemon; it is in the background, and the image's file there, when this ends.
    fn start(&self, request: &Request<'_>) -> io::Result<()> {
        let (home, at) = (self.home(request.spec), self.mounted(request.spec));
        DirBuilder::new().recursive(true).mode(0o700).create(&at)?;
        let private = |name: &str, text: &str| {
            let path = home.join(name);
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            file.write_all(text.as_bytes()).map(|()| path)
        };
        // It knows no other way to be told.
        let key = request.key.expose();
        let keyring = private("keyring", &format!("[client.{}]\n\tkey = {key}\n", request.user))?;
        let text = format!(
            "[global]\nmon_host = {}\nkeyring = {}\nlog_file =\nadmin_socket =\n",
            request.monitors,
            keyring.display()
        );
        let conf = private(CONF, &text)?;
        let mut command = Command::new("rbd-fuse");
        command.arg("-c").arg(conf).args(["-p", &request.spec.pool]);
        if !request.spec.namespace.is_empty() {
            command.arg(format!("--namespace={}", request.spec.namespace));
        }
        command.args(["-r", &request.spec.image]).arg(&at);
        command.env("CEPH_ARGS", format!("--id {}", request.user));
        command::run(command, None, self.patience, false).map(drop)
    }

    /// Whether the daemon serves the image; what a daemon that was killed left is taken away. The mount itself is asked for nothing:
    /// what the daemon answers it first asks Ceph, which may take for ever.
    fn is_served(&self, spec: &Spec) -> io::Result<bool> {
        let at = self.mounted(spec);
        if !mount::table::lists(&at)? {
            return Ok(false);
        }
        if daemons(&self.home(spec).join(CONF))?.iter().any(|daemon| is_running(daemon)) {
            return Ok(true);
        }
        rustix::mount::unmount(&at, UnmountFlags::DETACH)?;
        Ok(false)
    }
}

/// The folders in /proc of the daemons with this configuration.
fn daemons(conf: &Path) -> io::Result<Vec<PathBuf>> {
    let is_it = |process: &Path| {
        let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|argument| argument == conf.as_os_str().as_encoded_bytes())
    };
    let all = std::fs::read_dir("/proc")?;
    Ok(all.flatten().map(|entry| entry.path()).filter(|process| is_it(process)).collect())
}

/// Whether a process has not ended; one that nobody has waited for yet has.
fn is_running(process: &Path) -> bool {
    let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

/// What is written on the loop devices, for administrators to see.
const TAG: &str = "mooring-rbd";

/// The loop devices whose file is this image's. They are found by what sysfs shows: asking a device for its settings asks the
/// daemon behind its file, and every other daemon that is asked would have to answer first. In a mount namespace that the daemon's
/// mount is not in, sysfs shows the path from its root.
fn loop_devices(file: &Path, image: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/sys/block")? {
        let entry = entry?;
        // Let go of meanwhile, or no loop device.
        let Ok(shown) = std::fs::read_to_string(entry.path().join("loop/backing_file")) else { continue };
        let shown = Path::new(shown.trim_end_matches('\n'));
        if shown == file || shown == Path::new("/").join(image) {
            found.push(Path::new("/dev").join(entry.file_name()));
        }
    }
    Ok(found)
}

/// Lets go of an image's loop devices.
fn detach(file: &Path, image: &str) -> io::Result<()> {
    for device in loop_devices(file, image)? {
        match sys::clear(File::open(device)?) {
            Err(error) if error.raw_os_error() != Some(Errno::NXIO.raw_os_error()) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

impl Mapper for Fuse {
    fn find(&self, _: &Spec) -> io::Result<Option<PathBuf>> {
        // Mapping what is mapped gives its device.
        Ok(None)
    }

    fn is_open_here(&self, spec: &Spec) -> io::Result<bool> {
        Ok(!daemons(&self.home(spec).join(CONF))?.is_empty())
    }

    fn map(&self, request: &Request<'_>) -> io::Result<PathBuf> {
        let image = &request.spec.image;
        let path = self.mounted(request.spec).join(image);
        if !self.is_served(request.spec)? {
            detach(&path, image)?;
            self.start(request)?;
        }
        if let Some(device) = loop_devices(&path, image)?.pop() {
            return Ok(device);
        }
        let file = OpenOptions::new().read(true).write(!request.readonly).open(&path)?;
        loopdev::attach_new(&file, request.readonly, TAG)
    }

    fn unmap(&self, spec: &Spec, _: &str) -> io::Result<()> {
        detach(&self.mounted(spec).join(&spec.image), &spec.image)?;
        let (home, at) = (self.home(spec), self.mounted(spec));
        let daemons = daemons(&home.join(CONF))?;
        let end = Instant::now() + LINGERING;
        while self.is_served(spec)? {
            match rustix::mount::unmount(&at, UnmountFlags::NOFOLLOW) {
                // A loop device closes its file a moment after it was let go of.
                Err(Errno::BUSY) if Instant::now() < end => std::thread::sleep(PAUSE),
                // No mount any more.
                Err(Errno::INVAL | Errno::NOENT) => break,
                outcome => outcome?,
            }
        }
        // It closes the image after the unmount; until then the image is in use.
        while daemons.iter().any(|daemon| is_running(daemon)) {
            if Instant::now() >= end {
                return Err(Errno::BUSY.into());
            }
            std::thread::sleep(PAUSE);
        }
        match std::fs::remove_dir_all(&home) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn resized(&self, device: &Path) -> io::Result<()> {
        if device::is_loop(device)? { sys::set_capacity(File::open(device)?) } else { Ok(()) }
    }
}
