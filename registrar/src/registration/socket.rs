//! The registration socket in the kubelet's folder.

use std::ffi::CString;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Mode;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::net::unix::pipe::Receiver;
use tokio::net::{UnixListener, UnixSocket};

use super::health::SocketState;

/// Only the kubelet, which is root, may connect.
const MODE: Mode = Mode::from_raw_mode(0o700);
/// Longer than a socket is without its name.
const INSTANT: Duration = Duration::from_secs(60);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 128;

/// Where the socket of a driver is: `<folder>/<driver>-reg.sock`.
pub(crate) fn path(folder: &str, driver: &str) -> PathBuf {
    Path::new(folder).join(format!("{driver}-reg.sock"))
}

/// Which file a socket is, so that another process's socket is not taken for it: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity(u64, u64);

/// Listens. A socket that another process left, or has, is replaced in one step: the place is never empty. So two registrars of one
/// driver, as during an update with `maxSurge`, do not both make the socket: the earlier one sees that another process has it.
///
/// # Errors
/// The operating system's error. A file that is not a socket is an error; we do not remove it.
pub(crate) fn listen(path: &Path) -> io::Result<(UnixListener, Identity)> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err(io::Error::other(format!("{} is no socket: remove it", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    remove_remains(path);
    let socket = UnixSocket::new_stream()?;
    // Before it has a name, so that it never has another mode.
    rustix::fs::fchmod(&socket, MODE)?;
    let new = new_name(path);
    socket.bind(&new)?;
    let ready = || {
        let metadata = std::fs::symlink_metadata(&new)?;
        // The kubelet connects as soon as it sees the name.
        let listener = socket.listen(BACKLOG)?;
        std::fs::rename(&new, path)?;
        Ok((listener, Identity(metadata.dev(), metadata.ino())))
    };
    ready().inspect_err(|_: &io::Error| drop(std::fs::remove_file(&new)))
}

/// The name of a socket before it has its own: short, because a socket's path may have 107 bytes. The kubelet looks at no file whose
/// name begins with a dot. Two registrars may both be process 1 of their containers, so the second half is drawn.
fn new_name(path: &Path) -> PathBuf {
    let random = RandomState::new().hash_one(std::process::id());
    path.with_file_name(format!("{}{:08x}", new_prefix(path), random >> 32))
}

/// How the names of the new sockets of one driver begin: with a hash (FNV-1a) that stays the same from release to release.
fn new_prefix(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let hash =
        name.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    format!(".{hash:08x}-")
}

/// Removes what registrars of this driver left that were killed before their sockets had their names. Another one that starts now has
/// a socket without a name for an instant.
fn remove_remains(path: &Path) {
    let prefix = new_prefix(path);
    let entries = path.parent().and_then(|folder| std::fs::read_dir(folder).ok());
    for entry in entries.into_iter().flatten().flatten() {
        let is_new = entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix));
        let is_old_socket = |metadata: std::fs::Metadata| {
            let age = metadata.modified().ok().and_then(|made| made.elapsed().ok());
            metadata.file_type().is_socket() && age.is_some_and(|age| age > INSTANT)
        };
        if is_new && entry.metadata().is_ok_and(is_old_socket) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Removes our socket, if it is there.
///
/// # Errors
/// The operating system's error.
pub(crate) fn remove(path: &Path, ours: Identity) -> io::Result<()> {
    match state(path, ours) {
        SocketState::Ours => std::fs::remove_file(path),
        SocketState::Missing | SocketState::Wrong(_) => Ok(()),
    }
}

/// What is where our socket should be.
pub(crate) fn state(path: &Path, ours: Identity) -> SocketState {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if Identity(metadata.dev(), metadata.ino()) == ours => SocketState::Ours,
        Ok(metadata) if metadata.file_type().is_socket() => SocketState::Wrong(format!(
            "another process has replaced the registration socket {}",
            path.display()
        )),
        Ok(_) => SocketState::Wrong(format!("{} is no socket: remove it", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => SocketState::Missing,
        Err(error) => SocketState::Wrong(format!("{}: {error}", path.display())),
    }
}

/// Resolves when nothing is left where the socket should be. The operating system tells us; we do not poll. A socket of
/// another process that took the place is left there.
///
/// # Errors
/// The operating system's error. Then it does not tell us.
pub(crate) async fn vanished(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let name = CString::new(folder.as_os_str().as_encoded_bytes()).map_err(io::Error::other)?;
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let events =
        WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
    match inotify::add_watch(&watch, name.as_c_str(), events) {
        Ok(_) => {}
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    // tokio's reader of pipes reads any descriptor of this kind.
    let watch = Receiver::from_owned_fd_unchecked(watch)?;
    // Asked after the watch began, so that nothing is missed.
    while std::fs::symlink_metadata(path).is_ok() {
        watch.readable().await?;
        // What happened does not matter: we look at the place.
        match watch.try_read(&mut [0; 1024]) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

    use super::*;

    #[tokio::test]
    async fn socket_replaces_a_stale_one_and_is_its_owners_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path().to_str().unwrap(), "driver.example");
        assert_eq!(path, folder.path().join("driver.example-reg.sock"));
        let (stale, _) = listen(&path).unwrap();
        drop(stale);
        assert!(path.exists(), "a killed process leaves it");
        let (_listener, ours) = listen(&path).unwrap();
        assert_eq!(state(&path, ours), SocketState::Ours);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        tokio::net::UnixStream::connect(&path).await.unwrap();
        remove(&path, ours).unwrap();
        remove(&path, ours).unwrap();
        assert_eq!(state(&path, ours), SocketState::Missing);
    }

    #[tokio::test]
    async fn socket_of_another_process_is_told_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("driver-reg.sock");
        let (_first, ours) = listen(&path).unwrap();
        let (_second, theirs) = listen(&path).unwrap();
        assert!(matches!(state(&path, ours), SocketState::Wrong(what) if what.contains("another process")));
        remove(&path, ours).unwrap();
        assert_eq!(state(&path, theirs), SocketState::Ours);
    }

    #[tokio::test]
    async fn sockets_of_killed_processes_that_had_no_name_yet_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("driver-reg.sock");
        let other = folder.path().join("other-reg.sock");
        let (left, fresh, strange) = (new_name(&path), new_name(&path), new_name(&other));
        let long_ago = Timespec { tv_sec: 1_000_000, tv_nsec: 0 };
        let long_ago = Timestamps { last_access: long_ago, last_modification: long_ago };
        for remains in [&left, &fresh, &strange] {
            drop(std::os::unix::net::UnixListener::bind(remains).unwrap());
            if remains != &fresh {
                rustix::fs::utimensat(CWD, remains, &long_ago, AtFlags::empty()).unwrap();
            }
        }
        let (_listener, _) = listen(&path).unwrap();
        assert!(!left.exists() && strange.exists(), "another driver's is not ours to judge");
        assert!(fresh.exists(), "another process is about to name it");
    }

    /// Between two steps the earlier process would make its own socket anew.
    #[tokio::test]
    async fn socket_of_an_earlier_process_is_replaced_in_one_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("driver-reg.sock");
        let (_first, ours) = listen(&path).unwrap();
        let watch = inotify::init(CreateFlags::NONBLOCK).unwrap();
        inotify::add_watch(&watch, folder.path(), WatchFlags::DELETE).unwrap();
        let (_second, theirs) = listen(&path).unwrap();
        let removed = rustix::io::read(&watch, &mut [0_u8; 1024]);
        assert_eq!(removed, Err(rustix::io::Errno::AGAIN), "nothing was removed");
        assert!(ours != theirs && state(&path, theirs) == SocketState::Ours);
        let names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().flatten().map(|e| e.file_name()).collect();
        assert_eq!(names, ["driver-reg.sock"], "nothing else is left");
        tokio::net::UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn file_in_the_sockets_place_is_left_alone_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("driver-reg.sock");
        std::fs::write(&path, "precious").unwrap();
        let error = listen(&path).unwrap_err();
        assert!(error.to_string().ends_with("driver-reg.sock is no socket: remove it"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        assert!(listen(&folder.path().join("none/driver-reg.sock")).is_err());
    }

    #[tokio::test]
    async fn socket_that_is_removed_is_missed_and_another_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("driver-reg.sock"), folder.path().join("other"));
        let _socket = listen(&path).unwrap();
        std::fs::write(&other, "").unwrap();
        let mut gone = std::pin::pin!(vanished(&path));
        let moment = Duration::from_millis(50);
        assert!(tokio::time::timeout(moment, gone.as_mut()).await.is_err());
        std::fs::remove_file(&other).unwrap();
        assert!(tokio::time::timeout(moment, gone.as_mut()).await.is_err());
        std::fs::remove_file(&path).unwrap();
        tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap().unwrap();
        vanished(&folder.path().join("none/driver-reg.sock")).await.unwrap();
    }
}
