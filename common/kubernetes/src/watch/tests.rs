use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::object::{Scope, Volume};
use crate::store::{Store, cache};

/// A server that gives these answers, one a request, and then none.
struct Server {
    answers: Mutex<VecDeque<(u16, String)>>,
    asked: Mutex<Vec<(Instant, String)>>,
}

fn server(answers: impl IntoIterator<Item = (u16, String)>) -> Arc<Server> {
    let answers = answers.into_iter().collect();
    Arc::new(Server { answers: Mutex::new(answers), asked: Mutex::default() })
}

impl Server {
    fn client(self: &Arc<Self>) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            server.asked.lock().unwrap().push((Instant::now(), words(request.uri())));
            let answer = server.answers.lock().unwrap().pop_front();
            async move {
                let Some((status, body)) = answer else { return std::future::pending().await };
                http::Response::builder().status(status).body(Body::from(body.into_bytes()))
            }
        });
        kube::Client::new(service, "default")
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(_, request)| request.clone()).collect()
    }

    /// Whole seconds between one request and the next.
    fn pauses(&self) -> Vec<u64> {
        let asked = self.asked.lock().unwrap();
        asked.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_secs()).collect()
    }
}

/// A request as `list`, `list continue=…`, `watch VERSION` or `stream VERSION`, with its selectors.
fn words(uri: &http::Uri) -> String {
    let query = uri.query().unwrap_or_default();
    let pairs: Vec<(&str, &str)> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let value = |key: &str| pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
    let version = value("resourceVersion").unwrap_or("none");
    let mut text = match (value("watch"), value("sendInitialEvents")) {
        (None, _) if version == "none" => "list".to_owned(),
        (None, _) => format!("list of version {version}"),
        (Some(_), None) => format!("watch {version}"),
        (Some(_), Some(_)) => format!("stream '{version}' {}", value("resourceVersionMatch").unwrap_or("")),
    };
    for key in ["continue", "fieldSelector", "labelSelector"] {
        if let Some(value) = value(key) {
            text += &format!(" {key}={value}");
        }
    }
    text
}

fn volume(name: &str, version: u64) -> Value {
    json!({
        "metadata": {"name": name, "uid": name, "resourceVersion": version.to_string()},
        "spec": {"csi": {"driver": "d", "volumeHandle": "h"}},
    })
}

fn page(version: u64, next: &str, names: &[&str]) -> (u16, String) {
    let items: Vec<Value> = names.iter().map(|name| volume(name, version)).collect();
    let metadata = json!({"resourceVersion": version.to_string(), "continue": next});
    (200, json!({"metadata": metadata, "items": items}).to_string())
}

fn events(events: &[(&str, Value)]) -> (u16, String) {
    // The type first, as the API server has it.
    let line = |(kind, object): &(&str, Value)| format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n");
    (200, events.iter().map(line).collect())
}

fn bookmark(version: u64, ends_list: bool) -> Value {
    let annotations = if ends_list { json!({"k8s.io/initial-events-end": "true"}) } else { json!({}) };
    let metadata = json!({"resourceVersion": version.to_string(), "annotations": annotations});
    json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata})
}

fn refusal(code: u16) -> (u16, String) {
    (
        code,
        json!({"kind": "Status", "status": "Failure", "message": "no", "code": code, "reason": "No"})
            .to_string(),
    )
}

/// Runs the reflector for an hour; gives the names in its cache then.
async fn reflected(server: &Arc<Server>, options: WatchOptions) -> Vec<String> {
    let (writer, store) = cache::<Volume>(Arc::new(Scope { driver: "d".into(), ..Scope::default() }));
    let reflecting = reflect(server.client(), writer, options, Metrics::new());
    let _ = timeout(Duration::from_secs(3600), reflecting).await;
    names(&store)
}

fn names(store: &Store<Volume>) -> Vec<String> {
    let mut names: Vec<String> = store.list().iter().map(|volume| volume.meta.name().to_owned()).collect();
    names.sort();
    names
}

fn streaming() -> WatchOptions {
    WatchOptions { streaming: true, ..WatchOptions::default() }
}

#[tokio::test(start_paused = true)]
async fn broken_watch_goes_on_where_it_was() {
    let server = server([
        page(5, "more", &["a"]),
        page(5, "", &["b"]),
        events(&[("ADDED", volume("c", 6)), ("DELETED", volume("a", 7))]),
        events(&[("BOOKMARK", bookmark(9, false))]),
    ]);
    assert_eq!(reflected(&server, WatchOptions::default()).await, ["b", "c"]);
    assert_eq!(server.asked(), ["list", "list continue=more", "watch 5", "watch 7", "watch 9"]);
}

#[tokio::test(start_paused = true)]
async fn stream_shows_the_newest_list_and_goes_on() {
    let list = [("ADDED", volume("a", 3)), ("BOOKMARK", bookmark(5, true)), ("ADDED", volume("b", 6))];
    let server = server([events(&list)]);
    assert_eq!(reflected(&server, streaming()).await, ["a", "b"]);
    assert_eq!(server.asked(), ["stream '' NotOlderThan", "watch 6"], "no version: not any version");
}

#[tokio::test(start_paused = true)]
async fn refused_stream_becomes_pages_and_is_tried_again_later() {
    let expired = || {
        events(&[("ERROR", json!({"status": "Failure", "message": "old", "code": 410, "reason": "Expired"}))])
    };
    let quiet = |version| events(&[("BOOKMARK", bookmark(version, false))]);
    let mut answers = vec![refusal(422), page(5, "", &["a"]), expired(), page(6, "", &["b"])];
    // Watches that end at once rest between; after ten minutes of them the next list is streamed again.
    answers.extend((7..80).map(quiet));
    answers.extend((0..60).map(|_| (200, String::new())));
    answers.extend([expired(), events(&[("ADDED", volume("c", 90)), ("BOOKMARK", bookmark(90, true))])]);
    let server = server(answers);
    assert_eq!(reflected(&server, streaming()).await, ["c"]);
    let asked: Vec<String> = server.asked().into_iter().filter(|what| !what.starts_with("watch")).collect();
    assert_eq!(asked, ["stream '' NotOlderThan", "list", "list", "stream '' NotOlderThan"]);
}

#[tokio::test(start_paused = true)]
async fn deletion_during_a_streamed_list_is_seen() {
    let list = [
        ("ADDED", volume("a", 3)),
        ("ADDED", volume("b", 3)),
        ("DELETED", volume("a", 4)),
        ("BOOKMARK", bookmark(5, true)),
    ];
    let server = server([events(&list)]);
    assert_eq!(reflected(&server, streaming()).await, ["b"]);
}

/// The API server takes the list, then we write, then its answer arrives.
#[tokio::test(start_paused = true)]
async fn stream_taken_before_our_write_undoes_nothing() {
    let list = [("ADDED", volume("a", 3)), ("BOOKMARK", bookmark(5, true))];
    let (_, body) = events(&list);
    let service = tower::service_fn(move |_: http::Request<Body>| {
        let body = body.clone();
        async move {
            tokio::time::sleep(Duration::from_secs(10)).await;
            http::Response::builder().body(Body::from(body.into_bytes()))
        }
    });
    let (writer, store) = cache::<Volume>(Arc::new(Scope { driver: "d".into(), ..Scope::default() }));
    writer.apply(serde_json::from_value(volume("a", 3)).unwrap());
    let client = kube::Client::new(service, "default");
    let reflecting = tokio::spawn(reflect(client, writer, streaming(), Metrics::new()));
    tokio::time::sleep(Duration::from_secs(5)).await;
    store.overlay(serde_json::from_value(volume("a", 7)).unwrap());
    tokio::time::sleep(Duration::from_secs(6)).await;
    let versions: Vec<u64> = store.list().iter().map(|volume| volume.meta.version).collect();
    assert_eq!(versions, [7]);
    reflecting.abort();
}

#[tokio::test(start_paused = true)]
async fn stream_that_breaks_off_twice_becomes_pages() {
    let unfinished = || events(&[("ADDED", volume("a", 3))]);
    let server = server([unfinished(), unfinished(), page(5, "", &["a"])]);
    assert_eq!(reflected(&server, streaming()).await, ["a"]);
    assert_eq!(server.asked(), ["stream '' NotOlderThan", "stream '' NotOlderThan", "list", "watch 5"]);
}

#[tokio::test(start_paused = true)]
async fn failing_lists_are_tried_less_and_less_often() {
    let server = server((0..20).map(|_| refusal(403)));
    assert!(reflected(&server, WatchOptions::default()).await.is_empty());
    let pauses = server.pauses();
    assert_eq!(pauses.len(), 20);
    assert!(pauses[0] <= 1 && pauses[3] >= 6 && pauses[5..].iter().all(|pause| *pause >= 15), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn version_that_is_always_expired_does_not_spin() {
    let expired = || {
        events(&[("ERROR", json!({"status": "Failure", "message": "old", "code": 410, "reason": "Expired"}))])
    };
    let server = server((0..20).flat_map(|_| [page(5, "", &["a"]), expired()]));
    assert_eq!(reflected(&server, WatchOptions::default()).await, ["a"]);
    let lists = server.pauses().into_iter().skip(1).step_by(2);
    assert!(lists.skip(5).all(|pause| pause >= 15), "{:?}", server.pauses());
}

#[tokio::test(start_paused = true)]
async fn list_that_works_leaves_a_failing_watch_its_pauses() {
    let round = || [page(5, "", &["a"]), refusal(403), refusal(403), refusal(403)];
    let server = server((0..5).flat_map(|_| round()));
    assert_eq!(reflected(&server, WatchOptions::default()).await, ["a"]);
    let asked = server.asked();
    assert_eq!(
        &asked[..5],
        ["list", "watch 5", "watch 5", "watch 5", "list"],
        "a new list after three refusals"
    );
    assert!(server.pauses()[14..].iter().all(|pause| *pause == 0 || *pause >= 15), "{:?}", server.pauses());
}

#[tokio::test(start_paused = true)]
async fn selectors_and_namespace_are_asked_for() {
    let server = server([page(5, "", &[])]);
    let options =
        WatchOptions { fields: "spec.nodeName=n".into(), labels: "a=b".into(), ..WatchOptions::default() };
    reflected(&server, options).await;
    assert_eq!(
        server.asked(),
        [
            "list fieldSelector=spec.nodeName%3Dn labelSelector=a%3Db",
            "watch 5 fieldSelector=spec.nodeName%3Dn labelSelector=a%3Db"
        ]
    );
    let options = WatchOptions { namespace: "ns".into(), metadata_only: true, ..WatchOptions::default() };
    for request in
        [options.page::<crate::object::Claim>(None), options.watch::<crate::object::Claim>("5", false)]
    {
        let request = request.unwrap();
        assert_eq!(request.uri().path(), "/api/v1/namespaces/ns/persistentvolumeclaims");
        let accept = request.headers().get(http::header::ACCEPT).unwrap().to_str().unwrap();
        assert!(accept.contains("as=PartialObjectMetadata"), "{accept}");
    }
}
