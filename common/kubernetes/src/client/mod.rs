//! Builds the API client: HTTP/2 over one TLS connection, our user agent, no hidden retries.
//!
//! kube's own stack (version 5) retries 429, 503 and 504 up to fifteen times by itself, and speaks only
//! HTTP/1.1, with one TLS connection for each watch and each request in flight. This client leaves retries to
//! the queues, where metrics show them, and sends everything over one connection.

mod count;
mod error;
mod kubeconfig;
mod transport;

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::{HeaderValue, USER_AGENT};
use kube::client::{Body, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tower::{BoxError, ServiceBuilder};

pub use count::RequestMetrics;
pub use error::ClientError;
use error::chain;
pub use kubeconfig::as_kubectl;
use transport::transport;

use crate::limit::{Limit, LimitLayer};

/// How often a quiet connection is pinged.
const PING: Duration = Duration::from_secs(30);

/// How the API server is reached.
#[derive(Debug, Clone, Default)]
pub struct ClientOptions {
    /// Path of a kubeconfig, or several with colons between them; `None` means the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; `None` means its current one.
    pub context: Option<String>,
    /// URL that replaces the kubeconfig's server (`--master`).
    pub master: Option<String>,
    /// `name/version (os/arch)`; shown in audit logs and managedFields.
    pub user_agent: String,
    /// `--kube-api-qps` and `--kube-api-burst`, when given on the command line.
    pub rate: Option<(f64, u32)>,
    /// How often a quiet connection is pinged; half as long may an answer take. `None` means every 30 s.
    pub ping: Option<Duration>,
    /// Where requests are counted, if anywhere.
    pub metrics: Option<RequestMetrics>,
}

/// Loads the configuration and builds a client. Nothing is sent yet.
pub async fn client(options: &ClientOptions) -> Result<kube::Client, ClientError> {
    let (config, proxy) = config(options).await?;
    build(&config, proxy.as_deref(), options)
}

/// As [`client`], with the API server's address.
///
/// # Errors
/// See [`client`].
pub async fn client_and_server(options: &ClientOptions) -> Result<(kube::Client, String), ClientError> {
    let (config, proxy) = config(options).await?;
    Ok((build(&config, proxy.as_deref(), options)?, config.cluster_url.to_string()))
}

/// The configuration, and the proxy that the kubeconfig names.
async fn config(options: &ClientOptions) -> Result<(kube::Config, Option<String>), ClientError> {
    let (mut config, proxy) = match &options.kubeconfig {
        Some(path) => from_kubeconfig(path, options.context.as_deref()).await?,
        None if options.master.is_some() && kube::Config::incluster().is_err() => {
            (kube::Config::new(http::Uri::from_static("https://127.0.0.1")), None)
        }
        None => {
            let config = kube::Config::incluster();
            (config.map_err(|error| ClientError::NotInCluster(error.to_string()))?, None)
        }
    };
    if let Some(master) = &options.master {
        let uri: http::Uri = master.parse().map_err(|_| ClientError::Master(master.clone()))?;
        if uri.scheme().is_none() || uri.authority().is_none() {
            return Err(ClientError::Master(master.clone()));
        }
        config.cluster_url = uri;
    }
    Ok((config, proxy))
}

async fn from_kubeconfig(
    path: &Path,
    context: Option<&str>,
) -> Result<(kube::Config, Option<String>), ClientError> {
    let failed = |reason: String| ClientError::Kubeconfig { path: path.display().to_string(), reason };
    let mut kubeconfig = kubeconfig::read(path).map_err(|error| failed(chain(&error)))?;
    if let Some(context) = context {
        kubeconfig.current_context = Some(context.to_owned());
    }
    let proxy = proxy_url(&kubeconfig);
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Ok((config.map_err(|error| failed(chain(&error)))?, proxy))
}

/// `proxy-url` of the current context's cluster.
fn proxy_url(kubeconfig: &Kubeconfig) -> Option<String> {
    let current = kubeconfig.current_context.as_ref()?;
    let context = kubeconfig.contexts.iter().find(|context| context.name == *current)?.context.as_ref()?;
    let cluster = kubeconfig.clusters.iter().find(|cluster| cluster.name == context.cluster)?;
    cluster.cluster.as_ref()?.proxy_url.clone().filter(|url| !url.is_empty())
}

fn build(
    config: &kube::Config,
    proxy: Option<&str>,
    options: &ClientOptions,
) -> Result<kube::Client, ClientError> {
    let setup = |error: kube::Error| ClientError::Setup(chain(&error));
    let transport = transport(config, proxy, options.ping.unwrap_or(PING))?;
    let agent =
        HeaderValue::from_str(&options.user_agent).map_err(|error| ClientError::Setup(error.to_string()))?;
    let service = ServiceBuilder::new()
        .layer(LimitLayer::new(
            options.rate.map_or(Limit::adaptive(), |(qps, burst)| Limit::rate(qps, burst)),
        ))
        .layer(config.base_uri_layer())
        .option_layer(options.metrics.clone())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kubeconfigs_way_to_the_server_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        let text = "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts:\n- {name: c, context: {cluster: c, user: u}}\n\
            users:\n- {name: u, user: {token: t}}\nclusters:\n- {name: other, cluster: {server: \"https://other\"}}\n\
            - {name: c, cluster: {server: \"https://c\", tls-server-name: name, proxy-url: \"socks5://proxy:1080\"}}\n";
        std::fs::write(&path, text).unwrap();
        let (config, proxy) = from_kubeconfig(&path, None).await.unwrap();
        assert_eq!(config.tls_server_name.as_deref(), Some("name"));
        assert_eq!(proxy.as_deref(), Some("socks5://proxy:1080"));
        let error =
            build(&config, proxy.as_deref(), &ClientOptions::default()).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("socks5://proxy:1080")), "refused, not ignored");
    }
}
