//! The registration socket in the kubelet's folder.

use std::ffi::CString;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::net::unix::pipe::Receiver;
use tokio::net::{UnixListener, UnixSocket};

use super::health::Place;

/// Only the kubelet, which is root, may connect.
const MODE: Mode = Mode::from_raw_mode(0o700);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 128;

/// Where the socket of a driver is: `<folder>/<driver>-reg.sock`.
pub(crate) fn path(folder: &str, driver: &str) -> PathBuf {
    Path::new(folder).join(format!("{driver}-reg.sock"))
}

/// Listens. A socket that an earlier process left is replaced.
///
/// # Errors
/// The system's; or something that is no socket is in the place, which is left alone.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    remove(path)?;
    let socket = UnixSocket::new_stream()?;
    // Before it has a name, so that it never has another mode.
    rustix::fs::fchmod(&socket, MODE)?;
    socket.bind(path)?;
    socket.listen(BACKLOG)
}

/// Removes the socket; that there is none is fine.
///
/// # Errors
/// As [`listen`].
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match place(path) {
        Place::Empty => Ok(()),
        Place::Socket => std::fs::remove_file(path),
        Place::Wrong(what) => Err(io::Error::other(what)),
    }
}

/// What is at the socket's place.
pub(crate) fn place(path: &Path) -> Place {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => Place::Socket,
        Ok(_) => Place::Wrong(format!("{} is no socket: remove it", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Place::Empty,
        Err(error) => Place::Wrong(format!("{}: {error}", path.display())),
    }
}

/// Resolves when the socket is no longer in its place. The system tells: nothing is polled.
///
/// # Errors
/// The system's: then nobody notices that the socket vanishes, as upstream never does.
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
    while place(path) == Place::Socket {
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
    use std::os::unix::fs::MetadataExt;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn socket_replaces_a_stale_one_and_is_its_owners_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path().to_str().unwrap(), "driver.example");
        assert_eq!(path, folder.path().join("driver.example-reg.sock"));
        drop(listen(&path).unwrap());
        assert_eq!(place(&path), Place::Socket, "a killed process leaves it");
        let _listener = listen(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        tokio::net::UnixStream::connect(&path).await.unwrap();
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(place(&path), Place::Empty);
    }

    #[tokio::test]
    async fn file_in_the_sockets_place_is_left_alone_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("driver-reg.sock");
        std::fs::write(&path, "precious").unwrap();
        for error in [listen(&path).unwrap_err(), remove(&path).unwrap_err()] {
            assert!(error.to_string().ends_with("driver-reg.sock is no socket: remove it"), "{error}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        assert!(listen(&folder.path().join("none/driver-reg.sock")).is_err());
    }

    #[tokio::test]
    async fn socket_that_is_removed_is_missed_and_another_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("driver-reg.sock"), folder.path().join("other"));
        let _listener = listen(&path).unwrap();
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
