//! One probe: a new connection, Probe, and the end of the connection.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base::http::Reply;
use base::metrics::Metrics;
use csi::{CallLog, Client, Connection, DialOptions, Endpoint, v1};
use http::StatusCode;
use tokio::time::Instant;

/// How to probe a driver.
#[derive(Clone)]
pub(crate) struct Probe {
    /// The driver's socket.
    pub(crate) endpoint: Endpoint,
    /// Longest time for connecting and Probe together.
    pub(crate) timeout: Duration,
    /// Where the call is counted. A connection that fails is not.
    pub(crate) metrics: Arc<Metrics>,
}

impl Probe {
    /// Answers `/healthz`.
    pub(crate) fn answer(self) -> impl Fn() -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync {
        move || {
            let probe = self.clone();
            Box::pin(async move { probe.once().await })
        }
    }

    /// Probes once: 200 if the driver is ready, otherwise 500 with the reason.
    async fn once(&self) -> Reply {
        match self.ask().await {
            Ok(true) => Reply::ok(),
            Ok(false) => failed("driver responded but is not ready".to_owned()),
            Err(cause) => {
                base::error!(cause.clone(), "The CSI driver is not alive"; "address" => self.endpoint);
                failed(cause)
            }
        }
    }

    async fn ask(&self) -> Result<bool, String> {
        let started = Instant::now();
        let options = DialOptions { limit: self.timeout, ..DialOptions::default() };
        let connection =
            Connection::dial(self.endpoint.clone(), options).await.map_err(|error| error.to_string())?;
        let driver = Client::new(connection, self.metrics.clone(), CallLog::default());
        let left = self.timeout.saturating_sub(started.elapsed()).max(Duration::from_millis(1));
        let reply = driver.call(v1::ProbeRequest {}, left).await;
        reply.map(|reply| reply.ready.unwrap_or(true)).map_err(|status| csi::grpc_text(&status))
    }
}

fn failed(text: String) -> Reply {
    Reply::text(StatusCode::INTERNAL_SERVER_ERROR, text)
}
