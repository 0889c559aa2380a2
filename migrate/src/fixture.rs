//! An API server that answers from a list, for tests.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use crate::requests::Requests;

/// What was asked: method, path with query, and the body if there is one.
pub(crate) type Asked = Arc<Mutex<Vec<String>>>;

/// A server with these answers, one for each request; the last one is for all that come after it.
pub(crate) fn server(answers: &[(u16, Value)]) -> (Requests, Asked) {
    let answers = Arc::new(Mutex::new(VecDeque::from(answers.to_vec())));
    let asked = Asked::default();
    let log = asked.clone();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (answers, log) = (answers.clone(), log.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let asked = format!("{} {} {}", head.method, head.uri, String::from_utf8_lossy(&body));
            log.lock().unwrap().push(asked.trim_end().to_owned());
            let mut answers = answers.lock().unwrap();
            let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
            let (code, body) = next.unwrap();
            http::Response::builder().status(code).body(Body::from(body.to_string().into_bytes()))
        }
    });
    (Requests::new(Client::new(service, "default")), asked)
}

/// A refusal as the API server words it.
pub(crate) fn refusal(code: u16, reason: &str, name: &str, message: &str) -> (u16, Value) {
    let details = json!({"name": name});
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": message, "details": details,
    });
    (code, body)
}
