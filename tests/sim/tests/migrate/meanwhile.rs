//! `mooring migrate` while users work on: before each request that it sends, a user does something. Whatever that is, no volume
//! is lost, nothing of the user's is undone, claims stay Bound, and the undoing puts back what was the conversion's, no more.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use sim::ApiServer;
use tokio::sync::Notify;

use crate::site::{CLAIMS, MARK, RETAINED, Site, VOLUMES, claim, id};

const KEEPER: &str = "backup.example/keep";

/// What a user does: to the bound volume `data` and its claim, or to `free`, which has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    DeleteClaim,
    DeleteVolume,
    DeleteFree,
    Retain,
    AddFinalizer,
    Bind,
    StartPod,
    Label,
}

const ACTIONS: [Action; 8] = [
    Action::DeleteClaim,
    Action::DeleteVolume,
    Action::DeleteFree,
    Action::Retain,
    Action::AddFinalizer,
    Action::Bind,
    Action::StartPod,
    Action::Label,
];

impl Action {
    /// Does it. `false`: there was nothing to be done.
    fn act(self, api: &ApiServer) -> bool {
        let change = |plural: &str, name: &str, change: fn(&mut Value)| {
            let before = api.get(plural, name);
            let is_going = |object: &Value| !object["metadata"]["deletionTimestamp"].is_null();
            before.as_ref().is_some_and(|before| !is_going(before))
                && api.edit_if_there(plural, name, change) != before
        };
        let delete = |plural: &str, name: &str| {
            let there = api.get(plural, name);
            there.is_some_and(|object| object["metadata"]["deletionTimestamp"].is_null())
                && api.delete(plural, name)
        };
        match self {
            Action::DeleteClaim => delete(CLAIMS, "data"),
            Action::DeleteVolume => delete(VOLUMES, "data"),
            Action::DeleteFree => delete(VOLUMES, "free"),
            Action::Retain => change(VOLUMES, "data", |volume| {
                volume["spec"]["persistentVolumeReclaimPolicy"] = json!("Retain");
            }),
            Action::AddFinalizer => change(VOLUMES, "data", |volume| {
                volume["metadata"]["finalizers"].as_array_mut().unwrap().push(json!(KEEPER));
            }),
            // Also while it is being deleted.
            Action::Label => api
                .edit_if_there(VOLUMES, "data", |volume| {
                    volume["metadata"]["labels"] = json!({"mine": "yes"})
                })
                .is_some(),
            Action::Bind => {
                let claim = api.put(claim("late", "free"));
                // The first write of a binding.
                api.edit_if_there(VOLUMES, "free", |volume| {
                    let uid = &claim["metadata"]["uid"];
                    volume["spec"]["claimRef"] = json!({"namespace": "default", "name": "late", "uid": uid});
                })
                .is_some()
            }
            Action::StartPod => {
                api.put(json!({
                    "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default"},
                    "spec": {
                        "containers": [{"name": "main", "image": "i"}],
                        "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}],
                    },
                }));
                true
            }
        }
    }

    /// What a user does later so that the volume can be gone on with.
    fn make_way(self, api: &ApiServer) {
        if self == Action::AddFinalizer {
            api.edit_if_there(VOLUMES, "data", |volume| {
                volume["metadata"]["finalizers"].as_array_mut().unwrap().retain(|one| one != KEEPER);
            });
        }
        if self == Action::StartPod {
            api.delete("pods", "web");
        }
    }
}

/// A client before whose request of this number the user acts. Also: how many requests were sent, and whether the user could.
fn disturbed(site: &Site, at: usize, action: Action) -> (Client, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (inner, api) = (site.world.client(), site.world.api.clone());
    let (count, acted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counter, did) = (count.clone(), acted.clone());
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let inner = inner.clone();
        if counter.fetch_add(1, Ordering::SeqCst) + 1 == at && action.act(&api) {
            did.store(1, Ordering::SeqCst);
        }
        async move { inner.send(request).await }
    });
    (Client::new(service, "default"), count, acted)
}

/// What must hold once the command has come to its end, and the user has acted or not.
fn check(site: &Site, action: Action, acted: bool, told: &str) {
    check_but(site, action, acted, None, told);
}

/// The same; of the volume `open` nobody can tell who deleted it, so it may be there again.
fn check_but(site: &Site, action: Action, acted: bool, open: Option<&str>, told: &str) {
    for name in ["data", "free"] {
        let volume = site.get(VOLUMES, name);
        let is_going = !volume["metadata"]["deletionTimestamp"].is_null();
        let theirs = [("data", Action::DeleteVolume), ("free", Action::DeleteFree)].contains(&(name, action));
        if acted && theirs {
            let is_open = open == Some(name) && id(&volume) == format!("id-of-{name}");
            assert!(volume.is_null() || is_going || is_open, "{told}: a deletion was undone: {volume}");
        } else {
            assert_eq!(id(&volume), format!("id-of-{name}"), "{told}: {volume}");
            assert!(!is_going, "{told}: {volume}");
        }
        assert!(volume["metadata"]["annotations"][RETAINED].is_null(), "{told}: {volume}");
        let policy = &volume["spec"]["persistentVolumeReclaimPolicy"];
        let expected = match (name, action) {
            ("data", Action::Retain) if acted => &["Retain"][..],
            // Not known what is meant: the volume is kept.
            ("data", Action::DeleteClaim) if acted => &["Delete", "Retain"],
            _ => &["Delete"],
        };
        assert!(volume.is_null() || expected.iter().any(|one| policy == one), "{told}: {volume}");
        if acted && (name, action) == ("data", Action::Label) {
            assert_eq!(volume["metadata"]["labels"]["mine"], "yes", "{told}");
        }
    }
    for claim in site.world.api.list(CLAIMS) {
        assert!(claim["metadata"]["annotations"][MARK].is_null(), "{told}: {claim}");
        let is_late = claim["metadata"]["name"] == "late";
        assert!(claim["status"]["phase"] == "Bound" || (is_late && !acted), "{told}: {claim}");
    }
    site.no_policy_is_left(told);
}

/// One run that the user disturbs, and all that comes after it. Gives the number of its requests, and whether the user could act.
async fn disturb(back: bool, at: usize, action: Action) -> (usize, bool) {
    let site = Site::new().await;
    let before = site.parts();
    if back {
        assert!(site.run_alone(false).await.is_complete());
    }
    let (client, count, acted) = disturbed(&site, at, action);
    let first = site.run(&client, back).await;
    let acted = acted.load(Ordering::SeqCst) == 1;
    let told = format!("undo {back}, request {at}, {action:?} {acted}: {first}");
    if action == Action::AddFinalizer && acted {
        let kept = &site.get(VOLUMES, "data")["metadata"]["finalizers"];
        assert!(kept.as_array().unwrap().contains(&json!(KEEPER)), "{told}: {kept}");
    }
    if first.half_done.is_empty() {
        check(&site, action, acted, &told);
    } else {
        assert!(
            !first.is_complete() && first.to_string().contains("To finish it: mooring migrate --undo"),
            "{told}"
        );
    }
    action.make_way(&site.world.api);
    let second = site.run_alone(back).await;
    assert!(second.half_done.is_empty(), "{told}: {second}");
    check(&site, action, acted, &format!("{told}, again: {second}"));
    let last = site.run_alone(true).await;
    let told = format!("{told}, undone: {last}");
    check(&site, action, acted, &told);
    // Without the user's hand in it, everything is what it was.
    if !acted || matches!(action, Action::AddFinalizer | Action::StartPod) {
        let mut now = site.parts();
        now[1].as_array_mut().unwrap().retain(|claim| claim[0] != "late");
        assert_eq!(now, before, "{told}");
    }
    (count.load(Ordering::SeqCst), acted)
}

async fn at_every_request(back: bool) {
    for action in ACTIONS {
        let mut acted = 0;
        for at in 1.. {
            let (requests, did) = disturb(back, at, action).await;
            acted += usize::from(did);
            if at > requests {
                break;
            }
        }
        assert!(acted > 10, "{action:?} {acted}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_users_do_during_a_conversion_is_respected() {
    at_every_request(false).await;
}

#[tokio::test(start_paused = true)]
async fn what_users_do_during_its_undoing_is_respected() {
    at_every_request(true).await;
}

/// At which request the process dies: before it is sent, or before its answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    Before(usize),
    After(usize),
}

/// A client whose process dies at a request. Also: says so, with the request's method and path, and the last request's number.
fn mortal(site: &Site, death: Death) -> (Client, Arc<Mutex<String>>, Arc<Notify>) {
    let (inner, died, last) =
        (site.world.client(), Arc::new(Notify::new()), Arc::new(Mutex::new(String::new())));
    let (dies, deadly, count) = (died.clone(), last.clone(), AtomicUsize::new(0));
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        let (inner, dies, deadly) = (inner.clone(), dies.clone(), deadly.clone());
        async move {
            let (head, body) = request.into_parts();
            let bytes = body.collect_bytes().await.unwrap();
            let name = serde_json::from_slice(&bytes)
                .map_or(Value::Null, |body: Value| body["metadata"]["name"].clone());
            let what = format!("{} {} {}", head.method, head.uri, name.as_str().unwrap_or_default());
            let die = async || {
                deadly.lock().unwrap().clone_from(&what);
                dies.notify_one();
                std::future::pending::<()>().await;
            };
            if death == Death::Before(number) {
                die().await;
            }
            let answer = inner.send(http::Request::from_parts(head, Body::from(bytes))).await;
            if death == Death::After(number) {
                die().await;
            }
            answer
        }
    });
    (Client::new(service, "default"), last, died)
}

/// The volume of which nobody can tell who has deleted it when a user does so after this death: between the line that says it and
/// the deletion, and between the creation and the line that says that.
fn open_question(death: Death, last: &str) -> Option<&'static str> {
    ["data", "free"].into_iter().find(|name| match death {
        Death::Before(_) => last == format!("DELETE /api/v1/{VOLUMES}/{name} "),
        Death::After(_) => last == format!("POST /api/v1/{VOLUMES} {name}"),
    })
}

/// A run that dies, a user who acts then, and all that comes after it. `false`: it came to its end before.
async fn die(back: bool, death: Death, action: Action) -> bool {
    let site = Site::new().await;
    let before = site.parts();
    if back {
        assert!(site.run_alone(false).await.is_complete());
    }
    let (client, last, died) = mortal(&site, death);
    let died = tokio::select! {
        _ = site.run(&client, back) => false,
        () = died.notified() => true,
    };
    let open = open_question(death, &last.lock().unwrap());
    site.rest().await;
    let acted = action.act(&site.world.api);
    site.rest().await;
    let told = format!("undo {back}, {death:?}, {action:?} {acted}");
    let first = site.run_alone(back).await;
    assert!(first.half_done.is_empty(), "{told}: {first}");
    check_but(&site, action, acted, open, &format!("{told}: {first}"));
    action.make_way(&site.world.api);
    let second = site.run_alone(back).await;
    check_but(&site, action, acted, open, &format!("{told}: {first}, again: {second}"));
    let last = site.run_alone(true).await;
    let told = format!("{told}, undone: {last}");
    check_but(&site, action, acted, open, &told);
    if !acted || matches!(action, Action::AddFinalizer | Action::StartPod) {
        let mut now = site.parts();
        now[1].as_array_mut().unwrap().retain(|claim| claim[0] != "late");
        assert_eq!(now, before, "{told}");
    }
    died
}

#[tokio::test(start_paused = true)]
async fn what_users_do_after_a_crash_is_respected() {
    use Action::{Bind, DeleteClaim, DeleteFree, DeleteVolume, Retain};
    for back in [false, true] {
        for action in [DeleteClaim, DeleteVolume, DeleteFree, Retain, Bind] {
            for at in 1.. {
                let before = die(back, Death::Before(at), action).await;
                let after = die(back, Death::After(at), action).await;
                if !before && !after {
                    break;
                }
            }
        }
    }
}

/// The claim goes after a crash, and then the other command comes: its first step ends what was begun, its second turns it round.
#[tokio::test(start_paused = true)]
async fn a_volume_that_goes_both_ways_is_counted_once() {
    for back in [false, true] {
        for at in 1.. {
            let site = Site::new().await;
            if back {
                assert!(site.run_alone(false).await.is_complete());
            }
            let free = site.get(VOLUMES, "free");
            let (client, _, died) = mortal(&site, Death::After(at));
            let died = tokio::select! {
                _ = site.run(&client, back) => false,
                () = died.notified() => true,
            };
            site.rest().await;
            Action::DeleteClaim.act(&site.world.api);
            site.rest().await;
            let is_alone = site.get(VOLUMES, "free") == free;
            if !site.options().file.exists() {
                continue;
            }
            let told = site.run_alone(!back).await;
            assert!(told.done <= if is_alone { 1 } else { 2 }, "{back} {at}: {told}");
            if !died {
                break;
            }
        }
    }
}
