use std::sync::{Arc, Mutex};

use k8s_openapi::api::storage::v1::CSIDriver;
use kube::Client;
use kube::api::ApiResource;
use kube::client::Body;
use serde_json::Value;

use super::*;

/// The requests, as `METHOD` or `METHOD dry`.
type Asked = Arc<Mutex<Vec<String>>>;

fn refusal(code: u16) -> (u16, Value) {
    (code, json!({ "kind": "Status", "status": "Failure", "message": "no", "code": code, "reason": "x" }))
}

fn driver(uid: &str, attach: bool) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver",
        "metadata": { "name": "d", "uid": uid }, "spec": { "attachRequired": attach },
    })
}

/// Replaces object 1, with answers for all requests in turn.
async fn replaced(answers: Vec<(u16, Value)>, tries: Option<u32>) -> (Result<(), ReplaceError>, Vec<String>) {
    let (asked, answers) = (Asked::default(), Mutex::new(answers.into_iter()));
    let log = asked.clone();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let dry = if request.uri().query().unwrap_or_default().contains("dryRun=All") { " dry" } else { "" };
        log.lock().unwrap().push(format!("{}{dry}", request.method()));
        let (code, body) = answers.lock().unwrap().next().unwrap();
        let body = Body::from(body.to_string().into_bytes());
        std::future::ready(http::Response::builder().status(code).body(body))
    });
    let kind = ApiResource::erase::<CSIDriver>(&());
    let objects = Api::all_with(Client::new(service, "default"), &kind);
    let present = serde_json::from_value(driver("1", false)).unwrap();
    let mut wanted = Wanted::default();
    wanted.set("attachRequired", json!(true));
    let result = replace(&objects, &present, &wanted, tries).await;
    let asked = asked.lock().unwrap().clone();
    (result, asked)
}

#[tokio::test(start_paused = true)]
async fn deleted_object_is_created_however_often_that_fails() {
    let mut answers = vec![refusal(409), (200, driver("1", false))];
    answers.extend([403, 500, 503, 429, 403, 403, 403, 403].map(refusal));
    answers.push((201, driver("2", true)));
    let (result, asked) = replaced(answers, None).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(asked[..3], ["POST dry", "DELETE", "POST"]);
    assert_eq!(asked[2..], ["POST"; 9]);
}

#[tokio::test(start_paused = true)]
async fn limited_tries_end_and_say_that_the_object_is_gone() {
    let answers = vec![refusal(409), (200, json!({})), refusal(500), refusal(500), refusal(403)];
    let (result, asked) = replaced(answers, Some(3)).await;
    assert!(matches!(result, Err(ReplaceError::Gone(_))), "{result:?}");
    assert_eq!(asked, ["POST dry", "DELETE", "POST", "POST", "POST"]);
}

#[tokio::test(start_paused = true)]
async fn object_that_cannot_be_created_is_not_deleted() {
    let (result, asked) = replaced(vec![refusal(403)], None).await;
    assert!(matches!(result, Err(ReplaceError::Refused(_))), "{result:?}");
    assert_eq!(asked, ["POST dry"]);
    let (result, asked) = replaced(vec![refusal(409), refusal(403)], None).await;
    assert!(matches!(result, Err(ReplaceError::Kept(_))), "{result:?}");
    assert_eq!(asked, ["POST dry", "DELETE"]);
}

#[tokio::test(start_paused = true)]
async fn unclear_replies_are_cleared_by_a_look() {
    // What is there after the deletion may have failed, and the creation says that the name is taken.
    for (there, right) in
        [(driver("1", false), false), (driver("2", true), true), (driver("3", false), false)]
    {
        let answers = vec![refusal(409), refusal(504), refusal(409), (200, there.clone())];
        let (result, asked) = replaced(answers, None).await;
        assert_eq!(result.is_ok(), right, "{there}: {result:?}");
        assert_eq!(asked, ["POST dry", "DELETE", "POST", "GET"]);
    }
    // A deletion that lasts is waited for.
    let mut leaving = driver("1", false);
    leaving["metadata"]["deletionTimestamp"] = json!("2026-11-30T00:00:00Z");
    let answers =
        vec![refusal(409), (200, json!({})), refusal(409), (200, leaving), (201, driver("2", true))];
    let (result, asked) = replaced(answers, None).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(asked, ["POST dry", "DELETE", "POST", "GET", "POST"]);
}
