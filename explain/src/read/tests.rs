use std::sync::{Arc, Mutex};

use kube::client::Body;
use serde_json::json;

use super::*;

/// What was asked: path with query, and what was accepted.
type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// A server that answers each request so.
fn server(answer: impl Fn(&str) -> (u16, Value) + Clone + Send + 'static) -> (Client, Asked) {
    let asked = Asked::default();
    let log = asked.clone();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let path = request.uri().to_string();
        let accept =
            request.headers().get("accept").map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned());
        let (code, body) = answer(&path);
        log.lock().unwrap().push((path, accept.unwrap_or_default()));
        std::future::ready(
            http::Response::builder().status(code).body(Body::from(body.to_string().into_bytes())),
        )
    });
    (Client::new(service, "default"), asked)
}

fn refusal(code: u16, reason: &str, name: &str) -> (u16, Value) {
    let details = json!({"name": name});
    (
        code,
        json!({"kind": "Status", "status": "Failure", "message": "no", "code": code, "reason": reason, "details": details}),
    )
}

#[tokio::test]
async fn only_the_metadata_of_a_secret_is_asked_for() {
    let (client, asked) = server(|_| (200, json!({"metadata": {"name": "key"}})));
    let found = read(&client, &Ask::one(Kind::Secret, "team", "key")).await;
    assert!(matches!(found, Found::Object(_)), "{found:?}");
    let [(path, accept)] = &asked.lock().unwrap()[..] else { panic!() };
    assert_eq!(path.trim_end_matches('?'), "/api/v1/namespaces/team/secrets/key");
    assert!(accept.starts_with("application/json;as=PartialObjectMetadata;"), "{accept}");
}

#[tokio::test]
async fn name_that_leads_elsewhere_is_not_asked_for() {
    let (client, asked) = server(|_| (200, json!({})));
    for name in ["..", "a/b", "../secrets/key", "a?b", "A", "%2e%2e"] {
        assert_eq!(read(&client, &Ask::one(Kind::SnapshotClass, "", name)).await, Found::Nothing, "{name}");
        let list = Ask::list(Kind::Grant, name, String::new());
        assert_eq!(read(&client, &list).await, Found::Objects(vec![]), "{name}");
    }
    assert_eq!(*asked.lock().unwrap(), vec![]);
}

#[tokio::test]
async fn answers_that_are_no_object_are_told_apart() {
    let ask = Ask::one(Kind::Snapshot, "team", "s");
    for (answer, expected) in [
        (refusal(404, "NotFound", "s"), Found::Nothing),
        (refusal(404, "", ""), Found::NoKind),
        (refusal(500, "InternalError", ""), Found::Failed("no".to_owned())),
        (
            refusal(403, "Forbidden", "s"),
            Found::Refused(
                r#"{apiGroups: ["snapshot.storage.k8s.io"], resources: ["volumesnapshots"], verbs: ["get"]}"#
                    .to_owned(),
            ),
        ),
    ] {
        let (client, _) = server(move |_| answer.clone());
        assert_eq!(read(&client, &ask).await, expected);
    }
    let (client, _) = server(|_| refusal(403, "Forbidden", ""));
    let Found::Refused(rule) = read(&client, &Ask::list(Kind::Lease, "", String::new())).await else {
        panic!()
    };
    assert!(rule.ends_with(r#"verbs: ["list"]}"#), "{rule}");
}

#[tokio::test]
async fn every_page_of_a_list_is_read() {
    let (client, asked) = server(|path| {
        let next = if path.contains("continue=more") { "" } else { "more" };
        (200, json!({"metadata": {"continue": next}, "items": [{"metadata": {"name": "a"}}]}))
    });
    let ask = Ask::list(Kind::Lease, "", "metadata.name=d".to_owned());
    let Found::Objects(found) = read(&client, &ask).await else { panic!() };
    assert_eq!(found.len(), 2);
    let asked = asked.lock().unwrap();
    assert!(asked.iter().all(|(path, _)| path.contains("fieldSelector=metadata.name%3Dd")), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn watch_that_broke_is_opened_anew_and_tells_so() {
    let (client, asked) = server(|_| refusal(500, "InternalError", ""));
    let (tell, mut told) = tokio::sync::mpsc::channel(10);
    let ask = Ask::one(Kind::Claim, "team", "data");
    let running = tokio::spawn(watch(client, ask.clone(), tell));
    assert_eq!(told.recv().await, Some(ask.clone()));
    assert_eq!(told.recv().await, Some(ask));
    running.abort();
    let asked = asked.lock().unwrap();
    assert!(
        asked.iter().all(|(path, _)| path.contains("watch=true") && path.contains("metadata.name%3Ddata"))
    );
}

#[tokio::test]
async fn watch_that_is_not_permitted_ends() {
    let (client, asked) = server(|_| refusal(403, "Forbidden", ""));
    let (tell, mut told) = tokio::sync::mpsc::channel(10);
    watch(client, Ask::list(Kind::Pod, "team", String::new()), tell).await;
    assert_eq!((told.recv().await, asked.lock().unwrap().len()), (None, 1));
}
