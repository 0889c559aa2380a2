//! Asks the API server whether a bearer token may read a page of ours: TokenReview, then SubjectAccessReview for the verb
//! `get` on the path, as kube-rbac-proxy and controller-runtime do.
//!
//! Answers are kept for a bounded time, and a bounded number of them. A token is kept as a number that it cannot be found
//! from. Only so many questions are asked at once, and only so many a second, whatever is sent to the port.

mod known;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::http::{Guard, Refusal};
use http::Request;
use kube::Client;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::api;
use known::Known;

/// How long both questions together may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks about tokens.
struct Reviewer {
    client: Client,
    known: Mutex<Known>,
}

/// A guard that asks through this client. Its rate limit is the limit of what strangers can make us ask.
pub fn guard(client: Client) -> Guard {
    let reviewer = Arc::new(Reviewer { client, known: Mutex::default() });
    Arc::new(move |token, path| {
        let reviewer = reviewer.clone();
        Box::pin(async move { reviewer.check(&token, &path).await })
    })
}

impl Reviewer {
    async fn check(&self, token: &str, path: &str) -> Result<(), Refusal> {
        let known = |known: &Mutex<Known>| {
            known.lock().unwrap_or_else(PoisonError::into_inner).find(token, path, Instant::now())
        };
        if let Some(answer) = known(&self.known) {
            return answer;
        }
        let asked = timeout(PATIENCE, self.ask(token, path)).await;
        let late = || Err(Refusal::Unclear(format!("no answer within {} s", PATIENCE.as_secs())));
        let answer = asked.unwrap_or_else(|_| late());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.note(token, path, &answer, Instant::now());
        answer
    }

    async fn ask(&self, token: &str, path: &str) -> Result<(), Refusal> {
        let review = self.post("/apis/authentication.k8s.io/v1/tokenreviews", &token_review(token)).await?;
        let user = user(&review)?;
        let question = access_review(user, path);
        let review = self.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &question).await?;
        allowed(&review, user)
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value, Refusal> {
        let request = Request::post(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body.to_string().into_bytes())
            .map_err(|error| Refusal::Unclear(error.to_string()))?;
        self.client.request(request).await.map_err(|error| {
            // It names what our own service account lacks, and no token.
            base::warn!("Cannot find out who may read the pages"; "path" => path, "err" => api::text(&error));
            Refusal::Unclear("the API server does not say: the log has the reason".to_owned())
        })
    }
}

fn token_review(token: &str) -> Value {
    json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}})
}

/// The user of an accepted token.
fn user(review: &Value) -> Result<&Value, Refusal> {
    match review.pointer("/status/authenticated").and_then(Value::as_bool) {
        Some(true) => review.pointer("/status/user").ok_or(Refusal::Unknown),
        Some(false) | None => Err(Refusal::Unknown),
    }
}

fn access_review(user: &Value, path: &str) -> Value {
    let field = |name: &str| user.get(name).cloned().unwrap_or_default();
    json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {
            "user": field("username"), "uid": field("uid"), "groups": field("groups"), "extra": field("extra"),
            "nonResourceAttributes": {"path": path, "verb": "get"},
        },
    })
}

fn allowed(review: &Value, user: &Value) -> Result<(), Refusal> {
    let is = |path: &str| review.pointer(path).and_then(Value::as_bool).unwrap_or_default();
    if is("/status/allowed") && !is("/status/denied") {
        return Ok(());
    }
    let name = user.get("username").and_then(Value::as_str).unwrap_or_default();
    Err(Refusal::Forbidden { user: name.to_owned() })
}

#[cfg(test)]
mod tests;
