//! The same command again, and commands for one volume.

use std::time::Duration;

use kube::Client;
use kube::client::Body;
use migrate::{Options, Progress, convert, undo};
use serde_json::Value;
use sim::Fault;
use tokio_util::sync::CancellationToken;

use crate::site::{CLAIMS, MARK, Site, VOLUMES, id};

/// The options for the volume `data` only.
fn only(site: &Site, name: &str) -> Options {
    let mut options = site.options().in_use();
    options.only = Some(name.to_owned());
    options
}

/// A command that dies before it deletes `data`.
async fn dies(site: &Site, options: &Options, back: bool) {
    site.world.steps.on(|step| step.is("delete", VOLUMES), 1, Fault::CrashBefore);
    let client = site.world.client();
    let run = site.run_with(&client, options, back);
    assert!(tokio::time::timeout(Duration::from_secs(60), run).await.is_err(), "it died");
}

#[tokio::test(start_paused = true)]
async fn a_killed_command_for_one_volume_ends_it_when_run_again() {
    for back in [false, true] {
        let site = Site::new().await;
        if back {
            assert!(site.run_alone(false).await.is_complete());
        }
        let options = only(&site, "data");
        dies(&site, &options, back).await;
        let client = site.world.api.client("again");
        let told = site.run_with(&client, &options, back).await.unwrap();
        assert!(told.is_complete() && told.done == 1, "{back}: {told}");
        assert!(told.command.ends_with("--volume=data --in-use --policy-lag=0ms"), "{}", told.command);
        assert_eq!(site.get(VOLUMES, "free")["spec"]["csi"].is_null(), !back);
        site.no_policy_is_left("");
    }
}

/// What another command has begun, a command for one volume leaves alone; a volume that there is none of is told.
#[tokio::test(start_paused = true)]
async fn a_command_for_one_volume_touches_no_other() {
    for back in [false, true] {
        let site = Site::new().await;
        if back {
            assert!(site.run_alone(false).await.is_complete());
        }
        dies(&site, &only(&site, "data"), back).await;
        let begun = site.get(VOLUMES, "data");
        let client = site.world.api.client("again");
        let told = site.run_with(&client, &only(&site, "free"), back).await.unwrap();
        assert_eq!(site.get(VOLUMES, "data"), begun, "{back}: {told}");
        assert_eq!(site.get(VOLUMES, "free")["spec"]["csi"].is_null(), back, "{told}");
        assert!(told.done == 1 && told.half_done.len() == 1, "{told}");
        assert!(told.to_string().contains("half done: --volume=free leaves it"), "{told}");
        assert!(site.run(&client, back).await.is_complete());
        let error = site.run_with(&client, &only(&site, "typo"), back).await.unwrap_err();
        assert!(error.to_string().contains("typo"), "{error}");
        site.no_policy_is_left("");
    }
}

/// On another machine, under the same path: it lacks what the file has learned since.
#[tokio::test(start_paused = true)]
async fn a_copy_of_the_undo_file_that_lacks_a_run_is_refused() {
    let site = Site::new().await;
    dies(&site, &only(&site, "data"), false).await;
    let options = site.options();
    let path = options.file.clone();
    let copy = std::fs::read(&path).unwrap();
    let client = site.world.api.client("again");
    assert_eq!(site.run_with(&client, &only(&site, "free"), false).await.unwrap().done, 1);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, copy).unwrap();
    for back in [false, true] {
        site.world.api.clear_requests();
        let told = site.run_with(&client, &options, back).await.unwrap();
        let why = told.broken_off.as_deref().unwrap_or_default();
        assert!(why.contains("this undo file is a copy that lacks its last run"), "{told}");
        let writes: Vec<_> =
            site.world.api.requests().into_iter().filter(|request| request.is_write()).collect();
        assert!(writes.iter().all(|write| write.resource == "validatingadmissionpolicies"), "{writes:?}");
    }
    std::fs::write(&path, whole).unwrap();
    assert!(site.run_with(&client, &options, false).await.unwrap().is_complete());
    site.no_policy_is_left("");
}

/// A command that dies after its request `at`, and goes on with an undo file that lacks its last `lost` lines. `None`: nothing of
/// that run would be left of the file. Else: whether it died, and whether a claim stays marked.
async fn goes_on_without(back: bool, at: usize, lost: usize) -> Option<(bool, bool)> {
    let site = Site::new().await;
    if back {
        assert!(site.run_alone(false).await.is_complete());
    }
    let path = site.options().file;
    let read = || std::fs::read_to_string(&path).unwrap_or_default();
    let before = read().lines().count();
    site.world.steps.plan(site.world.steps.count() + at, Fault::CrashAfter);
    let died = tokio::time::timeout(Duration::from_secs(60), site.run_alone(back)).await.is_err();
    let whole = read();
    // The line of its first run is the least that lets it go on.
    let length = whole.lines().count().checked_sub(lost).filter(|length| *length >= (before + 1).max(2))?;
    std::fs::write(&path, whole.split_inclusive('\n').take(length).collect::<String>()).unwrap();
    let told = site.run(&site.world.api.client("again"), back).await;
    let at = format!("{back} {at} {lost}: {told}");
    let is_marked = |claim: &Value| !claim["metadata"]["annotations"][MARK].is_null();
    let marked = site.world.api.list(CLAIMS).iter().any(is_marked);
    assert_eq!(site.world.api.count("validatingadmissionpolicies"), usize::from(marked), "{at}");
    if marked {
        assert!(!told.is_complete() && told.to_string().contains("claim default/data is marked"), "{at}");
        let source = &site.get(CLAIMS, "data")["metadata"]["annotations"]["mooring.dev/volume-source"];
        assert!(source.as_str().unwrap_or_default().contains("id-of-data"), "{at}: {source}");
    } else {
        assert_eq!(id(&site.get(VOLUMES, "data")), "id-of-data", "{at}");
    }
    Some((died, marked))
}

/// Whatever the undo file lacks, and whenever the command died: no claim is Lost (`Site` looks all the while). The volume is there,
/// or the policy stays and the claim is told.
#[tokio::test(start_paused = true)]
async fn an_undo_file_that_lacks_its_last_lines_loses_no_claim() {
    let mut stay = 0;
    for back in [false, true] {
        for at in 1.. {
            let mut died = true;
            for lost in 0.. {
                let Some((is_dead, marked)) = goes_on_without(back, at, lost).await else { break };
                died = is_dead;
                stay += usize::from(marked);
            }
            if !died {
                break;
            }
        }
    }
    assert!(stay > 0);
}

#[tokio::test(start_paused = true)]
async fn undo_of_one_volume_leaves_the_others_converted() {
    let site = Site::new().await;
    assert!(site.run_alone(false).await.is_complete());
    let told = site.run_with(&site.world.client(), &only(&site, "data"), true).await.unwrap();
    assert!(told.is_complete() && told.done == 1, "{told}");
    assert!(!site.get(VOLUMES, "data")["spec"]["cinder"].is_null());
    assert!(!site.get(VOLUMES, "free")["spec"]["csi"].is_null());
    assert!(site.run_alone(true).await.is_complete());
    assert!(!site.get(VOLUMES, "free")["spec"]["cinder"].is_null());
}

/// Ctrl-C while `data` is in hand: it comes to its end, and `free` is not begun with.
#[tokio::test(start_paused = true)]
async fn a_command_that_is_stopped_ends_the_volume_in_hand() {
    for back in [false, true] {
        let site = Site::new().await;
        if back {
            assert!(site.run_alone(false).await.is_complete());
        }
        let stop = CancellationToken::new();
        let (inner, stopper) = (site.world.client(), stop.clone());
        let service = tower::service_fn(move |request: http::Request<Body>| {
            if request.method() == http::Method::PATCH {
                stopper.cancel();
            }
            let inner = inner.clone();
            async move { inner.send(request).await }
        });
        let (client, mut progress) = (Client::new(service, "default"), Progress::silent());
        let options = site.options();
        let told = match back {
            false => convert(&client, &options, &mut progress, &stop).await.unwrap(),
            true => undo(&client, &options, &mut progress, &stop).await.unwrap(),
        };
        assert!(told.stopped && told.done == 1 && told.half_done.is_empty(), "{told}");
        assert!(!told.is_complete() && told.to_string().contains("stopped before the end"), "{told}");
        for (name, is_done) in [("data", true), ("free", false)] {
            assert_eq!(site.get(VOLUMES, name)["spec"]["csi"].is_null(), is_done == back, "{name} {told}");
        }
        site.no_policy_is_left("");
        assert!(site.run_alone(back).await.is_complete());
    }
}
