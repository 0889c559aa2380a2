//! The decision, against an API server that answers as scripted.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::Response;
use http_body_util::BodyExt as _;
use kube::client::Body;

use super::places::MOST_QUESTIONS;
use super::*;
use crate::limit::{Limit, LimitLayer};
use futures::FutureExt as _;
use tower::Layer as _;

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

/// A question of a peer, `10.0.0.PEER`.
fn question(peer: u8, token: &str, path: &str) -> Question {
    Question { token: token.into(), path: path.to_owned(), peer: [10, 0, 0, peer].into() }
}

#[tokio::test(start_paused = true)]
async fn token_may_read_what_its_user_may_get() {
    let guard = guard(server(Arc::default()));
    let ask = |token: &str, path: &str| guard(question(1, token, path));
    let forbidden = |user: &str| Err(Refusal::Forbidden { user: user.to_owned() });
    assert_eq!(ask("reader", "/metrics").await, Ok(()));
    assert_eq!(ask("reader", "/status").await, forbidden("reader"));
    assert_eq!(ask("other", "/metrics").await, forbidden("other"));
    assert_eq!(ask("nobody", "/metrics").await, Err(Refusal::Unknown));
    let Err(Refusal::Unclear(why)) = ask("away", "/metrics").await else { panic!() };
    assert!(!why.contains("away"), "no token: {why}");
}

#[tokio::test(start_paused = true)]
async fn api_server_is_asked_once_a_minute_for_each_token() {
    let asked = Arc::new(AtomicUsize::new(0));
    let guard = guard(server(asked.clone()));
    let ask = || guard(question(1, "reader", "/metrics"));
    for _ in 0..10 {
        assert_eq!(ask().await, Ok(()));
        tokio::time::advance(Duration::from_secs(5)).await;
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2, "one review of each kind");
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(ask().await, Ok(()));
    assert_eq!(asked.load(Ordering::Relaxed), 4);
}

/// Polls once and hangs up.
fn knock(guard: &Guard, peer: u8, token: &str) -> Option<Result<(), Refusal>> {
    guard(question(peer, token, "/metrics")).now_or_never()
}

#[tokio::test(start_paused = true)]
async fn flood_of_unknown_tokens_does_not_lock_the_pages() {
    let (limit, asked) = (LimitLayer::new(Limit::rate(5.0, 10)), Arc::new(AtomicUsize::new(0)));
    let slow = |asked: Arc<AtomicUsize>| {
        tower::service_fn(move |request: Request<Body>| {
            let client = server(asked.clone());
            async move { client.send(request).await }
        })
    };
    let guard = guard(Client::new(limit.layer(slow(asked.clone())), "default"));
    for number in 0..1000 {
        tokio::spawn(guard(question(1, &format!("stranger-{number}"), "/metrics")));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(asked.load(Ordering::Relaxed) <= 20, "five a second, and ten at first");
    tokio::time::sleep(PATIENCE).await;
    let answer = timeout(PATIENCE, guard(question(1, "reader", "/metrics"))).await;
    assert_eq!(answer, Ok(Ok(())), "what strangers asked for takes no time from the future");
}

#[tokio::test(start_paused = true)]
async fn open_questions_are_bounded_and_the_next_is_503_at_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let silent = tower::service_fn({
        let asked = asked.clone();
        move |_: Request<Body>| {
            asked.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<Result<Response<Body>, std::io::Error>>()
        }
    });
    let guard = guard(Client::new(silent, "default"));
    for number in 0..100 {
        knock(&guard, number, &number.to_string());
        tokio::task::yield_now().await;
    }
    assert_eq!(asked.load(Ordering::Relaxed), MOST_QUESTIONS, "a hang-up frees no place");
    let Some(Err(Refusal::Unclear(why))) = knock(&guard, 1, "next") else { panic!("it waits") };
    assert!(why.contains("try again"), "{why}");
    // A question that is late gives its place back.
    tokio::time::sleep(PATIENCE + Duration::from_secs(1)).await;
    let start = Instant::now();
    let late = guard(question(1, "next", "/metrics")).await;
    assert_eq!(
        (late, start.elapsed()),
        (Err(Refusal::Unclear("no answer within 10 s".to_owned())), PATIENCE)
    );
}

/// As [`server`], but questions about strangers are never answered.
fn server_that_knows_no_strangers() -> Client {
    let hangs = tower::service_fn(move |request: Request<Body>| {
        let client = server(Arc::default());
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            if String::from_utf8_lossy(&body).contains("stranger") {
                std::future::pending::<()>().await;
            }
            client.send(Request::from_parts(parts, Body::from(body))).await
        }
    });
    Client::new(hangs, "default")
}

#[tokio::test(start_paused = true)]
async fn token_that_was_good_has_a_place_in_a_flood() {
    let guard = guard(server_that_knows_no_strangers());
    let ask = || guard(question(1, "reader", "/metrics"));
    assert_eq!(ask().await, Ok(()));
    tokio::time::advance(Duration::from_secs(61)).await;
    for number in 0..20 {
        knock(&guard, 1, &format!("stranger-{number}"));
    }
    assert_eq!(ask().await, Ok(()));
    let other = guard(question(1, "other", "/metrics")).await;
    assert!(matches!(other, Err(Refusal::Unclear(_))), "it was never good: {other:?}");
}

#[tokio::test(start_paused = true)]
async fn flood_of_one_peer_keeps_no_other_peer_s_token_out() {
    let guard = guard(server_that_knows_no_strangers());
    for number in 0..20 {
        knock(&guard, 1, &format!("stranger-{number}"));
    }
    assert_eq!(guard(question(2, "reader", "/metrics")).await, Ok(()), "it was never good before");
}

#[tokio::test(start_paused = true)]
async fn authorizer_that_fails_is_asked_once_in_five_seconds() {
    let asked = Arc::new(AtomicUsize::new(0));
    let guard = guard(server(asked.clone()));
    for _ in 0..10 {
        let answer = guard(question(1, "away", "/metrics")).await;
        assert!(matches!(answer, Err(Refusal::Unclear(_))), "{answer:?}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    tokio::time::advance(Duration::from_secs(5)).await;
    let _ = guard(question(1, "away", "/metrics")).await;
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[test]
fn review_that_could_not_be_evaluated_is_no_refusal() {
    let of = |status: Value| allowed(&json!({"status": status}), &json!({"username": "u"}));
    let forbidden = Err(Refusal::Forbidden { user: "u".to_owned() });
    let error = "webhook: connection refused";
    assert_eq!(of(json!({"allowed": true, "evaluationError": error})), Ok(()));
    assert_eq!(of(json!({"allowed": true, "denied": true})), forbidden);
    assert_eq!(of(json!({"allowed": false, "denied": true, "evaluationError": error})), forbidden);
    assert_eq!(of(json!({"allowed": false, "evaluationError": ""})), forbidden);
    for status in [json!({"allowed": false, "evaluationError": error}), json!({})] {
        assert!(matches!(of(status.clone()), Err(Refusal::Unclear(_))), "{status}");
    }
}
