//! One connection and its calls: deadline, metadata, logging, validation.

use std::collections::BTreeMap;
use std::time::Duration;

use csi::{Endpoint, Redact, Rpc, StreamRpc, redacted, shown};
use http::uri::PathAndQuery;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataKey, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::cli::{Form, Global, LogLevel};
use crate::failure::Failure;
use crate::pairs;
use crate::validate::{self, Side};

/// One pair of gRPC metadata.
type Entry = (MetadataKey<Ascii>, MetadataValue<Ascii>);

/// A connection to a driver.
pub(crate) struct Session {
    channel: Channel,
    timeout: Duration,
    metadata: Vec<Entry>,
    log_requests: bool,
    log_responses: bool,
    validates: bool,
    /// Print replies whole.
    pub(crate) form: Option<Form>,
    secrets: BTreeMap<String, String>,
}

impl Session {
    /// Connects, within the timeout.
    pub(crate) async fn open(global: &Global) -> Result<Self, Failure> {
        if !global.insecure {
            return Err(Failure::Usage(
                "--insecure=false: CSI endpoints have no TLS; leave the flag out".to_owned(),
            ));
        }
        let endpoint = endpoint(&global.endpoint)?;
        let uri = match &endpoint {
            Endpoint::Unix(path) => format!("unix:{}", path.display()),
            Endpoint::Tcp { host, port } if host.is_empty() => format!("http://127.0.0.1:{port}"),
            Endpoint::Tcp { host, port } if host.contains(':') => format!("http://[{host}]:{port}"),
            Endpoint::Tcp { host, port } => format!("http://{host}:{port}"),
        };
        let unusable =
            |error: tonic::transport::Error| Failure::Usage(format!("--endpoint {endpoint}: {error}"));
        let target = tonic::transport::Endpoint::try_from(uri).map_err(unusable)?;
        let unreachable = |cause: String| {
            Failure::Call(Status::unavailable(format!("cannot connect to {endpoint}: {cause}")))
        };
        let channel = match timeout(global.timeout, target.connect()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(unreachable(chain(&error))),
            Err(_) => return Err(unreachable(format!("no answer within {:?}", global.timeout))),
        };
        let debug = is_truthy(&std::env::var("X_CSI_DEBUG").unwrap_or_default());
        let informs = debug || global.log_level >= LogLevel::Info;
        let secrets =
            pairs::secrets(&std::env::var("X_CSI_SECRETS").unwrap_or_default()).map_err(Failure::Usage)?;
        Ok(Self {
            channel,
            timeout: global.timeout,
            metadata: metadata(&pairs::joined(&global.metadata))?,
            log_requests: debug || (informs && global.with_request_logging),
            log_responses: debug || (informs && global.with_response_logging),
            validates: global.with_spec_validation,
            form: global.output,
            secrets,
        })
    }

    /// The secrets of the environment, for every request that has a field for them.
    pub(crate) fn secrets(&self) -> BTreeMap<String, String> {
        self.secrets.clone()
    }

    /// Refuses to go on without secrets that the command requires.
    pub(crate) fn require(&self, what: &str, required: bool, given: bool) -> Result<(), Failure> {
        if required && !given {
            return Err(Failure::Invalid(format!("{what} is required")));
        }
        Ok(())
    }

    /// Calls the RPC that belongs to the request. `strict` validates whatever the flag says.
    pub(crate) async fn call<R: Rpc>(&self, request: R, strict: bool) -> Result<R::Reply, Failure> {
        self.call_for(request, strict).await
    }

    /// As [`Self::call`], with another message to read the reply into.
    pub(crate) async fn call_for<R: Rpc, Reply>(&self, request: R, strict: bool) -> Result<Reply, Failure>
    where
        Reply: prost::Message + Default + Redact + 'static,
    {
        let validates = self.validates || strict;
        self.check(validates, Side::Request, R::METHOD, &request)?;
        let request = self.dressed(request, R::METHOD);
        let mut client = Grpc::new(self.channel.clone());
        let reply = async {
            client.ready().await.map_err(|error| Status::unavailable(chain(&error)))?;
            let codec = ProstCodec::<R, Reply>::default();
            client.unary(request, PathAndQuery::from_static(R::METHOD), codec).await
        };
        let reply: Reply = timeout(self.timeout, reply).await.map_err(|_| self.late())??.into_inner();
        if self.log_responses {
            eprintln!("INFO  response {}: {}", R::METHOD, redacted(&reply));
        }
        self.check(validates, Side::Reply, R::METHOD, &reply)?;
        Ok(reply)
    }

    /// Calls an RPC that answers with a stream.
    pub(crate) async fn stream<R: StreamRpc>(&self, request: R) -> Result<Streaming<R::Reply>, Failure> {
        self.check(self.validates, Side::Request, R::METHOD, &request)?;
        let request = self.dressed(request, R::METHOD);
        let mut client = Grpc::new(self.channel.clone());
        let reply = async {
            client.ready().await.map_err(|error| Status::unavailable(chain(&error)))?;
            let codec = ProstCodec::<R, R::Reply>::default();
            client.server_streaming(request, PathAndQuery::from_static(R::METHOD), codec).await
        };
        Ok(timeout(self.timeout, reply).await.map_err(|_| self.late())??.into_inner())
    }

    fn dressed<R: Redact>(&self, message: R, method: &str) -> Request<R> {
        if self.log_requests {
            eprintln!("INFO  request {method}: {}", redacted(&message));
        }
        let mut request = Request::new(message);
        for (key, value) in &self.metadata {
            request.metadata_mut().insert(key.clone(), value.clone());
        }
        request.set_timeout(self.timeout);
        request
    }

    fn check(&self, validates: bool, side: Side, method: &str, message: &impl Redact) -> Result<(), Failure> {
        if !validates {
            return Ok(());
        }
        let value = serde_json::from_str(&shown(message)).unwrap_or_default();
        validate::check(side, method, &value).map_err(Failure::Invalid)
    }

    fn late(&self) -> Failure {
        Failure::Call(Status::deadline_exceeded(format!("no answer within {:?}", self.timeout)))
    }
}

/// Go's network names count too; anything without a scheme is a socket's path.
fn endpoint(text: &str) -> Result<Endpoint, Failure> {
    if text.is_empty() {
        return Err(Failure::Usage(
            "--endpoint or CSI_ENDPOINT is required: tcp://host:port or unix:///path".to_owned(),
        ));
    }
    let lower = text.to_ascii_lowercase();
    let rest = |scheme: &str| text.get(scheme.len()..).unwrap_or_default();
    let known = if lower.starts_with("tcp4://") || lower.starts_with("tcp6://") {
        format!("tcp{}", rest("tcp4"))
    } else if lower.contains("://")
        || lower.starts_with("unix:")
        || lower.starts_with("tcp:")
        || text.starts_with('/')
    {
        text.to_owned()
    } else {
        format!("unix:{text}")
    };
    Endpoint::parse(&known).map_err(|error| Failure::Usage(format!("--{error}")))
}

fn metadata(pairs: &BTreeMap<String, String>) -> Result<Vec<Entry>, Failure> {
    let entry = |(key, value): (&String, &String)| {
        let unusable = |what: &str| Failure::Usage(format!("--metadata: {what} {key:?} cannot be sent"));
        let name = key.to_ascii_lowercase().parse().map_err(|_| unusable("key"))?;
        Ok((name, value.parse().map_err(|_| unusable("the value of key"))?))
    };
    pairs.iter().map(entry).collect()
}

fn is_truthy(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "1" | "t" | "true" | "yes" | "on")
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}
