//! The state folder: who may work in it, and what is where.
//!
//! ```text
//! <state folder>/drivers/<driver name>/   journal and content of one driver
//! <state folder>/...                      what the Go driver or an earlier version left
//! ```
//! Several drivers of different names share a state folder; a second process of one name waits for the
//! first and then gives up. What was left outside `drivers` is taken over once, by the driver it belongs to.
//!
//! Differs: the Go driver keeps all in the state folder itself, without a lock, so that two drivers there
//! overwrite each other's state. There is no way back to it or to an earlier version: the journal is moved and its
//! form is ours. Copy the state folder before the change; to go back, stop the driver and put the copy in its place.

use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::backend::DRIVERS;
use crate::store::{Change, journal, migrate};

/// Others may neither write nor look.
const MODE: u32 = 0o750;
/// How often a taken lock is tried, and how long to wait between: 15 seconds in all. A predecessor that was told to
/// stop takes [`crate::serve::GRACE`], 10 seconds, at the most.
const ATTEMPTS: usize = 150;
const PAUSE: Duration = Duration::from_millis(100);

/// A driver's place in a state folder, held for as long as this lives.
#[derive(Debug)]
pub(crate) struct Folder {
    /// The state folder, where content may still lie that was taken over.
    pub(crate) shared: PathBuf,
    /// The driver's own folder in it.
    pub(crate) own: PathBuf,
    /// Shared by all drivers; an earlier version held it alone.
    _shared: File,
    /// Held alone.
    _own: File,
}

impl Folder {
    /// Makes and locks the folder of the driver `name` in the state folder, and takes over what belongs to
    /// it. None if another process holds it.
    ///
    /// # Errors
    /// The system's; or the old state cannot be read.
    pub(crate) fn claim(shared: &Path, name: &str) -> io::Result<Option<Self>> {
        DirBuilder::new().recursive(true).mode(MODE).create(shared)?;
        let shared = shared.canonicalize()?;
        let Some(shared_lock) = lock(&shared, FlockOperation::NonBlockingLockShared)? else {
            return Ok(None);
        };
        let drivers = shared.join(DRIVERS);
        let own = drivers.join(name);
        make(&drivers)?;
        make(&own)?;
        let Some(own_lock) = lock(&own, FlockOperation::NonBlockingLockExclusive)? else { return Ok(None) };
        // One at a time: two new drivers must not both take over the same state.
        let taking = File::open(&drivers)?;
        rustix::fs::flock(&taking, FlockOperation::LockExclusive)?;
        take_over(&shared, &own, name)?;
        Ok(Some(Self { shared, own, _shared: shared_lock, _own: own_lock }))
    }
}

/// Makes a folder, or takes away what others may do in one that is there. The state folder itself is the
/// operator's: it may be one that others need.
fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(MODE).create(folder)?;
    let mode = std::fs::metadata(folder)?.permissions().mode() & 0o7777;
    if mode & !MODE & 0o777 != 0 {
        base::warn!("The folder is open to other users: closing it"; "folder" => folder.display());
        std::fs::set_permissions(folder, Permissions::from_mode(mode & MODE))?;
    }
    Ok(())
}

fn lock(folder: &Path, how: FlockOperation) -> io::Result<Option<File>> {
    let file = File::open(folder)?;
    for attempt in 0..ATTEMPTS {
        match rustix::fs::flock(&file, how) {
            Ok(()) => return Ok(Some(file)),
            Err(Errno::WOULDBLOCK) => {}
            Err(error) => return Err(error.into()),
        }
        if attempt == 0 {
            base::info!("Waiting for another driver process to let go of the state folder");
        }
        std::thread::sleep(PAUSE);
    }
    Ok(None)
}

/// Moves the state that was left in the shared folder into a driver's own, if it is this driver's. Content
/// follows when it is recovered: see [`crate::backend::hostpath`]. The journal moves last, so that a kill
/// anywhere leaves the rest to the next start.
fn take_over(shared: &Path, own: &Path, name: &str) -> io::Result<()> {
    if own.join(journal::FILE).exists() {
        return Ok(());
    }
    let files = [journal::FILE, migrate::FILE];
    let changes = match files.iter().find(|file| shared.join(file).exists()) {
        None => return Ok(()),
        Some(&journal::FILE) => journal::read(&shared.join(journal::FILE))?,
        Some(_) => migrate::read(shared, shared).map_err(io::Error::other)?,
    };
    if !is_of(&changes, name) {
        base::info!("The state folder holds state of another driver: left alone"; "folder" => shared.display());
        return Ok(());
    }
    base::info!("Taking over what an earlier driver left"; "folder" => shared.display(), "driver" => name);
    use io::ErrorKind::{DirectoryNotEmpty, NotFound};
    for file in [".new", ".old", migrate::FILE, journal::FILE] {
        match std::fs::rename(shared.join(file), own.join(file)) {
            // The driver was here before, on its own: what it has of these is newer.
            Err(error) if matches!(error.kind(), NotFound | DirectoryNotEmpty) => {}
            outcome => outcome?,
        }
    }
    File::open(own)?.sync_all()?;
    File::open(shared)?.sync_all()
}

/// Whether old state, which does not say whose it is, belongs to a driver. The kubelet's staging paths name
/// the driver. Where no volume is staged, the state belongs to the first driver that starts.
fn is_of(changes: &[Change], name: &str) -> bool {
    let mut staged = Vec::new();
    for change in changes {
        if let Change::Volume(volume) = change {
            staged.extend(volume.staged.iter().filter_map(|path| driver_of(path)));
        }
    }
    staged.is_empty() || staged.contains(&name)
}

/// The driver that a staging path of the kubelet's names:
/// `.../kubernetes.io/csi/<driver>/<64 hex digits>/globalmount`.
fn driver_of(path: &str) -> Option<&str> {
    let mut parts = path.rsplit('/');
    let (last, hash, driver) = (parts.next()?, parts.next()?, parts.next()?);
    let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_kubelets = last == "globalmount" && parts.next()? == "csi" && parts.next()? == "kubernetes.io";
    (is_hash && is_kubelets).then_some(driver)
}

#[cfg(test)]
mod tests;
