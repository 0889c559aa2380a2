//! The API model does what kube-apiserver does: the same requests go to both, the answers are compared.

#![allow(clippy::panic)]

mod script;

use std::collections::BTreeMap;

use cluster::{ControlPlane, Options};
use kube::Client;
use script::{Answer, Exchange, Seen, exchanges};
use serde_json::Value;
use sim::ApiServer;

/// One server, and what its answers were so far called.
struct Side {
    client: Client,
    /// Values that differ between servers, by the name under which a script keeps them.
    kept: BTreeMap<String, String>,
    seen: Seen,
}

impl Side {
    fn new(client: Client) -> Side {
        Side { client, kept: BTreeMap::new(), seen: Seen::new() }
    }

    /// Sends one request of the script and gives the comparable answer.
    async fn send(&mut self, exchange: &Exchange) -> Answer {
        let filled = |text: &str| {
            let mut text = text.to_owned();
            for (name, value) in &self.kept {
                text = text.replace(&format!("${name}"), value);
            }
            text
        };
        let mut request = http::Request::builder().method(exchange.method).uri(filled(&exchange.path));
        if !exchange.content_type.is_empty() {
            request = request.header("content-type", exchange.content_type);
        }
        let accept = if exchange.accept.is_empty() { "application/json" } else { exchange.accept };
        let body = filled(&exchange.body).into_bytes();
        let request = request.header("accept", accept).body(body.into()).expect("a request");
        let response = self.client.send(request).await.expect("an answer");
        let status = response.status().as_u16();
        let bytes = response.into_body().collect_bytes().await.expect("a body");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut bodies: Vec<Value> = Vec::new();
        for line in text.lines() {
            match serde_json::from_str(line) {
                Ok(body) => bodies.push(body),
                Err(error) => panic!("{}: {error} in {line}", exchange.title()),
            }
        }
        if let (Some((name, pointer)), Some(body)) = (&exchange.keep, bodies.first()) {
            // Absent in an answer that is not the expected one: the comparison will say so.
            let value = body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            self.kept.insert((*name).to_owned(), value);
        }
        let bodies = bodies.into_iter().filter_map(|body| script::comparable(body, &mut self.seen)).collect();
        Answer { status, bodies }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_as_the_real_one_does() {
    // Nobody else touches the objects: no controllers.
    let options = Options { controller_manager: false, ..Options::default() };
    let control_plane = ControlPlane::start(options).await.expect("started");
    control_plane.apply(script::CRDS, "").await.expect("CRDs");
    let real_client = control_plane.client().expect("a client");
    script::wait_for_crds(&real_client).await;
    let model_server = ApiServer::new();
    let version = async |client: Client| client.apiserver_version().await.expect("a version").git_version;
    let versions = (version(real_client.clone()).await, version(model_server.client("admin")).await);
    if versions.0 != versions.1 {
        println!(
            "skipped: answers_as_the_real_one_does: the model is of {}, the server {}",
            versions.1, versions.0
        );
        return control_plane.stop().await;
    }
    let mut real = Side::new(real_client);
    let mut model = Side::new(model_server.client("admin"));
    let mut wrong = Vec::new();
    let all = exchanges();
    for exchange in &all {
        let (expected, found) = tokio::join!(real.send(exchange), model.send(exchange));
        if expected != found {
            wrong.push(format!("{}\n{}", exchange.title(), script::difference(&expected, &found)));
        }
    }
    assert!(wrong.is_empty(), "{} of {} answers differ:\n\n{}", wrong.len(), all.len(), wrong.join("\n\n"));
    control_plane.stop().await;
}
