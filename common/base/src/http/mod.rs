//! A small HTTP/1 server for metrics, leader health, and what a sidecar adds.
//!
//! [`serve`] binds the address before it returns, so a port in use ends the program at start-up. Requests are
//! few and come from kubelet and Prometheus. Even so the number of connections is limited: for a new one, the one that was
//! idle for longest is closed, of the peer that has most. So is one that sends no request within ten seconds. Source: docs/upstream/conventions.md,
//! "HTTP endpoints".

mod connections;
mod guard;
mod reply;
mod tls;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use ::http::{HeaderValue, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::log::quote::quoted;
use crate::metrics::{Metrics, page};
use crate::status::{self, Asked, Board};

use connections::{Connections, Place};
pub use guard::{Access, Decision, Guard, Question, Refusal, bearer};
pub use reply::Reply;
pub use tls::{Tls, TlsError};

/// Path of the leader's health (only with leader election and `--http-endpoint`).
pub const LEADER_HEALTH: &str = "/healthz/leader-election";

/// Path of the status page (only with `--status-page`).
pub const STATUS: &str = "/status";
/// What leads to the status page. It is not the page: on OpenShift every account may get this path.
const FRONT: &str = "/";
/// How long a status page is shown again as it is: a flood of requests for it makes no work.
const FRESH: Duration = Duration::from_secs(1);
/// The least time between the making of two status pages.
const BETWEEN_PAGES: Duration = Duration::from_millis(200);
const HTML: &str = "text/html; charset=utf-8";

const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest head of a request; a token may be half as long.
const LONGEST_HEAD: usize = 32 * 1024;
/// Longest life of a connection, so that slow readers cannot hold all of them for ever.
const CONNECTION_LIFE: Duration = Duration::from_secs(300);

type Answer = Pin<Box<dyn Future<Output = Reply> + Send>>;

struct Route {
    /// Answers a query: the text after `?`, empty if there is none.
    answer: Box<dyn Fn(&str) -> Answer + Send + Sync>,
    /// Whether the guard is asked first, if there is one.
    is_guarded: bool,
}

/// The last status page.
struct Kept {
    asked: Asked,
    made: Instant,
    body: String,
}

/// Paths and their answers; any method is answered, any other path is 404.
#[derive(Default)]
pub struct Routes(BTreeMap<String, Route>);

impl Routes {
    /// No route at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves the metrics page under `path`. `?name[]=FAMILY`, which may be repeated, selects families by name.
    #[must_use]
    pub fn metrics(self, path: &str, metrics: Arc<Metrics>) -> Self {
        self.guarded_route(path, move |query| {
            let body = metrics.scrape(&families(query));
            let content_type = page::CONTENT_TYPE;
            std::future::ready(Reply { status: StatusCode::OK, content_type, body })
        })
    }

    /// Serves the status page under [`STATUS`]: HTML, or JSON with `?format=json`. `?object=NAMESPACE/NAME` shows one object. The same
    /// page is made once a second at the most; of different ones, the next is made a fifth of a second after the last.
    #[must_use]
    pub fn status(self, board: Board) -> Self {
        board.serve();
        let (board, kept) = (Arc::new(board), Arc::<tokio::sync::Mutex<Option<Kept>>>::default());
        self.guarded_route(STATUS, move |query| {
            let asked = Asked::parse(query);
            let content_type = if asked.json { "application/json" } else { HTML };
            let (board, kept) = (board.clone(), kept.clone());
            async move {
                // Who asks for another page waits for its turn here.
                let mut kept = kept.lock().await;
                if let Some(last) = &*kept {
                    if last.asked == asked && last.made.elapsed() < FRESH {
                        return Reply { status: StatusCode::OK, content_type, body: last.body.clone() };
                    }
                    tokio::time::sleep_until(last.made + BETWEEN_PAGES).await;
                }
                let status = board.gather(asked.object.as_deref());
                let body =
                    if asked.json { status::json::render(&status) } else { status::html::render(&status) };
                *kept = Some(Kept { asked, made: Instant::now(), body: body.clone() });
                Reply { status: StatusCode::OK, content_type, body }
            }
        })
    }

    /// Serves [`LEADER_HEALTH`]: 200 `ok`, or 500 with the text `healthy` gives as error.
    #[must_use]
    pub fn leader_health<F>(self, healthy: F) -> Self
    where
        F: Fn() -> Result<(), String> + Send + Sync + 'static,
    {
        self.route(LEADER_HEALTH, move || {
            std::future::ready(match healthy() {
                Ok(()) => Reply::ok(),
                Err(error) => Reply::text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    format!("internal server error: {error}\n"),
                ),
            })
        })
    }

    /// Serves `path` with whatever `answer` resolves to. A path added twice keeps the last answer.
    #[must_use]
    pub fn route<F, R>(mut self, path: &str, answer: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        let answer = Box::new(move |_: &str| -> Answer { Box::pin(answer()) });
        self.0.insert(path.to_owned(), Route { answer, is_guarded: false });
        self
    }

    fn guarded_route<F, R>(mut self, path: &str, answer: F) -> Self
    where
        F: Fn(&str) -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        let answer = Box::new(move |query: &str| -> Answer { Box::pin(answer(query)) });
        self.0.insert(path.to_owned(), Route { answer, is_guarded: true });
        self
    }

    async fn answer<B>(&self, request: &Request<B>, peer: IpAddr, access: &Access) -> Response<Full<Bytes>> {
        let (uri, headers) = (request.uri(), request.headers());
        let leads_on = uri.path() == FRONT && !self.0.contains_key(FRONT) && self.0.contains_key(STATUS);
        let reply = match self.0.get(uri.path()) {
            Some(route) => {
                let checked =
                    if route.is_guarded { access.check(headers, uri.path(), peer).await } else { Ok(()) };
                match checked {
                    Ok(()) => (route.answer)(uri.query().unwrap_or_default()).await,
                    Err(refusal) => refusal.reply(uri.path()),
                }
            }
            None if leads_on => Reply::text(StatusCode::FOUND, format!("the status page is at {STATUS}\n")),
            None => Reply::text(StatusCode::NOT_FOUND, "404 page not found\n"),
        };
        let mut response = Response::new(Full::new(Bytes::from(reply.body)));
        *response.status_mut() = reply.status;
        let content_type = HeaderValue::from_static(reply.content_type);
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        if leads_on {
            // Relative: a proxy serves it under a path of its own.
            response.headers_mut().insert(LOCATION, HeaderValue::from_static("status"));
        }
        if uri.path() == STATUS {
            response.headers_mut().extend(page_headers());
        }
        response
    }
}

/// What a browser may do with the status page: show it. It keeps no copy.
fn page_headers() -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let headers = [
        (CONTENT_SECURITY_POLICY, status::html::POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ];
    headers.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value)))
}

/// The metric families that a query names; none means all.
fn families(query: &str) -> Vec<String> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    pairs.filter(|(key, _)| key == "name[]").map(|(_, name)| name.into_owned()).collect()
}

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be read.
    #[error("{} is not a listen address: write host:port or :port", quoted(.0))]
    Address(String),
    /// The system refuses it.
    #[error("cannot listen on {}: {source}", quoted(address))]
    Listen {
        /// The address as given.
        address: String,
        /// The system's reason.
        source: io::Error,
    },
}

/// A running server; dropping it stops it.
#[derive(Debug)]
pub struct Server {
    local_address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// The address it listens on, with the port the system chose if port 0 was asked for.
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Listens on `address` (Go's forms: `:8080`, `0.0.0.0:8080`, `[::]:80`, `host:80`) and serves
/// `routes` in the background. Must be called within a tokio runtime.
///
/// # Errors
/// [`ListenError`] if the address cannot be read or bound.
pub fn serve(address: &str, routes: Routes) -> Result<Server, ListenError> {
    serve_with(address, routes, Access::default())
}

/// As [`serve`], reached as `access` says.
///
/// # Errors
/// As [`serve`].
pub fn serve_with(address: &str, routes: Routes, access: Access) -> Result<Server, ListenError> {
    let listener = bind(address)?;
    let failed = |source| ListenError::Listen { address: address.to_owned(), source };
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = TcpListener::from_std(listener).map_err(failed)?;
    let local_address = listener.local_addr().map_err(failed)?;
    let task = tokio::spawn(accept(listener, Arc::new((routes, access))));
    Ok(Server { local_address, task })
}

fn bind(address: &str) -> Result<std::net::TcpListener, ListenError> {
    let malformed = || ListenError::Address(address.to_owned());
    let (host, port) = address.rsplit_once(':').ok_or_else(malformed)?;
    let port: u16 = port.parse().map_err(|_| malformed())?;
    let bound = match host {
        // Both address families, or IPv4 alone where there is no IPv6.
        "" => std::net::TcpListener::bind(("::", port))
            .or_else(|_| std::net::TcpListener::bind(("0.0.0.0", port))),
        _ => address
            .to_socket_addrs()
            .and_then(|addresses| std::net::TcpListener::bind(&addresses.collect::<Vec<_>>()[..])),
    };
    bound.map_err(|source| ListenError::Listen { address: address.to_owned(), source })
}

async fn accept(listener: TcpListener, site: Arc<(Routes, Access)>) {
    let connections = Arc::new(Connections::default());
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                // A socket for both address families shows IPv4 addresses as IPv6 ones.
                let (site, peer) = (Arc::clone(&site), address.ip().to_canonical());
                connections.begin(peer, |place| greet(stream, site, Caller { peer, place }));
                // Before the next comes, perhaps in its place, this one's request is read, if it is there.
                tokio::task::yield_now().await;
            }
            Err(error) => {
                // Out of file descriptors, most likely: a pause lets some be closed.
                crate::warn!("Cannot accept an HTTP connection"; "err" => error);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Who is at the other end, and the place that the connection takes.
struct Caller {
    peer: IpAddr,
    place: Place,
}

async fn greet(stream: TcpStream, site: Arc<(Routes, Access)>, caller: Caller) {
    let Some(tls) = &site.1.tls else { return converse(stream, site, caller).await };
    match tokio::time::timeout(HEADER_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => converse(stream, site, caller).await,
        // Somebody who speaks no TLS, or does not trust the certificate.
        Ok(Err(error)) => crate::v!(4, "No TLS connection"; "err" => error),
        Err(_) => {}
    }
}

async fn converse<S>(stream: S, site: Arc<(Routes, Access)>, caller: Caller)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let own = Arc::new((site, caller));
    let service = service_fn(move |request: Request<Incoming>| {
        let own = Arc::clone(&own);
        async move {
            let (site, Caller { peer, place }) = &*own;
            let (routes, access) = &**site;
            place.set_busy(true);
            let response = routes.answer(&request, *peer, access).await;
            place.set_busy(false);
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // A client that hangs up or talks nonsense is its own problem.
        _ = connection.as_mut() => return,
        () = tokio::time::sleep(CONNECTION_LIFE) => connection.as_mut().graceful_shutdown(),
    }
    let _ = tokio::time::timeout(HEADER_TIMEOUT, connection).await;
}

#[cfg(test)]
mod tests;
