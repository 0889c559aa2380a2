use super::*;
use crate::fixture::{refusal, server};
use tokio::time::Instant;

const LAG: Duration = Duration::from_secs(3);

fn present(id: &str) -> (u16, Value) {
    (200, json!({"metadata": {"name": NAME, "uid": "u", "annotations": {ID: id, FILE: "/a/undo"}}}))
}

fn exists() -> (u16, Value) {
    refusal(409, "AlreadyExists", NAME, "there is one")
}

async fn taken(answers: &[(u16, Value)]) -> Result<(), String> {
    let (requests, _) = server(answers);
    let hold = Hold::take(&requests, "mine", Path::new("/my/undo"), LAG).await;
    hold.map(|_| ()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn one_migration_at_a_time_has_the_policy() {
    assert_eq!(taken(&[(201, json!({}))]).await, Ok(()));
    assert_eq!(taken(&[exists(), present("mine"), (201, json!({}))]).await, Ok(()));
    let other = taken(&[exists(), present("other")]).await.unwrap_err();
    assert!(other.contains("--undo-file=/a/undo"), "{other}");
    let old =
        taken(&[refusal(404, "", "", "the server could not find the requested resource")]).await.unwrap_err();
    assert!(old.contains("Kubernetes 1.30 or later is needed"), "{old}");
    let forbidden = taken(&[refusal(403, "Forbidden", NAME, "you may not")]).await.unwrap_err();
    assert_eq!(forbidden, "cannot keep claims from being called Lost: you may not");
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_kept_once_the_server_refuses_to_call_it_lost() {
    let denied = || {
        refusal(
            422,
            "Invalid",
            "c",
            "ValidatingAdmissionPolicy 'mooring-migrate' with binding ... denied request",
        )
    };
    let lost = || (200, json!({"status": {"phase": "Lost"}}));
    let changed = refusal(409, "Conflict", "c", "changed");
    let (requests, asked) = server(&[(201, json!({})), (201, json!({})), lost(), changed, lost(), denied()]);
    let mut hold = Hold::take(&requests, "mine", Path::new("/my/undo"), LAG).await.unwrap();
    let begun = Instant::now();
    hold.prove("ns", "c").await.unwrap();
    assert_eq!(begun.elapsed(), 3 * PAUSE + LAG, "the other API servers have time to follow");
    hold.prove("ns", "d").await.unwrap();
    assert!(!hold.is_vain());
    assert_eq!(begun.elapsed(), 3 * PAUSE + LAG, "once");
    let path = "PATCH /api/v1/namespaces/ns/persistentvolumeclaims";
    let asked = asked.lock().unwrap().split_off(2);
    let probe = |name: &str| format!("{path}/{name}/status?dryRun=All");
    assert_eq!(asked, [probe("c"), probe("c"), probe("c"), probe("c"), probe("d")]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_follow_the_policy_keeps_no_claim() {
    let (requests, _) = server(&[(201, json!({}))]);
    let mut hold = Hold::take(&requests, "mine", Path::new("/my/undo"), LAG).await.unwrap();
    let begun = Instant::now();
    assert!(matches!(hold.prove("ns", "c").await, Err(HoldError::NotFollowed)));
    assert_eq!((begun.elapsed(), hold.is_vain()), (LIMIT, true));
    let (requests, _) =
        server(&[(201, json!({})), (201, json!({})), refusal(403, "Forbidden", "c", "you may not")]);
    let mut hold = Hold::take(&requests, "mine", Path::new("/my/undo"), LAG).await.unwrap();
    assert!(matches!(hold.prove("ns", "c").await, Err(HoldError::Api(text)) if text == "you may not"));
}

#[tokio::test]
async fn only_ones_own_policy_is_taken_away() {
    let (requests, asked) = server(&[present("mine")]);
    release(&requests, "mine").await.unwrap();
    let deleted = |asked: &crate::fixture::Asked| {
        asked.lock().unwrap().iter().filter(|one| one.starts_with("DELETE ")).count()
    };
    assert_eq!(deleted(&asked), 2);
    for answers in [vec![present("other")], vec![refusal(404, "NotFound", NAME, "no")]] {
        let (requests, asked) = server(&answers);
        release(&requests, "mine").await.unwrap();
        assert_eq!(deleted(&asked), 0);
    }
}
