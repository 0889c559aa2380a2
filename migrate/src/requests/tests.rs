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
    assert!(requests.delete(VOLUMES, "a", "u", None).await.unwrap().is_none());
    let (requests, _) = server(&[refusal(404, "", "a", "a proxy")]);
    assert!(requests.get(VOLUMES, "a").await.is_err());
    assert!(requests.delete(VOLUMES, "a", "u", None).await.is_err());
}

#[tokio::test]
async fn a_deleted_object_waits_for_its_finalizers() {
    let object = |finalizers: Value| json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": finalizers}});
    for (answer, waits) in
        [(object(json!(["b"])), true), (object(json!([])), false), (json!({"kind": "Status"}), false)]
    {
        let (requests, asked) = server(&[(200, answer.clone())]);
        let left = requests.delete(VOLUMES, "a", "u", Some("1")).await.unwrap();
        assert_eq!(left.is_some(), waits, "{answer}");
        assert_eq!(*asked.lock().unwrap(), ["DELETE /api/v1/persistentvolumes/a"]);
    }
}
