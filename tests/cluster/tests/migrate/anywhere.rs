//! The command is broken off before and after each of its requests, on a real control plane.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolume;
use kube::Client;
use kube::api::{Api, DeleteParams};
use kube::client::Body;
use migrate::{Options, Progress, convert, undo};
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::site::Site;

/// At which request the process dies: before it is sent, or after it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    Before(usize),
    After(usize),
    /// The volume is deleted, and not yet there again.
    BeforeCreation,
}

/// A client that falls silent for ever at its death, and tells of it.
fn mortal(client: &Client, death: Death) -> (Client, Arc<Notify>) {
    let (inner, died, counter) = (client.clone(), Arc::new(Notify::new()), AtomicUsize::new(0));
    let dies = died.clone();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
        let creates = request.method() == http::Method::POST
            && request.uri().path() == "/api/v1/persistentvolumes"
            && request.uri().query().is_none();
        let (inner, dies) = (inner.clone(), dies.clone());
        async move {
            let die = async || {
                dies.notify_one();
                std::future::pending::<()>().await;
            };
            if death == Death::Before(number) || (death == Death::BeforeCreation && creates) {
                die().await;
            }
            let answer = inner.send(request).await;
            if death == Death::After(number) {
                die().await;
            }
            answer
        }
    });
    (Client::new(service, "default"), died)
}

/// The command, or the one that undoes it, to its end.
async fn run(site: &Site, client: &Client, back: bool) {
    let options = Options::with_file(site.file());
    let (mut progress, stop) = (Progress::silent(), CancellationToken::new());
    let ended = match back {
        false => convert(client, &options, &mut progress, &stop).await,
        true => undo(client, &options, &mut progress, &stop).await,
    };
    assert!(ended.expect("nothing is refused").is_complete());
}

/// One run of the command that dies; `false`: it came to its end first.
async fn dies(site: &Site, back: bool, death: Death) -> bool {
    let (client, died) = mortal(&site.stand.client, death);
    tokio::select! {
        () = run(site, &client, back) => false,
        () = died.notified() => true,
    }
}

/// Makes kube-controller-manager look at the claim now, and gives it time to write what it thinks.
async fn look_at_claim(site: &Site, value: usize) {
    let path = format!("/api/v1/namespaces/{}/persistentvolumeclaims/data", site.stand.namespace);
    let poke = json!({"metadata": {"annotations": {"look": value.to_string()}}});
    site.patch(&path, poke).await.expect("patched");
    tokio::time::sleep(Duration::from_millis(400)).await;
}

/// A death of the command, and what must hold then and after it. `false`: it came to its end first. And whether the volume was
/// away.
async fn die(site: &Site, back: bool, death: Death, number: usize) -> (bool, bool) {
    let died = dies(site, back, death).await;
    let is_away = site.volume("data").await.is_null();
    look_at_claim(site, number).await;
    assert_eq!(site.claim("data").await["status"]["phase"], "Bound", "{back} {death:?}");
    // Whatever was done: the same command takes it to its end, and the other one back to the beginning.
    for again in [back, !back] {
        run(site, &site.stand.client, again).await;
        let volume = site.volume("data").await;
        let source = if again { "cinder" } else { "csi" };
        assert!(!volume["spec"][source].is_null(), "{back} {death:?} {again} {volume}");
        assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Delete", "{back} {death:?}");
        assert!(volume["metadata"]["annotations"]["mooring.dev/policy-before"].is_null(), "{back} {death:?}");
        let annotations = &site.claim("data").await["metadata"]["annotations"];
        assert!(annotations["mooring.dev/migrating"].is_null(), "{back} {death:?}");
        site.no_policy_is_left().await;
    }
    (died, is_away)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_off_at_each_request_the_claim_stays_bound() {
    let site = Site::bare("anywhere").await;
    site.pair("data").await;
    let phases = site.watch_phases();
    for back in [false, true] {
        assert_eq!(die(&site, back, Death::BeforeCreation, 0).await, (true, true), "{back}");
        for number in 1.. {
            let (before, _) = die(&site, back, Death::Before(number), number).await;
            let (after, _) = die(&site, back, Death::After(number), number).await;
            if !before || !after {
                println!("{number} requests");
                break;
            }
        }
        if !back {
            run(&site, &site.stand.client, false).await;
        }
    }
    phases.only_bound().await;
    assert!(!site.claim_events().await.contains(&"ClaimLost".to_owned()));
}

/// What the policy is for. A claim comes back from Lost, but everybody was told that its data are lost, and it has forgotten
/// what it had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_policy_the_claim_would_be_lost_meanwhile() {
    let site = Site::bare("lost").await;
    site.pair("data").await;
    let volumes: Api<PersistentVolume> = Api::all(site.stand.client.clone());
    let mut volume = volumes.get("data").await.expect("there");
    volumes.delete("data", &DeleteParams::default()).await.expect("deleted");
    site.patch("/api/v1/persistentvolumes/data", json!({"metadata": {"finalizers": null}}))
        .await
        .expect("freed");
    let lost = async || (site.claim("data").await["status"]["phase"] == "Lost").then_some(());
    site.until("the claim to be lost", lost).await;
    assert!(site.claim("data").await["status"]["capacity"].is_null());
    volume.metadata.resource_version = None;
    volume.metadata.uid = None;
    volumes.create(&kube::api::PostParams::default(), &volume).await.expect("created");
    let bound = async || (site.claim("data").await["status"]["phase"] == "Bound").then_some(());
    site.until("the claim to be bound again", bound).await;
    let told = async || site.claim_events().await.contains(&"ClaimLost".to_owned()).then_some(());
    site.until("the event", told).await;
}
