//! An API server with one Lease, for tests: it answers, refuses, hangs or loses answers at the times that a test says.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Served,
    Refused(u16),
    /// It gets no answer, and nothing is done.
    Hangs,
}

/// No test needs so many requests. Further ones hang: a candidate that asks without a pause stops, and the test fails.
const MANY: usize = 500;

/// What becomes of a request that is sent so long after the beginning.
pub(super) type Plan = fn(Duration, &str) -> Fate;

pub(super) struct Server {
    begun: Instant,
    plan: Plan,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    lease: Option<Value>,
    /// Each version of the lease: the version, and the object, if it is not deleted.
    history: Vec<(u64, Option<Value>)>,
    /// Milliseconds since the beginning, verb, and the answer's code; 0 if there was none.
    asked: Vec<(u64, String, u16)>,
}

impl Server {
    pub(super) fn new(plan: Plan) -> Arc<Self> {
        Arc::new(Self { begun: Instant::now(), plan, state: Mutex::default(), changed: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn client(self: &Arc<Self>) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let server = server.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let (code, reply) = server.answer(&head, serde_json::from_slice(&body).ok()).await;
                http::Response::builder().status(code).body(Body::from(reply.into_bytes()))
            }
        });
        kube::Client::new(service, "default")
    }

    /// Somebody else writes the lease.
    pub(super) fn put(&self, holder: &str, seconds: u64) {
        let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": seconds, "leaseTransitions": 3});
        self.store(Some(json!({"metadata": {"name": "lock"}, "spec": spec})));
    }

    /// Somebody deletes the lease.
    pub(super) fn delete(&self) {
        self.store(None);
    }

    fn store(&self, lease: Option<Value>) -> Option<Value> {
        let mut state = self.state();
        let version = state.history.len() as u64 + 1;
        let lease = lease.map(|mut lease| {
            lease["apiVersion"] = json!("coordination.k8s.io/v1");
            lease["kind"] = json!("Lease");
            lease["metadata"]["resourceVersion"] = json!(version.to_string());
            lease
        });
        state.history.push((version, lease.clone()));
        state.lease.clone_from(&lease);
        self.changed.notify_waiters();
        lease
    }

    /// Who holds the lease.
    pub(super) fn holder(&self) -> String {
        let state = self.state();
        let lease = state.lease.as_ref();
        lease.and_then(|lease| lease["spec"]["holderIdentity"].as_str()).unwrap_or("nobody").to_owned()
    }

    /// The requests so far but for lists and watches, as `5000 update 200`.
    pub(super) fn asked(&self) -> Vec<String> {
        let state = self.state();
        let told = state.asked.iter().filter(|(_, verb, _)| !matches!(verb.as_str(), "list" | "watch"));
        told.map(|(at, verb, code)| format!("{at} {verb} {code}")).collect()
    }

    async fn answer(&self, head: &http::request::Parts, body: Option<Value>) -> (u16, String) {
        let query = head.uri.query().unwrap_or_default();
        let verb = match (&head.method, head.uri.path().ends_with("/lock")) {
            (&http::Method::GET, true) => "get",
            (&http::Method::GET, false) if query.contains("watch=") => "watch",
            (&http::Method::GET, false) => "list",
            (&http::Method::POST, _) => "create",
            _ => "update",
        };
        let at = self.begun.elapsed();
        let is_one_of_too_many = self.state().asked.len() >= MANY;
        let fate = if is_one_of_too_many { Fate::Hangs } else { (self.plan)(at, verb) };
        let (code, reply) = match fate {
            Fate::Served if verb == "watch" => (200, String::new()),
            Fate::Served => self.serve(verb, body),
            Fate::Refused(code) => refusal(code),
            Fate::Hangs => (0, String::new()),
        };
        self.state().asked.push((at.as_millis() as u64, verb.to_owned(), code));
        match (fate, verb) {
            (Fate::Hangs, _) => std::future::pending().await,
            (Fate::Served, "watch") => (200, self.events(query).await),
            _ => (code, reply),
        }
    }

    fn serve(&self, verb: &str, body: Option<Value>) -> (u16, String) {
        let lease = self.state().lease.clone();
        match (verb, lease) {
            ("get", None) => refusal(404),
            ("get", Some(lease)) => (200, lease.to_string()),
            ("list", lease) => {
                let version = self.state().history.len().to_string();
                let items: Vec<Value> = lease.into_iter().collect();
                let list = json!({"metadata": {"resourceVersion": version}, "items": items});
                (200, list.to_string())
            }
            ("create", Some(_)) | ("update", None) => refusal(409),
            ("update", Some(lease)) => {
                let version = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
                match body.filter(|body| version(body) == version(&lease)) {
                    Some(body) => (200, self.store(Some(body)).unwrap_or_default().to_string()),
                    None => refusal(409),
                }
            }
            _ => (201, self.store(body).unwrap_or_default().to_string()),
        }
    }

    fn since(&self, since: u64) -> Vec<(u64, Option<Value>)> {
        self.state().history.iter().filter(|(version, _)| *version > since).cloned().collect()
    }

    /// What has happened since the version that is asked for, as soon as something has.
    async fn events(&self, query: &str) -> String {
        let since = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
        let since: u64 = since.and_then(|version| version.parse().ok()).unwrap_or(0);
        loop {
            let changed = self.changed.notified();
            let new = self.since(since);
            if !new.is_empty() {
                let line = |(version, lease): &(u64, Option<Value>)| match lease {
                    Some(lease) => json!({"type": "MODIFIED", "object": lease}).to_string() + "\n",
                    None => {
                        let metadata = json!({"name": "lock", "resourceVersion": version.to_string()});
                        json!({"type": "DELETED", "object": {
                            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata,
                        }})
                        .to_string()
                            + "\n"
                    }
                };
                return new.iter().map(line).collect();
            }
            changed.await;
        }
    }
}

fn refusal(code: u16) -> (u16, String) {
    let reason = if code == 404 { "NotFound" } else { "Refused" };
    let status =
        json!({"kind": "Status", "status": "Failure", "message": "no", "code": code, "reason": reason});
    (code, status.to_string())
}
