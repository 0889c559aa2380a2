use super::*;
use crate::fixture::{refusal, server};

fn count(asked: &crate::fixture::Asked) -> usize {
    asked.lock().unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn what_may_succeed_later_is_sent_again_and_nothing_else() {
    for (answer, again) in [
        (refusal(500, "InternalError", "a", "etcd"), true),
        (refusal(503, "ServiceUnavailable", "a", "later"), true),
        (refusal(429, "TooManyRequests", "a", "later"), true),
        (refusal(409, "Conflict", "a", "changed"), false),
        (refusal(403, "Forbidden", "a", "no"), false),
        (refusal(422, "Invalid", "a", "no"), false),
    ] {
        let (requests, asked) = server(&[answer.clone(), (200, json!({"metadata": {"name": "a"}}))]);
        let found = requests.patch("/a", &json!({})).await;
        assert_eq!((found.is_ok(), count(&asked)), (again, 1 + usize::from(again)), "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_minute_later_the_refusal_is_told() {
    let (requests, asked) = server(&[refusal(503, "ServiceUnavailable", "a", "later")]);
    let begun = Instant::now();
    let error = requests.get(VOLUMES, "a").await.unwrap_err();
    assert_eq!(api::text(&error), "later");
    assert!((30..34).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert!(count(&asked) > 10);
}

#[tokio::test]
async fn only_the_servers_own_word_means_that_nothing_is_there() {
    let (requests, _) = server(&[refusal(404, "NotFound", "a", "no")]);
    assert!(requests.get(VOLUMES, "a").await.unwrap().is_none());
    let (requests, _) = server(&[refusal(404, "", "a", "a proxy")]);
    assert!(requests.get(VOLUMES, "a").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_was_refused_at_once_was_not_done() {
    let lost = || refusal(504, "Timeout", "a", "lost");
    for refused in [refusal(409, "Conflict", "a", "changed"), refusal(404, "NotFound", "a", "no")] {
        let (requests, _) = server(std::slice::from_ref(&refused));
        let found = requests.delete(VOLUMES, "a", "u", Some("1")).await.unwrap();
        assert!(matches!(found, Deletion::NotDone(_)), "{found:?}");
        let (requests, _) = server(&[lost(), refused]);
        let found = requests.delete(VOLUMES, "a", "u", Some("1")).await.unwrap();
        assert!(matches!(found, Deletion::Unknown), "{found:?}");
    }
    let (requests, _) = server(&[lost()]);
    assert!(requests.delete(VOLUMES, "a", "u", Some("1")).await.is_err());
}

#[tokio::test]
async fn a_deleted_object_waits_for_its_finalizers() {
    let object = |finalizers: Value| json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": finalizers}});
    for (answer, waits) in
        [(object(json!(["b"])), true), (object(json!([])), false), (json!({"kind": "Status"}), false)]
    {
        let (requests, asked) = server(&[(200, answer.clone())]);
        let found = requests.delete(VOLUMES, "a", "u", Some("1")).await.unwrap();
        assert!(matches!(found, Deletion::Done(left) if left.is_some() == waits), "{answer}");
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "u", "resourceVersion": "1"},
        });
        assert_eq!(*asked.lock().unwrap(), [format!("DELETE /api/v1/persistentvolumes/a {options}")]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_was_to_come_later_was_not_done() {
    let later = refusal(429, "TooManyRequests", "a", "later");
    let (requests, _) = server(&[later, refusal(409, "Conflict", "a", "changed")]);
    let found = requests.delete(VOLUMES, "a", "u", Some("1")).await.unwrap();
    assert!(matches!(found, Deletion::NotDone(_)), "{found:?}");
}

#[tokio::test]
async fn credentials_that_have_expired_are_no_refusal_of_a_volume() {
    let (requests, _) = server(&[refusal(401, "Unauthorized", "", "expired")]);
    assert!(!is_refusal(&requests.patch("/a", &json!({})).await.unwrap_err()));
}
