//! Listening on a driver's endpoint, and cleaning up after it.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use csi::Endpoint;
use rustix::fs::Mode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixSocket, UnixStream};
use tonic::transport::server::Connected;

const SOCKET_MODE: Mode = Mode::from_raw_mode(0o600);
/// After a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// A socket that accepts connections. A Unix socket's file goes with it.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    path: Option<PathBuf>,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    /// Listens; a socket file that a killed process left is replaced. Only the driver's own user may connect
    /// to a Unix socket, whatever the umask is. A TCP endpoint without a host is on this machine only: there
    /// is neither TLS nor a password, and who can call the driver can mount as root.
    ///
    /// Differs: the Go driver takes a missing host for all interfaces; ours listens on 127.0.0.1. The Go driver's socket
    /// has the mode that the umask leaves; ours has 0600, so a sidecar must run as the driver's user or as root.
    ///
    /// # Errors
    /// The system's; a file in the socket's place that is no socket is not touched.
    pub async fn bind(endpoint: &Endpoint) -> io::Result<Self> {
        match endpoint {
            Endpoint::Unix(path) => {
                remove_socket(path)?;
                let socket = UnixSocket::new_stream()?;
                // Before it has a name, so that it never has another mode.
                rustix::fs::fchmod(&socket, SOCKET_MODE)?;
                socket.bind(path)?;
                Ok(Self { socket: Socket::Unix(socket.listen(BACKLOG)?), path: Some(path.clone()) })
            }
            Endpoint::Tcp { host, port } => {
                let host = if host.is_empty() { "127.0.0.1" } else { host };
                let socket = TcpListener::bind((host, *port)).await?;
                let address = socket.local_addr()?;
                if !address.ip().is_loopback() {
                    base::warn!("Everybody who reaches this address can mount and delete volumes as root: there is \
                        no TLS. Use a Unix socket or a loopback address, or set --target-root"; "address" => address);
                }
                Ok(Self { socket: Socket::Tcp(socket), path: None })
            }
        }
    }

    /// The next connection. What the system refuses, as for want of file descriptors, is tried again after a
    /// pause, so that the driver does not spin meanwhile.
    pub async fn next(&self) -> Stream {
        loop {
            match self.accept().await {
                Ok(stream) => return stream,
                Err(error) => base::error!(error, "Cannot accept a connection"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn accept(&self) -> io::Result<Stream> {
        match &self.socket {
            Socket::Unix(listener) => Ok(Stream::Unix(listener.accept().await?.0)),
            Socket::Tcp(listener) => {
                let stream = listener.accept().await?.0;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // Best effort: the next start replaces it.
            let _ = remove_socket(path);
        }
    }
}

fn remove_socket(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if metadata.file_type().is_socket() => std::fs::remove_file(path),
        Ok(_) => Err(io::Error::other(format!("{} exists and is no socket: remove it", path.display()))),
    }
}

/// One connection.
#[derive(Debug)]
pub enum Stream {
    /// Over a Unix socket.
    Unix(UnixStream),
    /// Over TCP.
    Tcp(TcpStream),
}

impl Connected for Stream {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[tokio::test]
    async fn a_unix_socket_is_its_owners_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("csi.sock");
        let _listener = Listener::bind(&Endpoint::Unix(path.clone())).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn a_missing_host_is_this_machine() {
        let listener = Listener::bind(&Endpoint::Tcp { host: String::new(), port: 0 }).await.unwrap();
        let Socket::Tcp(socket) = &listener.socket else { panic!("{listener:?}") };
        assert!(socket.local_addr().unwrap().ip().is_loopback());
    }
}
