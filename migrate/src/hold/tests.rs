use super::*;
use crate::fixture::{refusal, server};
use tokio::time::Instant;

const LAG: Duration = Duration::from_secs(3);

fn mine() -> Owner<'static> {
    static RUNS: std::sync::LazyLock<[String; 2]> =
        std::sync::LazyLock::new(|| ["first".to_owned(), "second".to_owned()]);
    Owner { id: "mine", runs: &*RUNS, file: Path::new("/my/undo"), undo: false, command: "go on".to_owned() }
}

fn present_with(id: &str, file: &str, flag: &str) -> (u16, Value) {
    let annotations = json!({ID: id, RUN: "first", FILE: file, FLAG: flag});
    (200, json!({"metadata": {"name": NAME, "uid": "u", "resourceVersion": "7", "annotations": annotations}}))
}

/// The policy as another run with a copy of the file has left it.
fn run_elsewhere() -> (u16, Value) {
    let (code, mut policy) = present_with("mine", "/my/undo", "--undo");
    policy["metadata"]["annotations"][RUN] = json!("third");
    (code, policy)
}

fn present(id: &str) -> (u16, Value) {
    present_with(id, "/my/undo", "--undo-file")
}

fn exists() -> (u16, Value) {
    refusal(409, "AlreadyExists", NAME, "there is one")
}

async fn taken(answers: &[(u16, Value)]) -> Result<(), String> {
    let (requests, _) = server(answers);
    let hold = Hold::take(&requests, &mine(), LAG).await;
    hold.map(|_| ()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn one_migration_at_a_time_has_the_policy() {
    assert_eq!(taken(&[(201, json!({}))]).await, Ok(()));
    assert_eq!(taken(&[exists(), present("mine"), (201, json!({}))]).await, Ok(()));
    let other = taken(&[exists(), present("other")]).await.unwrap_err();
    assert!(other.contains("finish it with mooring migrate --undo-file=/my/undo on the machine"), "{other}");
    let undone = taken(&[exists(), present_with("other", "/a/undo", "--undo")]).await.unwrap_err();
    assert!(undone.contains("finish it with mooring migrate --undo=/a/undo on the machine"), "{undone}");
    let (code, mut told) = present("other");
    told["metadata"]["annotations"][COMMAND] = json!("mooring migrate --undo-file=/f --volume=x");
    let whole = taken(&[exists(), (code, told)]).await.unwrap_err();
    assert!(whole.contains("finish it with mooring migrate --undo-file=/f --volume=x on"), "{whole}");
    let copied = taken(&[exists(), run_elsewhere()]).await.unwrap_err();
    assert!(
        copied.contains("lacks its last run. Finish it with mooring migrate --undo=/my/undo on"),
        "{copied}"
    );
    let old =
        taken(&[refusal(404, "", "", "the server could not find the requested resource")]).await.unwrap_err();
    assert!(old.contains("Kubernetes 1.30 or later is needed"), "{old}");
    let forbidden = taken(&[refusal(403, "Forbidden", NAME, "you may not")]).await.unwrap_err();
    assert_eq!(forbidden, "cannot keep claims from being called Lost: you may not");
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_kept_once_the_server_refuses_to_call_it_lost() {
    let denied =
        || refusal(422, "Invalid", "c", &format!("ValidatingAdmissionPolicy ... denied request: {MESSAGE}"));
    let lost = || (200, json!({"status": {"phase": "Lost"}}));
    let changed = refusal(409, "Conflict", "c", "changed");
    let (requests, asked) = server(&[(201, json!({})), (201, json!({})), lost(), changed, lost(), denied()]);
    let mut hold = Hold::take(&requests, &mine(), LAG).await.unwrap();
    let begun = Instant::now();
    hold.prove("ns", "c").await.unwrap();
    assert_eq!(begun.elapsed(), 3 * PAUSE + LAG, "the other API servers have time to follow");
    hold.prove("ns", "d").await.unwrap();
    assert!(!hold.is_vain());
    assert_eq!(begun.elapsed(), 3 * PAUSE + LAG, "once");
    let path = "PATCH /api/v1/namespaces/ns/persistentvolumeclaims";
    let asked = asked.lock().unwrap().split_off(2);
    let probe =
        |name: &str| format!("{path}/{name}/status?dryRun=All {}", json!({"status": {"phase": "Lost"}}));
    assert_eq!(asked, [probe("c"), probe("c"), probe("c"), probe("c"), probe("d")]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_follow_the_policy_keeps_no_claim() {
    let (requests, _) = server(&[(201, json!({}))]);
    let mut hold = Hold::take(&requests, &mine(), LAG).await.unwrap();
    let begun = Instant::now();
    assert!(matches!(hold.prove("ns", "c").await, Err(HoldError::NotFollowed)));
    assert_eq!((begun.elapsed(), hold.is_vain()), (LIMIT, true));
}

#[tokio::test(start_paused = true)]
async fn only_our_own_refusal_proves_that_the_claim_is_kept() {
    let made = || (201, json!({}));
    // They name the policy, or speak in its words, and are none of it.
    for (code, reason, text) in [
        (403, "Forbidden", MESSAGE),
        (403, "Forbidden", "claims \"mooring-migrate\" is forbidden"),
        (422, "Invalid", "ValidatingAdmissionPolicy 'mooring-migrate-other' denied request"),
        (422, "", MESSAGE),
    ] {
        let (requests, _) = server(&[made(), made(), refusal(code, reason, "c", text)]);
        let mut hold = Hold::take(&requests, &mine(), LAG).await.unwrap();
        let found = hold.prove("ns", "c").await;
        assert!(matches!(&found, Err(HoldError::Claim(why)) if why == text), "{code} {text}: {found:?}");
        assert!(!hold.is_vain(), "other claims may be kept");
    }
    let (requests, _) = server(&[made(), made(), refusal(404, "NotFound", "c", "no")]);
    let mut hold = Hold::take(&requests, &mine(), LAG).await.unwrap();
    assert!(!hold.prove("ns", "c").await.unwrap(), "it is gone");
}

/// What the policy says is all that stands between a claim and Lost.
#[tokio::test]
async fn the_policy_refuses_lost_to_marked_claims_and_nothing_else() {
    let [(_, policy), (_, binding)] = policy(&mine());
    let spec = json!({
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [{
            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"],
            "resources": ["persistentvolumeclaims/status"],
        }]},
        "matchConditions": [{
            "name": "volume-is-being-replaced",
            "expression": "has(oldObject.metadata.annotations) && 'mooring.dev/migrating' in oldObject.metadata.annotations",
        }],
        "validations": [{
            "expression": "!has(object.status) || !has(object.status.phase) || object.status.phase != 'Lost'",
            "message": "mooring migrate is replacing the claim's PersistentVolume",
        }],
    });
    assert_eq!(policy["spec"], spec);
    assert_eq!(binding["spec"], json!({"policyName": "mooring-migrate", "validationActions": ["Deny"]}));
}

/// `--undo` with the file of an interrupted conversion: what is told to others names the flag of the last command.
#[tokio::test]
async fn the_policy_names_the_flag_of_the_last_command() {
    let made = || (201, json!({}));
    let (requests, asked) = server(&[exists(), present("mine"), made(), made()]);
    Hold::take(&requests, &Owner { undo: true, ..mine() }, LAG).await.unwrap();
    let asked = asked.lock().unwrap().clone();
    let version = json!({"annotations": annotations(&Owner { undo: true, ..mine() }), "uid": "u", "resourceVersion": "7"});
    let patch = json!({ "metadata": version });
    assert_eq!(asked[2], format!("PATCH {GROUP}/validatingadmissionpolicies/{NAME} {patch}"));
}

/// Another machine takes it first, with a copy of the undo file: it is looked at again.
#[tokio::test(start_paused = true)]
async fn two_that_take_the_policy_at_once_do_not_both_have_it() {
    let conflict = || refusal(409, "Conflict", NAME, "changed");
    let copied = taken(&[exists(), present("mine"), conflict(), run_elsewhere()]).await.unwrap_err();
    assert!(copied.contains("lacks its last run"), "{copied}");
    let made = (201, json!({}));
    let (requests, asked) = server(&[exists(), present("mine"), conflict(), present("mine"), made]);
    Hold::take(&requests, &mine(), LAG).await.unwrap();
    let asked = asked.lock().unwrap().clone();
    let patches: Vec<&String> = asked.iter().filter(|one| one.starts_with("PATCH ")).collect();
    // Without the version the API server would not refuse the second of two.
    let is_bound =
        |patch: &&String| patch.contains(r#""resourceVersion":"7""#) && patch.contains(r#""uid":"u""#);
    assert!(patches.len() >= 2 && patches.iter().all(is_bound), "{patches:?}");
}

#[tokio::test]
async fn a_policy_that_stays_at_the_end_is_told_as_that() {
    let (requests, _) =
        server(&[present("mine"), present("mine"), refusal(403, "Forbidden", NAME, "not you")]);
    let error = release(&requests, &mine()).await.unwrap_err().to_string();
    assert!(
        error.starts_with("all is done, but the ValidatingAdmissionPolicy") && error.contains("not you"),
        "{error}"
    );
}

#[tokio::test]
async fn only_ones_own_policy_is_taken_away() {
    let (requests, asked) = server(&[present("mine")]);
    release(&requests, &mine()).await.unwrap();
    let deleted = |asked: &crate::fixture::Asked| {
        asked.lock().unwrap().iter().filter(|one| one.starts_with("DELETE ")).count()
    };
    assert_eq!(deleted(&asked), 2);
    for answers in [vec![present("other")], vec![run_elsewhere()], vec![refusal(404, "NotFound", NAME, "no")]]
    {
        let (requests, asked) = server(&answers);
        release(&requests, &mine()).await.unwrap();
        assert_eq!(deleted(&asked), 0);
    }
}

/// A file that was moved is still the file; and if the last copy is lost, an operator takes the run off the policy.
#[tokio::test]
async fn a_moved_file_and_a_policy_without_run_are_taken() {
    let moved = || present_with("mine", "/a/undo", "--undo-file");
    let (code, mut freed) = run_elsewhere();
    freed["metadata"]["annotations"].as_object_mut().unwrap().remove(RUN);
    for policy in [moved(), (code, freed)] {
        let made = || (201, json!({}));
        let (requests, asked) = server(&[exists(), policy.clone(), made(), exists(), moved(), made()]);
        Hold::take(&requests, &mine(), LAG).await.unwrap();
        for (index, plural) in [(2, POLICIES), (5, BINDINGS)] {
            let patch = asked.lock().unwrap()[index].clone();
            assert!(patch.starts_with(&format!("PATCH {GROUP}/{plural}/{NAME} ")), "{patch}");
            assert!(patch.contains("/my/undo") && patch.contains("second"), "{patch}");
        }
        let (requests, asked) = server(&[policy, moved()]);
        release(&requests, &mine()).await.unwrap();
        assert_eq!(asked.lock().unwrap().iter().filter(|one| one.starts_with("DELETE ")).count(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_goes_meanwhile_is_made_anew_once() {
    let denied = || refusal(422, "Invalid", "c", MESSAGE);
    let made = || (201, json!({}));
    let lost = || (200, json!({}));
    let (requests, asked) = server(&[made(), made(), denied(), lost(), made(), made(), denied(), lost()]);
    let mut hold = Hold::take(&requests, &mine(), LAG).await.unwrap();
    assert!(hold.prove("ns", "a").await.unwrap());
    assert!(hold.prove("ns", "b").await.unwrap());
    let made = asked.lock().unwrap().iter().filter(|one| one.starts_with("POST ")).count();
    assert_eq!((made, hold.is_vain()), (4, false));
    assert!(matches!(hold.prove("ns", "c").await, Err(HoldError::NotFollowed)));
    assert!(hold.is_vain(), "nothing more is tried");
}
