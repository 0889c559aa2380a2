//! Requests for whole objects, as JSON: every field that we do not know stays as it is.
//!
//! A request that got no answer, or one that says "not now", is sent again for half a minute, or for a quarter of an hour if it
//! must not be left undone. The caller must therefore expect that its own request has been done already.

use std::time::Duration;

use kube::Client;
use kubernetes::api;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// The path of all PersistentVolumes.
pub(crate) const VOLUMES: &str = "/api/v1/persistentvolumes";

/// How long a request is sent again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The path of a namespace's claims.
pub(crate) fn claims(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims")
}

/// The same of what must not be left undone: while a volume is away, its pods cannot start.
const INSISTENCE: Duration = Duration::from_secs(900);

/// What asks the API server.
#[derive(Clone)]
pub(crate) struct Requests {
    client: Client,
    patience: Duration,
}

/// What came of a request to delete an object.
#[derive(Debug)]
pub(crate) enum Deletion {
    /// It is done. The object is still there if it waits for its finalizers.
    Done(Option<Value>),
    /// It was not done: the object has changed, is another one, or was gone before; or the API server refuses.
    NotDone(kube::Error),
    /// The same, but the request was sent before and its answer was lost: that one may have been done.
    Unknown,
}

impl Requests {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, patience: PATIENCE }
    }

    /// The same, for a quarter of an hour.
    pub(crate) fn insisting(&self) -> Self {
        Self { client: self.client.clone(), patience: INSISTENCE }
    }

    /// For lists.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The object; `None` if there is none.
    pub(crate) async fn get(&self, kind: &str, name: &str) -> Result<Option<Value>, kube::Error> {
        let path = format!("{kind}/{name}");
        match self.send(http::Method::GET, &path, "application/json", &Value::Null).await.0 {
            Ok(object) => Ok(Some(object)),
            Err(error) if api::is_missing(&error, name) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates an object; a `dry` request only asks whether that could be done.
    pub(crate) async fn create(&self, kind: &str, object: &Value, dry: bool) -> Result<Value, kube::Error> {
        let query = if dry { "?dryRun=All" } else { "" };
        self.send(http::Method::POST, &format!("{kind}{query}"), "application/json", object).await.0
    }

    /// Sends a merge patch; `path` may name a subresource and a query.
    pub(crate) async fn patch(&self, path: &str, patch: &Value) -> Result<Value, kube::Error> {
        self.send(http::Method::PATCH, path, "application/merge-patch+json", patch).await.0
    }

    /// Deletes an object if it is this very one, in this version if one is given.
    ///
    /// # Errors
    /// Nobody can tell whether it was done.
    pub(crate) async fn delete(
        &self,
        kind: &str,
        name: &str,
        uid: &str,
        version: Option<&str>,
    ) -> Result<Deletion, kube::Error> {
        let preconditions = json!({"uid": uid, "resourceVersion": version});
        let body = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions});
        let path = format!("{kind}/{name}");
        match self.send(http::Method::DELETE, &path, "application/json", &body).await {
            (Ok(object), _) => Ok(Deletion::Done(Some(object).filter(waits))),
            (Err(error), again) if is_refusal(&error) => {
                Ok(if again { Deletion::Unknown } else { Deletion::NotDone(error) })
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Sends a request. With the answer: whether it may have been done before.
    async fn send(
        &self,
        method: http::Method,
        path: &str,
        content: &str,
        body: &Value,
    ) -> (Result<Value, kube::Error>, bool) {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        patiently(self.patience, || {
            let request = http::Request::builder()
                .method(method.clone())
                .uri(path)
                .header(http::header::CONTENT_TYPE, content)
                .body(body.clone());
            async {
                let request = request.map_err(|error| kube::Error::Service(Box::new(error)))?;
                self.client.request::<Value>(request).await
            }
        })
        .await
    }
}

/// Asks until there is an answer that stands. With it: whether an answer was lost, so that it may have been done before.
pub(crate) async fn patiently<T, F>(patience: Duration, ask: impl Fn() -> F) -> (Result<T, kube::Error>, bool)
where
    F: Future<Output = Result<T, kube::Error>>,
{
    let begun = Instant::now();
    let (mut pause, mut again) = (PAUSES.0, false);
    loop {
        match ask().await {
            Err(error) if is_for_now(&error) && begun.elapsed() < patience => {
                // Who is asked to come later has had nothing done.
                again |= !api::is(&error, 429);
                sleep(pause).await;
            }
            answer => return (answer, again),
        }
        pause = (2 * pause).min(PAUSES.1);
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

/// Whether the API server has answered that it does not do this. To whom it does not know any more (401) it does nothing.
pub(crate) fn is_refusal(error: &kube::Error) -> bool {
    api::status(error)
        .is_some_and(|status| (400..500).contains(&status.code) && !matches!(status.code, 401 | 429))
}

#[cfg(test)]
mod tests;
