//! Why there is no API client.

use thiserror::Error;

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
    /// The proxy cannot be used.
    #[error(
        "proxy {0}: only proxies such as http://host:port can be used; change proxy-url in the kubeconfig, or HTTPS_PROXY"
    )]
    Proxy(String),
    /// Certificates, keys or headers cannot be used.
    #[error("cannot set up the Kubernetes client: {0}")]
    Setup(String),
}

/// An error with its causes on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
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
