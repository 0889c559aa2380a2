//! Asks the API server whether a bearer token may read a page of ours: TokenReview, then SubjectAccessReview for the verb
//! `get` on the path, as kube-rbac-proxy and controller-runtime do.
//!
//! Answers are kept for a bounded time, and a bounded number of them. A token is kept as a number that it cannot be found
//! from. Only so many questions are open at once, and only so many are asked a second, whatever is sent to the port. A
//! question keeps its place until it is answered or late, also if whoever sent the token has hung up. A token that was good before has
//! places of its own, so that a flood of others does not keep it out. Each peer has a share of the places ([`places`]).

mod known;
mod places;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::http::{Guard, Question, Refusal};
use http::Request;
use kube::Client;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::api;
use known::Known;
use places::Places;

/// How long both questions together may take. The places times two requests, at the client's rate, must take less.
const PATIENCE: Duration = Duration::from_secs(10);
/// How far apart two warnings of one kind are at the least.
const QUIET: Duration = Duration::from_secs(60);

/// Asks about tokens.
struct Reviewer {
    client: Client,
    known: Mutex<Known>,
    places: Arc<Places>,
    /// When each kind of warning was written last.
    warned: Mutex<HashMap<&'static str, Instant>>,
}

/// A guard that asks through this client. Its rate limit is the limit of what strangers can make us ask.
pub fn guard(client: Client) -> Guard {
    let reviewer = Arc::new(Reviewer {
        client,
        known: Mutex::default(),
        places: Arc::default(),
        warned: Mutex::default(),
    });
    Arc::new(move |question| {
        let reviewer = reviewer.clone();
        Box::pin(reviewer.check(question))
    })
}

impl Reviewer {
    async fn check(self: Arc<Self>, question: Question) -> Result<(), Refusal> {
        let Question { token, path, peer } = question;
        let (known, was_good) = {
            let known = self.known();
            let now = Instant::now();
            (known.find(token.expose(), &path, now), known.was_good(token.expose(), &path, now))
        };
        if let Some(answer) = known {
            return answer;
        }
        let Some(place) = self.places.take(peer, was_good) else {
            self.warn(
                "Too many unknown tokens at once: some requests for the pages are not answered",
                "busy",
            );
            return Err(Refusal::Unclear("too many tokens are being asked about: try again".to_owned()));
        };
        // On its own: whoever hangs up must not make the place free while the question is open.
        let question = tokio::spawn(async move {
            let answer = self.review(token.expose(), &path).await;
            drop(place);
            answer
        });
        question.await.unwrap_or_else(|error| Err(Refusal::Unclear(error.to_string())))
    }

    /// Asks, and notes the answer.
    async fn review(&self, token: &str, path: &str) -> Result<(), Refusal> {
        let asked = timeout(PATIENCE, self.ask(token, path)).await;
        let answer = asked.unwrap_or_else(|_| {
            let why = format!("no answer within {} s", PATIENCE.as_secs());
            self.warn("The API server does not say in time who may read the pages", &why);
            Err(Refusal::Unclear(why))
        });
        self.known().note(token, path, &answer, Instant::now());
        answer
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Warns, unless the same was said within the last minute: strangers can make it happen.
    fn warn(&self, what: &'static str, why: &str) {
        let now = Instant::now();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.get(what).is_none_or(|last| now.saturating_duration_since(*last) >= QUIET) {
            warned.insert(what, now);
            base::warn!("Cannot find out who may read the pages"; "what" => what, "err" => why);
        }
    }

    async fn ask(&self, token: &str, path: &str) -> Result<(), Refusal> {
        let review = self.post("/apis/authentication.k8s.io/v1/tokenreviews", &token_review(token)).await?;
        let user = user(&review)?;
        let question = access_review(user, path);
        let review = self.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &question).await?;
        let answer = allowed(&review, user);
        if matches!(answer, Err(Refusal::Unclear(_))) {
            let error = review.pointer("/status/evaluationError").and_then(Value::as_str);
            self.warn("The API server could not decide", error.unwrap_or("its review has no answer"));
        }
        answer
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value, Refusal> {
        let request = Request::post(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body.to_string().into_bytes())
            .map_err(|error| Refusal::Unclear(error.to_string()))?;
        self.client.request(request).await.map_err(|error| {
            // It names what our own service account lacks, and no token.
            self.warn("The API server refuses a review", &api::text(&error));
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

/// What the review says. A decision that an authorizer failed to make is no refusal.
fn allowed(review: &Value, user: &Value) -> Result<(), Refusal> {
    let is = |path: &str| review.pointer(path).and_then(Value::as_bool).unwrap_or_default();
    if is("/status/allowed") && !is("/status/denied") {
        return Ok(());
    }
    let error = review.pointer("/status/evaluationError").and_then(Value::as_str).unwrap_or_default();
    let has_answer = review.pointer("/status/allowed").is_some() && error.is_empty();
    if !has_answer && !is("/status/denied") {
        return Err(Refusal::Unclear("the API server could not decide: the log has the reason".to_owned()));
    }
    let name = user.get("username").and_then(Value::as_str).unwrap_or_default();
    Err(Refusal::Forbidden { user: name.to_owned() })
}

#[cfg(test)]
mod tests;
