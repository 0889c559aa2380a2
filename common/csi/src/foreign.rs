//! Calls of other protocols over the same kind of connection.

use std::time::Duration;

use http::uri::{PathAndQuery, Uri};
use tokio::time::timeout;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::connection::Connection;
use super::wire::{Refusal, client_of};

impl Connection {
    /// Calls a method that is not of the CSI, such as a collector's. It is neither logged nor counted. `origin` is the server's scheme,
    /// host and port: gateways choose the server by it.
    ///
    /// # Errors
    /// The status of the other side; UNAVAILABLE if it is not reached, DEADLINE_EXCEEDED after `deadline`.
    pub async fn unary<Q, R>(
        &self,
        origin: &Uri,
        method: &'static str,
        request: Q,
        deadline: Duration,
    ) -> Result<R, Status>
    where
        Q: prost::Message + Default + 'static,
        R: prost::Message + Default + 'static,
    {
        let call = async {
            let mut client = client_of(origin.clone(), self.sender().await?, Refusal::default());
            client.ready().await?;
            let mut request = Request::new(request);
            request.set_timeout(deadline);
            let reply =
                client.unary(request, PathAndQuery::from_static(method), ProstCodec::<Q, R>::default());
            Ok(reply.await?.into_inner())
        };
        timeout(deadline, call).await.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))
    }
}
