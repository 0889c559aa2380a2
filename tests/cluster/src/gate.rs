//! A gate between a sidecar and the API server, which can be shut.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// It passes.
    Passes,
    /// Connections are cut, and new ones are refused.
    Refused,
    /// Connections stay, and nothing passes until it does again.
    Hangs,
}

/// The gate. It opens at its start and is gone when this is dropped.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    traffic: watch::Sender<Traffic>,
}

impl Gate {
    /// A gate in front of `server`.
    ///
    /// # Errors
    /// There is no port to listen on.
    pub async fn before(server: SocketAddr) -> io::Result<Gate> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let traffic = watch::Sender::new(Traffic::Passes);
        tokio::spawn(listen(Some(listener), address, server, traffic.subscribe()));
        Ok(Gate { address, traffic })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What becomes of traffic from now on.
    pub fn set(&self, traffic: Traffic) {
        self.traffic.send_replace(traffic);
    }
}

/// Accepts connections while they are not refused, until the gate is gone.
async fn listen(
    mut listener: Option<TcpListener>,
    address: SocketAddr,
    server: SocketAddr,
    mut traffic: watch::Receiver<Traffic>,
) {
    loop {
        if *traffic.borrow_and_update() == Traffic::Refused {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(address).await.ok();
        }
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await.ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = accepted => {
                if let Some((client, _)) = accepted {
                    tokio::spawn(connect(client, server, traffic.clone()));
                }
            }
            changed = traffic.changed() => if changed.is_err() { return },
        }
    }
}

async fn connect(client: TcpStream, server: SocketAddr, traffic: watch::Receiver<Traffic>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        _ = pass(from_client, to_server, traffic.clone()) => {}
        _ = pass(from_server, to_client, traffic) => {}
    }
}

/// Passes bytes on while they may pass; ends when either side does, and when traffic is refused.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut traffic: watch::Receiver<Traffic>,
) -> io::Result<()> {
    let mut bytes = vec![0; 16 * 1024];
    let mut refused = traffic.clone();
    loop {
        let read = tokio::select! {
            read = from.read(&mut bytes) => read?,
            _ = refused.wait_for(|traffic| *traffic == Traffic::Refused) => return Ok(()),
        };
        let passes = traffic.wait_for(|traffic| *traffic != Traffic::Hangs).await;
        if read == 0 || !passes.is_ok_and(|traffic| *traffic == Traffic::Passes) {
            return Ok(());
        }
        to.write_all(bytes.get(..read).unwrap_or_default()).await?;
    }
}
