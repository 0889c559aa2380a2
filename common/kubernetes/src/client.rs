//! Builds the API client: HTTP/2 over one TLS connection, our user agent, no hidden retries.
//!
//! `Differs:` kube's own stack retries 429, 503 and 504 up to fifteen times by itself and speaks only
//! HTTP/1.1, with one TLS connection per watch and request in flight (crates.md, "kube 5 facts that
//! bite"). Ours leaves retries to the queues, which can show them, and multiplexes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderValue, USER_AGENT};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use thiserror::Error;
use tower::{BoxError, ServiceBuilder};

use super::limit::{Limit, LimitLayer};

/// How the API server is reached.
#[derive(Debug, Clone, Default)]
pub struct ClientOptions {
    /// Path of a kubeconfig; `None` means the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// URL that replaces the kubeconfig's server (`--master`).
    pub master: Option<String>,
    /// `name/version (os/arch)`; shown in audit logs and managedFields.
    pub user_agent: String,
    /// `--kube-api-qps` and `--kube-api-burst`, when given on the command line.
    pub rate: Option<(f64, u32)>,
}

/// Why there is no client. Every case ends the process with exit code 1.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The kubeconfig cannot be read or parsed.
    #[error("--kubeconfig {path}: {reason}; give the path of a readable kubeconfig")]
    Kubeconfig {
        /// As given.
        path: String,
        /// What the loader says.
        reason: String,
    },
    /// Neither a kubeconfig nor a service account.
    #[error(
        "not running in a pod ({0}); give --kubeconfig, or run with a service account and KUBERNETES_SERVICE_HOST set"
    )]
    NotInCluster(String),
    /// `--master` is no URL.
    #[error("--master {0}: not a URL such as https://host:6443")]
    Master(String),
    /// Certificates, keys or headers cannot be used.
    #[error("cannot set up the Kubernetes client: {0}")]
    Setup(String),
}

/// Loads the configuration and builds a client. Nothing is sent yet.
pub async fn client(options: &ClientOptions) -> Result<kube::Client, ClientError> {
    let config = config(options).await?;
    build(&config, options)
}

async fn config(options: &ClientOptions) -> Result<kube::Config, ClientError> {
    let mut config = match &options.kubeconfig {
        Some(path) => from_kubeconfig(path).await?,
        None if options.master.is_some() && kube::Config::incluster().is_err() => {
            kube::Config::new(http::Uri::from_static("https://127.0.0.1"))
        }
        None => kube::Config::incluster().map_err(|error| ClientError::NotInCluster(error.to_string()))?,
    };
    if let Some(master) = &options.master {
        let uri: http::Uri = master.parse().map_err(|_| ClientError::Master(master.clone()))?;
        if uri.scheme().is_none() || uri.authority().is_none() {
            return Err(ClientError::Master(master.clone()));
        }
        config.cluster_url = uri;
    }
    Ok(config)
}

async fn from_kubeconfig(path: &Path) -> Result<kube::Config, ClientError> {
    let failed = |reason: String| ClientError::Kubeconfig { path: path.display().to_string(), reason };
    let kubeconfig = Kubeconfig::read_from(path).map_err(|error| failed(chain(&error)))?;
    kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| failed(chain(&error)))
}

fn build(config: &kube::Config, options: &ClientOptions) -> Result<kube::Client, ClientError> {
    let setup = |error: kube::Error| ClientError::Setup(chain(&error));
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(Duration::from_secs(30)));
    let mut tls = config.rustls_client_config().map_err(setup)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let connector = hyper_rustls::HttpsConnector::from((http, Arc::new(tls)));
    let transport: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(90))
        // One slow reader must not hold megabytes: a list page fits, the rest waits in the server.
        .http2_initial_stream_window_size(256 * 1024)
        .http2_initial_connection_window_size(1024 * 1024)
        .http2_keep_alive_interval(Duration::from_secs(30))
        .http2_keep_alive_timeout(Duration::from_secs(15))
        .build(connector);
    let agent =
        HeaderValue::from_str(&options.user_agent).map_err(|error| ClientError::Setup(error.to_string()))?;
    let service = ServiceBuilder::new()
        .layer(LimitLayer::new(
            options.rate.map_or(Limit::adaptive(), |(qps, burst)| Limit::rate(qps, burst)),
        ))
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(setup)?)
        .map_err(BoxError::from)
        .layer(config.extra_headers_layer().map_err(setup)?)
        .map_request(move |mut request: http::Request<Body>| {
            request.headers_mut().insert(USER_AGENT, agent.clone());
            request
        })
        .service(transport);
    Ok(kube::Client::new(service, config.default_namespace.clone()))
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text.replace('\n', " ")
}
