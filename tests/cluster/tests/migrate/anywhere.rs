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
use tokio_util::sync::CancellationToken;

use crate::site::Site;

/// At which request the process dies: before it is sent, or after it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    Before(usize),
    After(usize),
}

/// A client that falls silent for ever at its death, and the number of its requests.
fn mortal(client: &Client, death: Death) -> (Client, Arc<AtomicUsize>) {
    let (inner, count) = (client.clone(), Arc::new(AtomicUsize::new(0)));
    let counter = count.clone();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
        let inner = inner.clone();
        async move {
            if death == Death::Before(number) {
                std::future::pending::<()>().await;
            }
            let answer = inner.send(request).await;
            if death == Death::After(number) {
                std::future::pending::<()>().await;
            }
            answer
        }
    });
    (Client::new(service, "default"), count)
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
    let (client, count) = mortal(&site.stand.client, death);
    let (Death::Before(at) | Death::After(at)) = death;
    tokio::select! {
        () = run(site, &client, back) => false,
        () = dead(&count, at) => true,
    }
}

/// Comes a little after the last request of a dead process.
async fn dead(count: &AtomicUsize, at: usize) {
    while count.load(Ordering::SeqCst) < at {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut quiet = 0;
    while quiet < 100 {
        tokio::time::sleep(Duration::from_millis(2)).await;
        quiet = if count.load(Ordering::SeqCst) == at { quiet + 1 } else { 0 };
    }
}

/// Makes kube-controller-manager look at the claim now, and gives it time to write what it thinks.
async fn look_at_claim(site: &Site, value: usize) {
    let path = format!("/api/v1/namespaces/{}/persistentvolumeclaims/data", site.stand.namespace);
    let poke = json!({"metadata": {"annotations": {"look": value.to_string()}}});
    site.patch(&path, poke).await.expect("patched");
    tokio::time::sleep(Duration::from_millis(400)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_off_at_each_request_the_claim_stays_bound() {
    let site = Site::bare("anywhere").await;
    site.pair("data").await;
    let phases = site.watch_phases();
    let (mut gone, mut requests) = ([0, 0], 0);
    for back in [false, true] {
        for number in 1.. {
            let mut ended = false;
            for death in [Death::Before(number), Death::After(number)] {
                let died = dies(&site, back, death).await;
                ended |= !died;
                let volume = site.volume("data").await;
                gone[usize::from(back)] += usize::from(volume.is_null());
                look_at_claim(&site, number).await;
                assert_eq!(site.claim("data").await["status"]["phase"], "Bound", "{back} {death:?}");
                // Whatever was done: the same command takes it to its end, and the other one back to the beginning.
                for again in [back, !back] {
                    run(&site, &site.stand.client, again).await;
                    let volume = site.volume("data").await;
                    let source = if again { "cinder" } else { "csi" };
                    assert!(!volume["spec"][source].is_null(), "{back} {death:?} {again} {volume}");
                    assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Delete", "{back} {death:?}");
                    let annotations = &site.claim("data").await["metadata"]["annotations"];
                    assert!(annotations["mooring.dev/migrating"].is_null(), "{back} {death:?}");
                    site.no_policy_is_left().await;
                }
            }
            if ended {
                requests += number;
                break;
            }
        }
        if !back {
            run(&site, &site.stand.client, false).await;
        }
    }
    println!("{requests} requests; {gone:?} times the volume was not there");
    // A conflict with kube-controller-manager shifts the numbers, so not each death is at another request.
    assert!(
        gone.iter().all(|times| *times >= 1),
        "between the deletion and the creation, both ways: {gone:?}"
    );
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
