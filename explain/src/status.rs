//! Reads the status page of a sidecar: at a URL, or of a pod, through the API server.

use std::fmt;
use std::time::Duration;

use kube::Client;
use kubernetes::api;
use kubernetes::object::{is_label, is_subdomain};
use serde_json::Value;
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the page may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// A page is smaller.
const LARGEST: u64 = 4 * 1024 * 1024;

/// Where a status page is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// `http://HOST:PORT`.
    Address(String),
    /// `NAMESPACE/POD:PORT`; with `https:` in front if it is served with TLS.
    Pod { namespace: String, pod: String },
}

/// Why it cannot be read.
#[derive(Debug, Error)]
pub(crate) enum StatusError {
    #[error("--status {0:?}: write http://HOST:PORT, or NAMESPACE/POD:PORT to go through the API server")]
    Place(String),
    #[error("{0}")]
    Connection(#[from] std::io::Error),
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Late,
    #[error("{0}")]
    Api(String),
    #[error("it answers {0}: is --status-page set there?")]
    Answer(String),
    #[error("it answers with something else than a status page")]
    Shape,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "http://{address}"),
            Self::Pod { namespace, pod } => write!(f, "of pod {namespace}/{pod}"),
        }
    }
}

impl Place {
    /// Reads one value of `--status`.
    pub(crate) fn parse(text: &str) -> Result<Self, StatusError> {
        let wrong = || StatusError::Place(text.to_owned());
        let is_port = |port: &str| port.parse::<u16>().is_ok();
        if let Some(address) = text.strip_prefix("http://") {
            let address = address.trim_end_matches('/');
            let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
            let is_address = !host.is_empty() && !host.contains(['/', '?', '@', '\r', '\n', ' ']);
            return if is_address && is_port(port) {
                Ok(Self::Address(address.to_owned()))
            } else {
                Err(wrong())
            };
        }
        let (scheme, rest) = match text.strip_prefix("https:") {
            Some(rest) => ("https:", rest),
            None => ("", text),
        };
        let (namespace, pod) = rest.split_once('/').ok_or_else(wrong)?;
        let (name, port) = pod.rsplit_once(':').ok_or_else(wrong)?;
        match is_label(namespace) && is_subdomain(name) && is_port(port) {
            true => Ok(Self::Pod { namespace: namespace.to_owned(), pod: format!("{scheme}{pod}") }),
            false => Err(wrong()),
        }
    }

    /// What the page says about one object.
    pub(crate) async fn read(&self, client: &Client, object: &str) -> Result<Value, StatusError> {
        // Names of objects need no escapes.
        let query = format!("status?format=json&object={object}");
        let body = match self {
            Self::Address(address) => timeout(PATIENCE, get(address, &query)).await,
            Self::Pod { namespace, pod } => {
                let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/proxy/{query}");
                timeout(PATIENCE, proxied(client, path)).await
            }
        };
        let body = body.map_err(|_| StatusError::Late)??;
        let page: Value = serde_json::from_str(&body).map_err(|_| StatusError::Shape)?;
        if page.get("kind").and_then(Value::as_str) == Some("Status") {
            Ok(page)
        } else {
            Err(StatusError::Shape)
        }
    }
}

async fn proxied(client: &Client, path: String) -> Result<String, StatusError> {
    let request =
        http::Request::get(path).body(Vec::new()).map_err(|error| StatusError::Api(error.to_string()))?;
    client.request_text(request).await.map_err(|error| StatusError::Api(api::text(&error)))
}

async fn get(address: &str, query: &str) -> Result<String, StatusError> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /{query} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LARGEST).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(StatusError::Shape)?;
    let status = head.lines().next().and_then(|line| line.split_once(' ')).map_or("", |(_, status)| status);
    if status.starts_with("200") { Ok(body.to_owned()) } else { Err(StatusError::Answer(status.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn places_are_addresses_or_pods() {
        let pod = |namespace: &str, pod: &str| Place::Pod { namespace: namespace.into(), pod: pod.into() };
        for (text, expected) in [
            ("http://localhost:8080/", Some(Place::Address("localhost:8080".into()))),
            ("http://[::1]:8080", Some(Place::Address("[::1]:8080".into()))),
            ("kube-system/csi-0:8080", Some(pod("kube-system", "csi-0:8080"))),
            ("https:kube-system/csi-0:8080", Some(pod("kube-system", "https:csi-0:8080"))),
            ("https://localhost:8080", None),
            ("http://localhost", None),
            ("http://a/b:80", None),
            ("kube-system/csi-0", None),
            ("../x:80", None),
            ("", None),
        ] {
            assert_eq!(Place::parse(text).ok(), expected, "{text}");
        }
    }

    /// A server that answers each request so.
    async fn server(answer: &'static str) -> Place {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = Place::Address(listener.local_addr().unwrap().to_string());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = [0; 4096];
                let _ = stream.read(&mut asked).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        place
    }

    fn nobody() -> Client {
        Client::new(
            tower::service_fn(async |_: http::Request<kube::client::Body>| {
                Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("unused"))
            }),
            "default",
        )
    }

    #[tokio::test]
    async fn page_is_read_or_the_reason_is_told() {
        for (answer, expected) in [
            ("HTTP/1.0 200 OK\r\na: b\r\n\r\n{\"kind\":\"Status\"}", "Ok"),
            (
                "HTTP/1.0 404 Not Found\r\n\r\n404 page not found\n",
                "it answers 404 Not Found: is --status-page set there?",
            ),
            ("HTTP/1.0 200 OK\r\n\r\n<html>", "it answers with something else than a status page"),
            ("hello", "it answers with something else than a status page"),
        ] {
            let read = server(answer).await.read(&nobody(), "team/data").await;
            assert_eq!(read.map_or_else(|error| error.to_string(), |_| "Ok".to_owned()), expected);
        }
        let gone = Place::Address("127.0.0.1:1".to_owned()).read(&nobody(), "team/data").await.unwrap_err();
        assert!(gone.to_string().contains("refused"), "{gone}");
    }
}
