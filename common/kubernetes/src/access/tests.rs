//! The decision, against an API server that answers as scripted.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::Response;
use http_body_util::BodyExt as _;
use kube::client::Body;

use super::*;

/// Knows the tokens `reader` and `other`; only the user of the first may get `/metrics`. Counts what it is asked.
fn server(asked: Arc<AtomicUsize>) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        asked.fetch_add(1, Ordering::Relaxed);
        async move {
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&body).unwrap();
            let status = if path.ends_with("tokenreviews") {
                match body["spec"]["token"].as_str().unwrap() {
                    "away" => return Err(std::io::Error::other("no route")),
                    name @ ("reader" | "other") => {
                        json!({"authenticated": true, "user": {"username": name, "groups": ["g"], "extra": {"k": ["v"]}}})
                    }
                    _ => json!({"error": "unknown"}),
                }
            } else {
                let spec = &body["spec"];
                assert_eq!((&spec["groups"], &spec["extra"]["k"][0]), (&json!(["g"]), &json!("v")));
                assert_eq!(spec["nonResourceAttributes"]["verb"], "get");
                let may = spec["user"] == "reader" && spec["nonResourceAttributes"]["path"] == "/metrics";
                json!({"allowed": may})
            };
            let body = Body::from(json!({"status": status}).to_string().into_bytes());
            Ok::<_, std::io::Error>(Response::builder().status(201).body(body).unwrap())
        }
    });
    Client::new(service, "default")
}

#[tokio::test(start_paused = true)]
async fn token_may_read_what_its_user_may_get() {
    let guard = guard(server(Arc::default()));
    let ask = |token: &str, path: &str| guard(token.to_owned(), path.to_owned());
    let forbidden = |user: &str| Err(Refusal::Forbidden { user: user.to_owned() });
    assert_eq!(ask("reader", "/metrics").await, Ok(()));
    assert_eq!(ask("reader", "/").await, forbidden("reader"));
    assert_eq!(ask("other", "/metrics").await, forbidden("other"));
    assert_eq!(ask("nobody", "/metrics").await, Err(Refusal::Unknown));
    let Err(Refusal::Unclear(why)) = ask("away", "/metrics").await else { panic!() };
    assert!(!why.contains("away"), "no token: {why}");
}

#[tokio::test(start_paused = true)]
async fn api_server_is_asked_once_a_minute_for_each_token() {
    let asked = Arc::new(AtomicUsize::new(0));
    let guard = guard(server(asked.clone()));
    let ask = || guard("reader".to_owned(), "/metrics".to_owned());
    for _ in 0..10 {
        assert_eq!(ask().await, Ok(()));
        tokio::time::advance(Duration::from_secs(5)).await;
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2, "one review of each kind");
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(ask().await, Ok(()));
    assert_eq!(asked.load(Ordering::Relaxed), 4);
}
