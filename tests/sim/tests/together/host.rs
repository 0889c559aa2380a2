//! Two sidecars in one process: one host, one set of caches, two seats.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::leadership::Leadership;
use base::metrics::Metrics;
use csi::v1::controller_service_capability::rpc::Type;
use kubernetes::object::Scope;
use process::Caches;
use serde_json::{Value, json};
use sim::{Settings, World};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::config::{attacher_config, provisioner_config};

const DRIVER: &str = "driver.example";
const SECOND: Duration = Duration::from_secs(1);

/// One life of a process with both sidecars.
async fn both(world: World, provisions: Leadership, attaches: Leadership) {
    both_with(world, [provisions, attaches], provisioner_config(DRIVER), |_| {}).await;
}

async fn both_with(
    world: World,
    [provisions, attaches]: [Leadership; 2],
    config: provisioner::Config,
    see: impl Fn(Arc<Metrics>),
) {
    let (host, delivery) = world.host(DRIVER, CancellationToken::new());
    see(host.metrics.clone());
    let keep = provisioner::KEEP.and(attacher::KEEP);
    let mut caches = Caches::new(Scope { driver: DRIVER.into(), keep, in_tree: None });
    let duties = vec![
        provisioner::provision(host.seat(provisions, "provisioner"), &mut caches, config).unwrap(),
        attacher::attach(host.seat(attaches, "attacher"), &mut caches, attacher_config(DRIVER)),
    ];
    tokio::join!(host.run_duties(caches, duties), delivery);
}

fn claim(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": name, "namespace": "default",
            "annotations": {"volume.kubernetes.io/storage-provisioner": DRIVER},
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    })
}

fn attachment(volume: &str) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"name": format!("to-{volume}")},
        "spec": {"attacher": DRIVER, "nodeName": "node1", "source": {"persistentVolumeName": volume}},
    })
}

/// A world with a class, a node, and two claims.
fn world() -> World {
    let mut settings = Settings::default();
    settings.controller.extend([Type::PublishUnpublishVolume]);
    let world = World::new(settings);
    world.api.put(json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"},
        "provisioner": DRIVER, "reclaimPolicy": "Delete",
    }));
    world.api.put(json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": {"name": "node1"},
        "spec": {"drivers": [{"name": DRIVER, "nodeID": "node1-id", "topologyKeys": []}]},
    }));
    world
}

/// The names of the volumes there are.
fn volumes(world: &World) -> Vec<String> {
    let name = |volume: &Value| volume["metadata"]["name"].as_str().unwrap().to_owned();
    world.api.list("persistentvolumes").iter().map(name).collect()
}

fn attached(world: &World) -> Vec<String> {
    let all = world.api.list("volumeattachments");
    let attached = all.iter().filter(|attachment| attachment["status"]["attached"] == true);
    attached.map(|attachment| attachment["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// How often each kind was listed and watched.
fn watches(world: &World) -> BTreeMap<String, (usize, usize)> {
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for request in world.api.requests().iter().filter(|request| request.who == "sidecar") {
        let count = counts.entry(request.resource.clone()).or_default();
        count.0 += usize::from(request.verb == "list");
        count.1 += usize::from(request.verb == "watch");
    }
    counts.retain(|_, count| *count != (0, 0));
    counts
}

#[tokio::test(start_paused = true)]
async fn two_seats_share_watches_and_obey_their_own_leadership() {
    let world = world();
    let _binder = world.binder();
    world.api.put(claim("one"));
    let (provisions, attaches) = (Leadership::candidate(), Leadership::candidate());
    let (first, second) = (provisions.clone(), attaches.clone());
    let running = world.run(3600 * SECOND, move |world| both(world, first.clone(), second.clone()));
    sleep(5 * SECOND).await;
    assert!(world.api.requests().iter().all(|request| request.who != "sidecar"), "nobody leads: no request");

    provisions.extend(Instant::now() + 600 * SECOND);
    sleep(5 * SECOND).await;
    let one = volumes(&world);
    assert_eq!(one.len(), 1, "the provisioner leads");
    world.api.put(attachment(&one[0]));
    sleep(5 * SECOND).await;
    assert!(attached(&world).is_empty(), "the attacher does not lead");

    attaches.extend(Instant::now() + 600 * SECOND);
    sleep(5 * SECOND).await;
    assert_eq!(attached(&world).len(), 1, "the attacher leads");

    provisions.end();
    world.api.put(claim("two"));
    sleep(5 * SECOND).await;
    assert_eq!(volumes(&world), one, "the provisioner leads no more");
    assert!(world.api.delete("volumeattachments", &format!("to-{}", one[0])));
    sleep(5 * SECOND).await;
    assert_eq!(world.api.count("volumeattachments"), 0, "the attacher goes on");
    let kinds =
        ["csinodes", "persistentvolumeclaims", "persistentvolumes", "storageclasses", "volumeattachments"];
    let once = kinds.iter().map(|kind| ((*kind).to_owned(), (0, 1))).collect();
    assert_eq!(watches(&world), once, "each kind is watched once, and streamed instead of listed");
    assert_eq!(running.panics(), Vec::<String>::new());
}

/// No call can be made within the provisioner's time, so each of its workers panics. The claim is tried again, and the attacher
/// goes on; once the process is another, the claim has its volume.
#[tokio::test(start_paused = true)]
async fn a_worker_that_panics_holds_up_nobody_else() {
    let world = world();
    let _binder = world.binder();
    world.api.put(claim("one"));
    let pages = Arc::<Mutex<Vec<Arc<Metrics>>>>::default();
    let seen = pages.clone();
    let running = world.run(20 * SECOND, move |world| {
        let mut config = provisioner_config(DRIVER);
        let seen = seen.clone();
        if seen.lock().unwrap().is_empty() {
            config.timeout = Duration::MAX;
        }
        let leaders = [Leadership::always(), Leadership::always()];
        both_with(world, leaders, config, move |page| seen.lock().unwrap().push(page))
    });
    let panics_told = || {
        let page = pages.lock().unwrap()[0].render();
        let counted = page.lines().filter(|line| line.starts_with("mooring_workqueue_panics_total"));
        counted.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>()
    };
    sleep(60 * SECOND).await;
    let panics = panics_told();
    assert!(panics > 2 && volumes(&world).is_empty(), "{panics}");
    assert_eq!(running.panics(), Vec::<String>::new(), "none leaves its worker");
    world.api.put(json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "made"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "persistentVolumeReclaimPolicy": "Retain",
            "csi": {"driver": DRIVER, "volumeHandle": "made"},
        },
    }));
    world.driver.change_model(|model| {
        let volume = sim::Volume { id: "made".to_owned(), name: "made".to_owned(), ..sim::Volume::default() };
        model.volumes.insert("made".to_owned(), volume);
    });
    world.api.put(attachment("made"));
    sleep(60 * SECOND).await;
    assert_eq!(attached(&world), ["to-made"], "the attacher goes on");
    assert!(panics_told() > panics, "the claim is tried again");
    running.kill();
    sleep(600 * SECOND).await;
    assert_eq!(volumes(&world).len(), 2, "the next process makes the volume");
}
