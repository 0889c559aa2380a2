//! A driver that takes its time: a relay on a socket of its own, which holds back what the driver answers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// The relay. Dropping it ends it.
pub(super) struct Relay {
    /// Where it listens.
    pub(super) socket: PathBuf,
    millis: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// A relay to the driver's socket, which holds back nothing yet.
    pub(super) fn begin(driver: &Path) -> Result<Self> {
        let socket = driver.with_extension("slow");
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).with_context(|| socket.display().to_string())?;
        let millis = Arc::new(AtomicU64::new(0));
        let (driver, delay) = (driver.to_owned(), millis.clone());
        let task = tokio::spawn(async move {
            while let Ok((sidecar, _)) = listener.accept().await {
                let Ok(driver) = UnixStream::connect(&driver).await else { continue };
                let ((asked, answers), (answered, asks)) = (sidecar.into_split(), driver.into_split());
                tokio::spawn(held_back(asked, asks, Arc::default()));
                tokio::spawn(held_back(answered, answers, delay.clone()));
            }
        });
        Ok(Self { socket, millis, task })
    }

    /// From now on each answer comes so much later.
    pub(super) fn hold_back(&self, delay: Duration) {
        self.millis.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Hands on what is read, each piece after the delay; many pieces may be under way.
async fn held_back(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, millis: Arc<AtomicU64>) {
    let (sender, mut pieces) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let writing = tokio::spawn(async move {
        while let Some((at, piece)) = pieces.recv().await {
            sleep_until(at).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let at = Instant::now() + Duration::from_millis(millis.load(Ordering::Relaxed));
        let piece = buffer.get(..length).unwrap_or_default().to_vec();
        if sender.send((at, piece)).is_err() {
            break;
        }
    }
    drop(sender);
    let _ = writing.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_are_held_back_and_questions_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let driver = folder.path().join("csi.sock");
        let listener = UnixListener::bind(&driver).expect("bound");
        let relay = Relay::begin(&driver).expect("a relay");
        relay.hold_back(Duration::from_millis(200));
        let mut sidecar = UnixStream::connect(&relay.socket).await.expect("connected");
        let (mut served, _) = listener.accept().await.expect("a connection");
        let begun = Instant::now();
        sidecar.write_all(b"ask").await.expect("written");
        let mut text = [0; 3];
        served.read_exact(&mut text).await.expect("asked");
        assert!(begun.elapsed() < Duration::from_millis(200));
        served.write_all(&text).await.expect("answered");
        sidecar.read_exact(&mut text).await.expect("an answer");
        assert!(&text == b"ask" && begun.elapsed() >= Duration::from_millis(200));
    }
}
