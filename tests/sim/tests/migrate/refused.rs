//! The API server refuses something, for one volume; or its answers are lost.

use std::time::Duration;

use kube::Client;
use kube::client::Body;
use migrate::MigrateError;
use serde_json::json;
use sim::{Fault, Outage};

use crate::site::{Site, VOLUMES, claim, volume};

/// What becomes of requests about the volume `data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    Refused(u16),
    /// It is never seen to be Bound.
    NeverBound,
}

/// Whether a request, by method, path and body, goes wrong.
pub(crate) type Condition = fn(&str, &str, &str) -> bool;

/// A client for which requests go wrong.
pub(crate) fn hindered(site: &Site, condition: Condition, wrong: Wrong) -> Client {
    hindered_at(site.world.client(), condition, wrong)
}

pub(crate) fn hindered_at(inner: Client, condition: Condition, wrong: Wrong) -> Client {
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let inner = inner.clone();
        async move {
            let (head, body) = request.into_parts();
            let bytes = body.collect_bytes().await?;
            let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
            let goes_wrong = condition(head.method.as_str(), &path, &String::from_utf8_lossy(&bytes));
            if let (Wrong::Refused(code), true) = (wrong, goes_wrong) {
                let status = json!({
                    "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": "Forbidden",
                    "message": "mooring-migrate: not you",
                });
                let reply =
                    http::Response::builder().status(code).body(Body::from(status.to_string().into_bytes()));
                return Ok::<_, kube::Error>(reply.unwrap());
            }
            let answer = inner.send(http::Request::from_parts(head, Body::from(bytes))).await?;
            if !goes_wrong {
                return Ok(answer);
            }
            let (head, body) = answer.into_parts();
            let text =
                String::from_utf8_lossy(&body.collect_bytes().await?).replace("\"Bound\"", "\"Pending\"");
            Ok(http::Response::from_parts(head, Body::from(text.into_bytes())))
        }
    });
    Client::new(service, "default")
}

/// Another volume with a claim; by its name it comes after the others.
pub(crate) async fn third(site: &Site) {
    let mut third = volume("third");
    third["spec"]["claimRef"] = json!({"namespace": "default", "name": "third"});
    site.world.api.put(third);
    site.world.api.put(claim("third", "third"));
    site.rest().await;
}

/// What goes wrong for `data`, and whether it happens before anything is deleted.
const CASES: [(&str, Condition, Wrong, bool); 10] = [
    (
        "retain",
        |method, path, body| method == "PATCH" && path.ends_with("/data") && body.contains("Retain"),
        Wrong::Refused(403),
        true,
    ),
    ("mark", |method, path, _| method == "PATCH" && path.ends_with("claims/data"), Wrong::Refused(422), true),
    ("prove", |_, path, _| path.contains("claims/data/status"), Wrong::Refused(403), true),
    ("prove, missing", |_, path, _| path.contains("claims/data/status"), Wrong::Refused(404), true),
    (
        "ask",
        |_, path, body| path.contains("volumes?dryRun") && body.contains("id-of-data"),
        Wrong::Refused(403),
        true,
    ),
    (
        "release, asked before",
        |method, path, body| method == "PATCH" && path.contains("/data") && body.contains("finalizers"),
        Wrong::Refused(403),
        true,
    ),
    (
        "release",
        |method, path, body| method == "PATCH" && path.ends_with("/data") && body.contains("finalizers"),
        Wrong::Refused(403),
        false,
    ),
    ("delete", |method, path, _| method == "DELETE" && path.ends_with("/data"), Wrong::Refused(403), true),
    (
        "create",
        |method, path, body| method == "POST" && path.ends_with("volumes") && body.contains("id-of-data"),
        Wrong::Refused(422),
        false,
    ),
    ("bind", |method, path, _| method == "GET" && path.ends_with("volumes/data"), Wrong::NeverBound, false),
];

#[tokio::test(start_paused = true)]
async fn a_volume_that_is_refused_fails_alone() {
    for back in [false, true] {
        for (what, condition, wrong, early) in CASES {
            let site = Site::new().await;
            third(&site).await;
            let before = site.parts();
            if back {
                assert!(site.run_alone(false).await.is_complete());
            }
            let started = site.parts();
            let told = site.run(&hindered(&site, condition, wrong), back).await;
            let at = format!("{what} {back}: {told}");
            // `data` is the first: while it stays away, nothing more is begun with.
            let is_away = ["create", "release"].contains(&what);
            assert!(!told.is_complete() && told.done == if is_away { 0 } else { 2 }, "{at}");
            assert_eq!(told.broken_off.is_some(), is_away, "{at}");
            let named =
                |list: &[(String, String)]| list.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
            let source = if back { "cinder" } else { "csi" };
            for name in ["free", "third"] {
                assert_eq!(site.get(VOLUMES, name)["spec"][source].is_null(), is_away, "{at}");
            }
            if early {
                assert_eq!((named(&told.failed), told.half_done.len()), (vec!["data".to_owned()], 0), "{at}");
                assert_eq!(
                    (&site.parts()[0][0], &site.parts()[1][0]),
                    (&started[0][0], &started[1][0]),
                    "{at}"
                );
                site.no_policy_is_left(&at);
            } else {
                assert_eq!((named(&told.half_done), told.failed.len()), (vec!["data".to_owned()], 0), "{at}");
                assert!(told.to_string().contains("PersistentVolume data: half done: "), "{at}");
                let flag = if back { "--undo=" } else { "--undo-file=" };
                assert!(told.to_string().contains(&format!("To finish it: mooring migrate {flag}")), "{at}");
            }
            let again = site.run_alone(back).await;
            assert!(again.is_complete(), "{at}, again: {again}");
            site.no_policy_is_left(&at);
            let last = site.run_alone(true).await;
            assert!(last.is_complete(), "{at}, undone: {last}");
            assert_eq!(site.parts(), before, "{at}");
        }
    }
}

/// A volume that was converted, and went with its claim since: there is nothing left to undo of it.
#[tokio::test(start_paused = true)]
async fn undo_of_a_volume_that_is_gone_is_told_once() {
    let site = Site::new().await;
    assert!(site.run_alone(false).await.is_complete());
    assert!(site.world.api.delete(VOLUMES, "free"));
    site.rest().await;
    let told = site.run_alone(true).await;
    assert!(
        told.is_complete() && told.to_string().contains("PersistentVolume free: it has been deleted"),
        "{told}"
    );
    let again = site.run_alone(true).await;
    assert!(again.is_complete() && !again.to_string().contains("free"), "{again}");
}

/// What is half done in one direction hinders no command in the other.
#[tokio::test(start_paused = true)]
async fn a_volume_that_is_stuck_does_not_hinder_the_undoing() {
    let site = Site::new().await;
    third(&site).await;
    let (_, condition, wrong, _) = CASES[8];
    let client = hindered(&site, condition, wrong);
    for name in ["free", "third"] {
        let mut options = site.options();
        options.only = Some(name.to_owned());
        assert!(site.run_with(&client, &options, false).await.unwrap().is_complete());
    }
    assert_eq!(site.run(&client, false).await.half_done.len(), 1);
    let told = site.run(&client, true).await;
    assert!(told.done == 2 && told.half_done.len() == 1, "{told}");
    for name in ["free", "third"] {
        assert!(!site.get(VOLUMES, name)["spec"]["cinder"].is_null(), "{told}");
    }
    assert!(site.run_alone(true).await.is_complete());
    assert!(!site.get(VOLUMES, "data")["spec"]["cinder"].is_null());
}

#[tokio::test(start_paused = true)]
async fn lost_answers_change_nothing() {
    for back in [false, true] {
        for at in 1.. {
            let site = Site::new().await;
            let before = site.parts();
            if back {
                assert!(site.run_alone(false).await.is_complete());
            }
            let begun = site.world.steps.count();
            site.world.steps.plan(begun + at, Fault::LoseReply);
            let told = site.run_alone(back).await;
            assert!(told.is_complete() && told.done == 2, "{back} {at}: {told}");
            let requests = site.world.steps.count() - begun;
            // A volume that is deleted later on is not created anew: that it was created is known.
            if !back && site.world.api.delete(VOLUMES, "free") {
                site.rest().await;
                site.run_alone(false).await;
                assert!(site.get(VOLUMES, "free").is_null(), "{at}");
            } else {
                site.run_alone(true).await;
                assert_eq!(site.parts(), before, "{back} {at}");
            }
            if at > requests {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_not_asked_for_each_volume() {
    let site = Site::new().await;
    for name in ["v1", "v2", "v3", "v4"] {
        site.world.api.put(volume(name));
    }
    site.rest().await;
    let silence = site.world.api.clone();
    let client = {
        let inner = site.world.client();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            // In the middle of the first volume, `data`.
            if request.uri().path().ends_with("claims/data") && request.method() == http::Method::PATCH {
                silence.outage(Outage::Refused, Duration::from_secs(3600));
            }
            let inner = inner.clone();
            async move { inner.send(request).await }
        });
        Client::new(service, "default")
    };
    let begun = tokio::time::Instant::now();
    let told = site.run(&client, false).await;
    assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());
    assert!(told.broken_off.is_some() && !told.is_complete(), "{told}");
    assert!(told.to_string().contains("PersistentVolume data: half done: cannot mark its claim"), "{told}");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(site.run_alone(false).await.is_complete());
    site.no_policy_is_left("");
}

/// kube-controller-manager is down: two volumes wait for it, and no more are begun with.
#[tokio::test(start_paused = true)]
async fn volumes_that_nobody_binds_break_the_run_off() {
    let site = Site::new().await;
    for name in ["third", "v4", "v5"] {
        let mut more = volume(name);
        more["spec"]["claimRef"] = json!({"namespace": "default", "name": name});
        site.world.api.put(more);
        site.world.api.put(claim(name, name));
    }
    site.rest().await;
    let unbound: Condition = |method, path, _| method == "GET" && path.contains("persistentvolumes/");
    let begun = tokio::time::Instant::now();
    let told = site.run(&hindered(&site, unbound, Wrong::NeverBound), false).await;
    assert!(begun.elapsed() < Duration::from_secs(300), "{:?}", begun.elapsed());
    assert!(told.broken_off.is_some() && told.half_done.len() == 2, "{told}");
    assert!(told.to_string().contains("see that kube-controller-manager runs, then run"), "{told}");
    assert!(site.run_alone(false).await.is_complete());
    site.no_policy_is_left("");
}

/// The uids of two clusters differ; their volumes and claims may have the same names.
#[tokio::test(start_paused = true)]
async fn an_undo_file_of_another_cluster_is_refused() {
    let site = Site::new().await;
    assert!(site.run_alone(false).await.is_complete());
    site.world.api.edit("namespaces", "kube-system", |namespace| {
        namespace["metadata"]["uid"] = json!("another cluster's");
    });
    site.world.api.clear_requests();
    for back in [false, true] {
        let error = site.run_with(&site.world.client(), &site.options(), back).await.unwrap_err();
        assert!(matches!(error, MigrateError::Journal(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains("it is of the cluster at ") && text.contains("another cluster's"), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }
    assert!(site.world.api.requests().iter().all(|request| !request.is_write()));
}

#[tokio::test(start_paused = true)]
async fn only_pods_of_the_claims_namespace_are_listed_for_each_volume() {
    let site = Site::new().await;
    third(&site).await;
    site.world.api.clear_requests();
    assert!(site.run_alone(false).await.is_complete());
    let requests = site.world.api.requests();
    let lists = requests.iter().filter(|request| request.verb == "list" && request.resource == "pods");
    let everywhere = lists.filter(|request| request.namespace.is_empty()).count();
    assert_eq!(everywhere, 1, "for the plan");
}

/// The process dies right before the deletion; then somebody puts a finalizer on the volume and deletes it.
#[tokio::test(start_paused = true)]
async fn finalizers_of_others_stay_on_a_deleted_volume() {
    const KEEPER: &str = "backup.example/keep";
    let site = Site::new().await;
    site.world.steps.on(|step| step.is("delete", VOLUMES), 1, Fault::CrashBefore);
    assert!(tokio::time::timeout(Duration::from_secs(60), site.run_alone(false)).await.is_err(), "it died");
    site.world.api.edit(VOLUMES, "data", |volume| {
        volume["metadata"]["finalizers"].as_array_mut().unwrap().push(json!(KEEPER));
    });
    site.world.api.delete(VOLUMES, "data");
    let client = site.world.api.client("again");
    let told = site.run(&client, false).await;
    assert_eq!(site.get(VOLUMES, "data")["metadata"]["finalizers"], json!([KEEPER]), "{told}");
    let kept =
        "PersistentVolume data: half done: it is deleted, but the finalizer backup.example/keep keeps it";
    assert!(told.to_string().contains(kept) && told.done == 1, "{told}");
    site.world.api.edit(VOLUMES, "data", |volume| volume["metadata"]["finalizers"] = json!([]));
    assert!(site.run(&client, false).await.is_complete());
    assert!(!site.get(VOLUMES, "data")["spec"]["csi"].is_null());
    site.no_policy_is_left("");
}

/// What the one command has begun and nothing is deleted of, the other one takes back: nothing has failed then.
#[tokio::test(start_paused = true)]
async fn undo_puts_back_what_was_begun_and_not_deleted() {
    for back in [false, true] {
        let site = Site::new().await;
        if back {
            assert!(site.run_alone(false).await.is_complete());
        }
        let before = site.parts();
        site.world.steps.on(|step| step.is("delete", VOLUMES), 1, Fault::CrashBefore);
        assert!(
            tokio::time::timeout(Duration::from_secs(60), site.run_alone(back)).await.is_err(),
            "it died"
        );
        assert_ne!(site.parts(), before, "the policy is held");
        let told = site.run(&site.world.api.client("again"), !back).await;
        assert!(told.is_complete() && told.done == 0, "{back}: {told}");
        assert_eq!(site.parts(), before, "{back}");
        site.no_policy_is_left("");
    }
}
