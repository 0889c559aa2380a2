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
/// Its key.
const KEYRING: &str = "keyring";
/// Where it mounts.
const MOUNT: &str = "mount";

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
        let image = match spec.cluster.as_str() {
            "" => spec.to_string(),
            cluster => format!("{cluster}/{spec}"),
        };
        self.folder.join(image.replace('%', "%25").replace('/', "%2F"))
    }

    fn mounted(&self, spec: &Spec) -> PathBuf {
        self.home(spec).join(MOUNT)
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
        let keyring = private(KEYRING, &format!("[client.{}]\n\tkey = {key}\n", request.user))?;
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
    fn is_served(&self, spec: &Spec, former: &str) -> io::Result<bool> {
        let at = self.mounted(spec);
        if !mount::table::lists(&at)? {
            return Ok(false);
        }
        if daemons(&self.home(spec).join(CONF))?.iter().any(|daemon| is_running(daemon)) {
            return Ok(true);
        }
        // Before the mount goes, and with it the path by which its devices are known.
        detach(&at.join(&spec.image), former)?;
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

/// Removes an image's folder, one by one what this driver made: to remove a file that rbd-fuse serves is to remove the image.
fn remove_home(home: &Path) -> io::Result<()> {
    let removed = |outcome: io::Result<()>| match outcome {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    [CONF, KEYRING].into_iter().try_for_each(|name| removed(std::fs::remove_file(home.join(name))))?;
    removed(std::fs::remove_dir(home.join(MOUNT)))?;
    removed(std::fs::remove_dir(home))
}

/// What is written on the loop devices, for administrators to see.
const TAG: &str = "mooring-rbd";

/// What a loop device is to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Device {
    /// Its device.
    Usable,
    /// Its device of an earlier map: let go of and open somewhere, or of a daemon that is gone.
    Remains,
    /// Another's.
    Other,
}

/// Decides about a loop device by the path of its file, as sysfs shows it. A file whose mount is not in our mount namespace is shown
/// with its path from there, `/<image>`: images of other pools may be called so too. So it is this image's only if it is `former`,
/// the device that is noted of an earlier map. A daemon that did not answer for a while makes its file look deleted.
fn judge(shown: &str, is_leaving: bool, file: &Path, is_former: bool) -> Device {
    let path = Path::new(shown.strip_suffix(" (deleted)").unwrap_or(shown));
    let is_at_root = || path.parent() == Some(Path::new("/")) && path.file_name() == file.file_name();
    match path == file {
        true if is_leaving => Device::Remains,
        true => Device::Usable,
        false if is_former && is_at_root() => Device::Remains,
        false => Device::Other,
    }
}

/// The loop devices of an image, and what each is to it. They are found by what sysfs shows: asking a device for its settings asks
/// the daemon behind its file, and every other daemon that is asked would have to answer first.
fn loop_devices(file: &Path, former: &str) -> io::Result<Vec<(PathBuf, Device)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/sys/block")? {
        let entry = entry?;
        let setting = |name: &str| std::fs::read_to_string(entry.path().join("loop").join(name));
        // Let go of meanwhile, or no loop device.
        let Ok(shown) = setting("backing_file") else { continue };
        let is_leaving = setting("autoclear").is_ok_and(|set| set.trim() == "1");
        let node = Path::new("/dev").join(entry.file_name());
        let is_former = node == Path::new(former);
        match judge(shown.trim_end_matches('\n'), is_leaving, file, is_former) {
            Device::Other => {}
            device => found.push((node, device)),
        }
    }
    Ok(found)
}

/// Lets go of an image's loop devices.
fn detach(file: &Path, former: &str) -> io::Result<()> {
    for (device, _) in loop_devices(file, former)? {
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

    fn devices(&self, spec: &Spec, former: &str) -> io::Result<Vec<PathBuf>> {
        let found = loop_devices(&self.mounted(spec).join(&spec.image), former)?;
        Ok(found.into_iter().map(|(device, _)| device).collect())
    }

    fn is_open_here(&self, spec: &Spec) -> io::Result<bool> {
        Ok(!daemons(&self.home(spec).join(CONF))?.is_empty())
    }

    fn map(&self, request: &Request<'_>) -> io::Result<PathBuf> {
        let path = self.mounted(request.spec).join(&request.spec.image);
        if !self.is_served(request.spec, request.former)? {
            detach(&path, request.former)?;
            self.start(request)?;
        }
        let end = Instant::now() + LINGERING;
        loop {
            let devices = loop_devices(&path, "")?;
            if let Some((device, _)) = devices.iter().find(|(_, device)| *device == Device::Usable) {
                return Ok(device.clone());
            }
            // One that was let go of may still be mounted somewhere: a second device would give the file system a second time.
            match devices.is_empty() {
                true => break,
                false if Instant::now() >= end => return Err(Errno::BUSY.into()),
                false => std::thread::sleep(PAUSE),
            }
        }
        let file = OpenOptions::new().read(true).write(!request.readonly).open(&path)?;
        loopdev::attach_new(&file, request.readonly, TAG)
    }

    fn unmap(&self, spec: &Spec, former: &str, _: &str) -> io::Result<()> {
        detach(&self.mounted(spec).join(&spec.image), former)?;
        let (home, at) = (self.home(spec), self.mounted(spec));
        let daemons = daemons(&home.join(CONF))?;
        let end = Instant::now() + LINGERING;
        while self.is_served(spec, former)? {
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
        remove_home(&home)
    }

    fn resized(&self, device: &Path) -> io::Result<()> {
        if device::is_loop(device)? { sys::set_capacity(File::open(device)?) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_images_of_two_clusters_have_two_daemons() {
        let fuse = Fuse { folder: PathBuf::from("/run/mooring-rbd"), patience: LINGERING };
        let home = |cluster: &str| {
            let text = |text: &str| text.to_owned();
            fuse.home(&Spec {
                cluster: text(cluster),
                pool: text("rbd"),
                namespace: text("n%"),
                image: text("image"),
            })
        };
        for (cluster, expected) in [
            ("", "/run/mooring-rbd/rbd%2Fn%25%2Fimage"),
            ("f1", "/run/mooring-rbd/f1%2Frbd%2Fn%25%2Fimage"),
            ("f2", "/run/mooring-rbd/f2%2Frbd%2Fn%25%2Fimage"),
        ] {
            assert_eq!(home(cluster), Path::new(expected), "{cluster:?}");
        }
    }

    #[test]
    fn an_images_folder_goes_only_with_nothing_served_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("rbd%2Fimage");
        std::fs::create_dir_all(home.join("mount")).unwrap();
        // As a daemon that was started meanwhile shows it.
        let image = home.join("mount/image");
        for file in [home.join("ceph.conf"), home.join("keyring"), image.clone()] {
            std::fs::write(file, "").unwrap();
        }
        assert!(remove_home(&home).is_err());
        assert!(image.exists(), "to remove it is to remove the image");
        std::fs::remove_file(image).unwrap();
        remove_home(&home).unwrap();
        assert!(!home.exists());
        remove_home(&home).unwrap();
    }

    #[test]
    fn a_device_is_an_images_only_by_its_full_path() {
        let file = Path::new("/run/mooring-rbd/rbd%2Fimage/mount/image");
        let whole = file.to_str().unwrap();
        for (shown, is_leaving, is_former, expected) in [
            (whole, false, false, Device::Usable),
            (whole, false, true, Device::Usable),
            // Let go of, and held open by somebody: it is gone the moment that ends.
            (whole, true, false, Device::Remains),
            ("/run/mooring-rbd/rbd%2Fimage/mount/image (deleted)", false, false, Device::Usable),
            ("/run/mooring-rbd/rbd%2Fimage/mount/image (deleted)", true, false, Device::Remains),
            // The image of this name in another pool or namespace.
            ("/run/mooring-rbd/rbd%2Fn%2Fimage/mount/image", false, false, Device::Other),
            ("/run/mooring-rbd/rbd%2Fn%2Fimage/mount/image", false, true, Device::Other),
            // Its mount is in another mount namespace, or is gone.
            ("/image", false, false, Device::Other),
            ("/image", false, true, Device::Remains),
            ("/image (deleted)", true, true, Device::Remains),
            ("/image2", false, true, Device::Other),
            ("/var/disk", false, true, Device::Other),
        ] {
            assert_eq!(
                judge(shown, is_leaving, file, is_former),
                expected,
                "{shown} {is_leaving} {is_former}"
            );
        }
    }
}
