//! Reads the status page of a sidecar: at a URL, or of a pod, through the API server.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kube::Client;
use kube::client::Body;
use kubernetes::object::{is_label, is_subdomain};
use serde_json::Value;
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::field::{one_line, text};

/// How long the page may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// A page is smaller, in bytes.
const LARGEST: usize = 4 * 1024 * 1024;

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
    #[error(
        "--status {0:?}: write http://HOST:PORT, or NAMESPACE/POD:PORT to go through the API server (https:NAMESPACE/POD:PORT if it is served with TLS)"
    )]
    Place(String),
    #[error("{0}")]
    Connection(#[from] std::io::Error),
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Late,
    #[error("{0}")]
    Api(String),
    #[error("it answers {0}: is --status-page set there?")]
    Answer(String),
    #[error(
        "it wants a token (--http-require-token). Explain sends none, and the API server's proxy passes none on: use kubectl \
         port-forward, and curl with a token"
    )]
    Token,
    #[error("the answer is longer than {} MiB", LARGEST >> 20)]
    Large,
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
    let request = http::Request::get(path).body(Body::empty());
    let request = request.map_err(|error| StatusError::Api(one_line(&error.to_string())))?;
    let answer =
        client.send(request).await.map_err(|error| StatusError::Api(one_line(&error.to_string())))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LARGEST).collect().await;
    let body = body.map_err(|error| match error.is::<LengthLimitError>() {
        true => StatusError::Large,
        false => StatusError::Api(one_line(&error.to_string())),
    })?;
    let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    if status == StatusCode::OK {
        return Ok(body);
    }
    // The API server itself says why in an object.
    match serde_json::from_str::<Value>(&body) {
        Ok(said) if text(&said, "/kind") == "Status" => {
            Err(StatusError::Api(one_line(text(&said, "/message"))))
        }
        Ok(_) | Err(_) => Err(refusal(&status.to_string())),
    }
}

async fn get(address: &str, query: &str) -> Result<String, StatusError> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /{query} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LARGEST as u64 + 1).read_to_end(&mut answer).await?;
    if answer.len() > LARGEST {
        return Err(StatusError::Large);
    }
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(StatusError::Shape)?;
    let status = head.lines().next().and_then(|line| line.split_once(' ')).map_or("", |(_, status)| status);
    if status.starts_with("200") { Ok(body.to_owned()) } else { Err(refusal(status)) }
}

/// What a status line such as `404 Not Found` means.
fn refusal(status: &str) -> StatusError {
    if status.starts_with("401") { StatusError::Token } else { StatusError::Answer(one_line(status)) }
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

    const WANTS_TOKEN: &str = "it wants a token (--http-require-token). Explain sends none, and the API server's proxy passes \
         none on: use kubectl port-forward, and curl with a token";

    /// An API server whose proxy answers so.
    fn proxy(code: u16, body: String) -> Client {
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let path = "/api/v1/namespaces/kube-system/pods/csi-0:8080/proxy/status";
            assert_eq!(request.uri().path(), path);
            let body = kube::client::Body::from(body.clone().into_bytes());
            let answer = http::Response::builder().status(code).body(body);
            std::future::ready(Ok::<_, std::io::Error>(answer.unwrap()))
        });
        Client::new(service, "default")
    }

    #[tokio::test]
    async fn page_behind_the_proxy_is_read_or_the_reason_is_told() {
        let refused = r#"{"kind":"Status","apiVersion":"v1","code":403,"message":"pods \"csi-0\"\nis \u001b forbidden"}"#;
        let expired = r#"{"kind":"Status","apiVersion":"v1","code":401,"message":"Unauthorized"}"#;
        let place = Place::parse("kube-system/csi-0:8080").unwrap();
        for (code, body, expected) in [
            (200, "{\"kind\":\"Status\"}".to_owned(), "Ok"),
            (200, "<html>".to_owned(), "it answers with something else than a status page"),
            (200, " ".repeat(5 * 1024 * 1024), "the answer is longer than 4 MiB"),
            (404, "404 page not found\n".to_owned(), "it answers 404 Not Found: is --status-page set there?"),
            (401, "401 unauthorized: send a valid token\n".to_owned(), WANTS_TOKEN),
            (401, expired.to_owned(), "Unauthorized"),
            (403, refused.to_owned(), "pods \"csi-0\" is forbidden"),
        ] {
            let read = place.read(&proxy(code, body), "team/data").await;
            assert_eq!(read.map_or_else(|error| error.to_string(), |_| "Ok".to_owned()), expected);
        }
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
            ("HTTP/1.0 500 \u{1b}[2Jred\u{7}\r\n\r\n", "it answers 500 [2Jred: is --status-page set there?"),
            ("HTTP/1.0 401 Unauthorized\r\n\r\n401 unauthorized\n", WANTS_TOKEN),
        ] {
            let read = server(answer).await.read(&nobody(), "team/data").await;
            assert_eq!(read.map_or_else(|error| error.to_string(), |_| "Ok".to_owned()), expected);
        }
        let gone = Place::Address("127.0.0.1:1".to_owned()).read(&nobody(), "team/data").await.unwrap_err();
        assert!(gone.to_string().contains("refused"), "{gone}");
    }
}
