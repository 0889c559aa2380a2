//! Requests for whole objects, as JSON: every field that we do not know stays as it is.
//!
//! A request that got no answer, or one that says "not now", is sent again for half a minute. The caller must therefore
//! expect that its own request has been done already.

use std::time::Duration;

use kube::Client;
use kubernetes::api;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// The path of all PersistentVolumes.
pub(crate) const VOLUMES: &str = "/api/v1/persistentvolumes";

/// How long a request is sent again.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The path of a namespace's claims.
pub(crate) fn claims(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims")
}

/// What asks the API server.
#[derive(Clone)]
pub(crate) struct Requests(Client);

impl Requests {
    pub(crate) fn new(client: Client) -> Self {
        Self(client)
    }

    /// The object; `None` if there is none.
    pub(crate) async fn get(&self, kind: &str, name: &str) -> Result<Option<Value>, kube::Error> {
        match self.send(http::Method::GET, &format!("{kind}/{name}"), "application/json", &Value::Null).await
        {
            Ok(object) => Ok(Some(object)),
            Err(error) if api::is_missing(&error, name) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates an object; a `dry` request only asks whether that could be done.
    pub(crate) async fn create(&self, kind: &str, object: &Value, dry: bool) -> Result<Value, kube::Error> {
        let query = if dry { "?dryRun=All" } else { "" };
        self.send(http::Method::POST, &format!("{kind}{query}"), "application/json", object).await
    }

    /// Sends a merge patch; `path` may name a subresource and a query.
    pub(crate) async fn patch(&self, path: &str, patch: &Value) -> Result<Value, kube::Error> {
        self.send(http::Method::PATCH, path, "application/merge-patch+json", patch).await
    }

    /// Deletes an object if it is this very one, in this version if one is given. `None`: it is gone; otherwise it waits for
    /// its finalizers.
    pub(crate) async fn delete(
        &self,
        kind: &str,
        name: &str,
        uid: &str,
        version: Option<&str>,
    ) -> Result<Option<Value>, kube::Error> {
        let preconditions = json!({"uid": uid, "resourceVersion": version});
        let body = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions});
        let path = format!("{kind}/{name}");
        match self.send(http::Method::DELETE, &path, "application/json", &body).await {
            Ok(object) => Ok(Some(object).filter(waits)),
            Err(error) if api::is_missing(&error, name) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn send(
        &self,
        method: http::Method,
        path: &str,
        content: &str,
        body: &Value,
    ) -> Result<Value, kube::Error> {
        let begun = Instant::now();
        let mut pause = PAUSES.0;
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        loop {
            let request = http::Request::builder()
                .method(method.clone())
                .uri(path)
                .header(http::header::CONTENT_TYPE, content)
                .body(body.clone())
                .map_err(|error| kube::Error::Service(Box::new(error)))?;
            match self.0.request::<Value>(request).await {
                Err(error) if is_for_now(&error) && begun.elapsed() < PATIENCE => sleep(pause).await,
                answer => return answer,
            }
            pause = (2 * pause).min(PAUSES.1);
        }
    }
}

/// Whether an object that was deleted waits for its finalizers.
fn waits(object: &Value) -> bool {
    let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    object.pointer("/metadata/deletionTimestamp").is_some() && finalizers.is_some_and(|all| !all.is_empty())
}

/// Whether the same request may succeed a little later.
fn is_for_now(error: &kube::Error) -> bool {
    match api::status(error) {
        Some(status) => status.code == 429 || (500..600).contains(&status.code),
        None => matches!(error, kube::Error::Service(_) | kube::Error::HyperError(_)),
    }
}

#[cfg(test)]
mod tests;
