//! How the API server is dialled: directly or through a proxy, with TLS, and with signs of life.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use http::{HeaderValue, Uri};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::{Builder, Client as HttpClient};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kube::client::{Body, ConfigExt};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tower::{BoxError, Service};

use super::error::{ClientError, chain};

/// After how long without traffic the operating system asks whether the other side is still there.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// A server that is busy may take this long to answer a ping.
const PING_ANSWER: Duration = Duration::from_secs(2);

pub(super) type Transport = HttpClient<HttpsConnector<Dial>, Body>;

/// Makes connections, directly or through a proxy.
#[derive(Clone)]
pub(super) enum Dial {
    Direct(HttpConnector),
    Proxy(Tunnel<HttpConnector>),
}

impl Service<Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::Direct(http) => http.poll_ready(cx).map_err(Into::into),
            Self::Proxy(tunnel) => Service::<Uri>::poll_ready(tunnel, cx).map_err(Into::into),
        }
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        match self {
            Self::Direct(http) => http.call(to).map(|done| done.map_err(Into::into)).boxed(),
            Self::Proxy(tunnel) => tunnel.call(to).map(|done| done.map_err(Into::into)).boxed(),
        }
    }
}

/// The transport for this configuration. `proxy` is the kubeconfig's; without one the environment counts
/// (HTTPS_PROXY, NO_PROXY, ...), as it does in Go. A connection is given up when the server leaves a ping, sent every
/// `ping`, unanswered for half as long.
///
/// # Errors
/// Certificates that cannot be used, a server name that is none, a proxy that is not reached by HTTP.
pub(super) fn transport(
    config: &kube::Config,
    proxy: Option<&str>,
    ping: Duration,
) -> Result<Transport, ClientError> {
    let setup = |error: kube::Error| ClientError::Setup(chain(&error));
    let http = direct(ping);
    let dial = match proxy_for(&config.cluster_url, proxy, Matcher::from_env)? {
        Some((proxy, auth)) => {
            let tunnel = Tunnel::new(proxy, http);
            Dial::Proxy(match auth {
                Some(auth) => tunnel.with_auth(auth),
                None => tunnel,
            })
        }
        None => Dial::Direct(http),
    };
    let tls = config.rustls_client_config().map_err(setup)?;
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    let builder = match &config.tls_server_name {
        Some(name) => {
            let bad =
                |_| ClientError::Setup(format!("tls-server-name {name:?} in the kubeconfig is no host name"));
            let name = ServerName::try_from(name.clone()).map_err(bad)?;
            builder.with_server_name_resolver(FixedServerNameResolver::new(name))
        }
        None => builder,
    };
    let connector = builder.enable_all_versions().wrap_connector(dial);
    Ok(connections(ping).build(connector))
}

/// Dials a server, or the proxy before it.
fn direct(ping: Duration) -> HttpConnector {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_keepalive(Some(TCP_KEEPALIVE));
    http.set_keepalive_interval(Some(TCP_KEEPALIVE / 3));
    http.set_connect_timeout(Some(Duration::from_secs(30).min(ping.saturating_mul(3))));
    http
}

/// How connections are kept, and when they are given up.
fn connections(ping: Duration) -> Builder {
    let mut builder = HttpClient::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(90))
        // One slow reader must not hold megabytes: a list page fits, the rest waits in the server.
        .http2_initial_stream_window_size(256 * 1024)
        .http2_initial_connection_window_size(1024 * 1024)
        .http2_keep_alive_interval(ping)
        .http2_keep_alive_timeout((ping / 2).max(PING_ANSWER));
    builder
}

/// The proxy that leads to `server`, and how it is told who asks. The `environment`'s counts where the kubeconfig names
/// none.
fn proxy_for(
    server: &Uri,
    kubeconfig: Option<&str>,
    environment: impl FnOnce() -> Matcher,
) -> Result<Option<(Uri, Option<HeaderValue>)>, ClientError> {
    let matcher = match kubeconfig {
        Some(proxy) => Matcher::builder().all(proxy).build(),
        None if is_this_machine(server) => return Ok(None),
        None => environment(),
    };
    let Some(found) = matcher.intercept(server) else {
        let unusable = |proxy: &str| ClientError::Proxy(proxy.to_owned());
        return kubeconfig.map_or(Ok(None), |proxy| Err(unusable(proxy)));
    };
    if found.uri().scheme_str() != Some("http") {
        return Err(ClientError::Proxy(found.uri().to_string()));
    }
    Ok(Some((found.uri().clone(), found.basic_auth().cloned())))
}

/// Whether no proxy can reach it: as Go's ProxyFromEnvironment decides, whatever NO_PROXY says.
fn is_this_machine(server: &Uri) -> bool {
    let host = server.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
