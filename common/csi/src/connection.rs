//! Keeps one HTTP/2 connection to a driver.
//!
//! A task owns the connection. It dials, watches the transport, and dials again when the transport ends.
//! Callers get a cheap handle to the current connection.
//!
//! `Differs:` Go sidecars notice a lost connection only at their next call, and dial again only then. We
//! notice the end of the transport (EOF, reset) at once, publish it through [`Connection::state`], and dial
//! again without waiting for work, with pauses of at most one second.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tonic::Status;

use super::Endpoint;
use super::code::not_sent;

/// Longest wait between two attempts to dial.
const MAX_DELAY: Duration = Duration::from_secs(1);
/// Wait after the first failed attempt; it doubles up to [`MAX_DELAY`].
const FIRST_DELAY: Duration = Duration::from_millis(20);

/// Whether the driver can be called now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// Connected. The generation counts connections from 1: a higher one means that the driver may
    /// have restarted in between.
    Up {
        /// Which connection this is.
        generation: u64,
    },
    /// Not connected: not yet, or the connection was lost.
    Down,
}

/// Limits of the first dial.
#[derive(Debug, Clone, Copy)]
pub struct DialOptions {
    /// Give up after this long.
    pub limit: Duration,
    /// Log that it is still trying this often.
    pub note_every: Duration,
}

impl Default for DialOptions {
    /// 30 s, a line every 10 s (docs/upstream/conventions.md, "Connection").
    fn default() -> Self {
        Self { limit: Duration::from_secs(30), note_every: Duration::from_secs(10) }
    }
}

/// The driver could not be reached in time.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to the CSI driver at {endpoint} within {limit:?}: {cause}")]
pub struct DialError {
    endpoint: String,
    limit: Duration,
    cause: String,
}

pub(super) type Sender = http2::SendRequest<tonic::body::Body>;

/// What the task knows about the connection.
#[derive(Debug, Clone)]
enum Link {
    Up(Sender),
    Dialling,
    /// The last attempt failed; the next one follows by itself.
    Failed(Arc<str>),
}

trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

type Dialling = Pin<Box<dyn Future<Output = io::Result<Box<dyn Transport>>> + Send>>;
type Connector = Box<dyn Fn() -> Dialling + Send + Sync>;

/// A handle to the connection; clones share it. The task behind it ends with the last handle.
#[derive(Debug, Clone)]
pub struct Connection {
    link: watch::Receiver<Link>,
    state: watch::Receiver<LinkState>,
}

impl Connection {
    /// Connects to a driver and waits until that worked. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// [`DialError`] when the driver does not answer within `options.limit`; it names the endpoint and
    /// the last cause.
    pub async fn dial(endpoint: Endpoint, options: DialOptions) -> Result<Self, DialError> {
        let name = endpoint.to_string();
        let mut connection = Self::start(Box::new(move || Box::pin(connect(endpoint.clone()))));
        let deadline = Instant::now() + options.limit;
        let mut note = Instant::now() + options.note_every;
        let mut cause = Arc::from("no answer");
        loop {
            let link = connection.link.borrow_and_update().clone();
            match link {
                Link::Up(_) => return Ok(connection),
                Link::Failed(error) => cause = error,
                Link::Dialling => {}
            }
            tokio::select! {
                _ = connection.link.changed() => {}
                () = sleep_until(note.min(deadline)) => {
                    if Instant::now() >= deadline {
                        let cause = cause.to_string();
                        return Err(DialError { endpoint: name, limit: options.limit, cause });
                    }
                    note += options.note_every;
                    base::info!("Still connecting"; "address" => name);
                }
            }
        }
    }

    /// Keeps a connection over transports that `connector` makes, such as in-memory pipes in tests.
    /// Does not wait: calls wait for the first attempt.
    pub fn from_connector<C, F, T>(connector: C) -> Self
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = io::Result<T>> + Send + 'static,
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self::start(Box::new(move || {
            let dialling = connector();
            Box::pin(async move { Ok(Box::new(dialling.await?) as Box<dyn Transport>) })
        }))
    }

    /// The state of the connection and its changes. A change is published the moment the transport
    /// ends, not at the next call.
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.state.clone()
    }

    fn start(connector: Connector) -> Self {
        let (link_tx, link) = watch::channel(Link::Dialling);
        let (state_tx, state) = watch::channel(LinkState::Down);
        tokio::spawn(keep(connector, link_tx, state_tx));
        Self { link, state }
    }

    /// The sender of the connection of the moment. While a dial is under way this waits for its
    /// outcome, as grpc-go does.
    ///
    /// # Errors
    /// UNAVAILABLE with the cause when the last dial failed.
    pub(super) async fn sender(&self) -> Result<Sender, Status> {
        let mut link = self.link.clone();
        loop {
            match &*link.borrow_and_update() {
                Link::Up(sender) => return Ok(sender.clone()),
                Link::Failed(cause) => return Err(not_sent(&**cause)),
                Link::Dialling => {}
            }
            if link.changed().await.is_err() {
                return Err(not_sent("the connection to the driver was closed"));
            }
        }
    }
}

async fn connect(endpoint: Endpoint) -> io::Result<Box<dyn Transport>> {
    Ok(match endpoint {
        Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await?),
        Endpoint::Tcp { host, port } => {
            let host = if host.is_empty() { "localhost".to_owned() } else { host };
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
    })
}

/// Dials, publishes, watches, and again, until no handle is left.
async fn keep(connector: Connector, link: watch::Sender<Link>, state: watch::Sender<LinkState>) {
    let mut generation = 0;
    let mut delay = Duration::ZERO;
    loop {
        let attempt = tokio::select! {
            attempt = attempt(&connector) => attempt,
            () = link.closed() => return,
        };
        match attempt {
            Ok((sender, transport)) => {
                generation += 1;
                // State first: who sees the link up must not see an older state.
                state.send_replace(LinkState::Up { generation });
                link.send_replace(Link::Up(sender));
                delay = Duration::ZERO;
                let started = Instant::now();
                tokio::select! {
                    () = transport => {}
                    () = link.closed() => return,
                }
                // A peer that accepts and hangs up at once must not be dialled in a tight loop.
                if started.elapsed() < FIRST_DELAY {
                    delay = FIRST_DELAY;
                }
                link.send_replace(Link::Dialling);
                state.send_replace(LinkState::Down);
            }
            Err(error) => {
                let cause = format!("connection error: {error}");
                link.send_replace(Link::Failed(cause.into()));
                delay = (delay * 2).clamp(FIRST_DELAY, MAX_DELAY);
            }
        }
        tokio::select! {
            () = sleep(delay) => {}
            () = link.closed() => return,
        }
        if !matches!(&*link.borrow(), Link::Dialling) {
            link.send_replace(Link::Dialling);
        }
    }
}

/// One dial with its HTTP/2 handshake. The returned future ends with the transport.
async fn attempt(connector: &Connector) -> io::Result<(Sender, impl Future<Output = ()>)> {
    // A peer that accepts but never speaks must not hold the dial for ever; this is grpc-go's minimum
    // connect time.
    let deadline = Instant::now() + Duration::from_secs(20);
    let dial = async {
        let io = TokioIo::new(connector().await?);
        http2::handshake::<_, _, tonic::body::Body>(TokioExecutor::new(), io).await.map_err(io::Error::other)
    };
    let (sender, connection) =
        timeout_at(deadline, dial).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok((sender, async move {
        // How it ended does not matter: the calls on it got their own errors.
        let _ = connection.await;
    }))
}
