//! What a claim waits for appears: the claim goes on at once, not at the end of its back-off.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use sim::objects::{self, DRIVER, attributes_class, with};
use sim::{ApiServer, Request, World};
use tokio::time::sleep;

use super::elsewhere::{self, across};
use super::{cloning, restoring, snapshot, stock};
use crate::attributes::of_class;
use crate::harness::{PROVISIONER, bound, calls, class, logged, waiting};

const SECOND: Duration = Duration::from_secs(1);
/// After so long the pause between two attempts is more than two minutes.
const LONG: Duration = Duration::from_secs(260);
/// Kinds that are read only because somebody waits.
const SOURCES: [&str; 6] = [
    "volumesnapshots",
    "volumesnapshotcontents",
    "referencegrants",
    "secrets",
    "volumeattributesclasses",
    "persistentvolumes",
];

/// What is there at first, the claim that waits, and what then appears.
type Row = (&'static str, Vec<Value>, Value, Value);

fn rows() -> Vec<Row> {
    let [good, content] = snapshot();
    let [source, volume] = objects::bound("source", "source-volume");
    let (restore, clone) = (restoring(waiting("data")), cloning(waiting("data")));
    let unready = with(good.clone(), json!({"status": {"readyToUse": false}}));
    let unbound = with(good.clone(), json!({"status": null}));
    let pending = with(source.clone(), json!({"spec": {"volumeName": null}, "status": {"phase": "Pending"}}));
    let block = with(restore.clone(), json!({"spec": {"volumeMode": "Block"}}));
    let files = with(content.clone(), json!({"spec": {"sourceVolumeMode": "Filesystem"}}));
    let allow = json!({"metadata": {"annotations": {"snapshot.storage.kubernetes.io/allow-volume-mode-change": "true"}}});
    let allowed = with(files.clone(), allow);
    let locked = with(
        class(),
        json!({"parameters": {"csi.storage.k8s.io/secret-name": "key", "csi.storage.k8s.io/secret-namespace": "default"}}),
    );
    let secret = objects::secret("default", "key", json!({"token": "aHVzaA=="}));
    let gold = attributes_class("gold", DRIVER);
    vec![
        ("class", vec![], waiting("data"), class()),
        ("Secret", vec![locked], waiting("data"), secret),
        ("attributes class", vec![class()], of_class("data", "gold"), gold),
        ("snapshot", vec![class(), content.clone()], restore.clone(), good.clone()),
        ("snapshot ready", vec![class(), content.clone(), unready], restore.clone(), good.clone()),
        ("snapshot bound", vec![class(), content.clone(), unbound], restore.clone(), good.clone()),
        ("content", vec![class(), good.clone()], restore, content),
        ("an administrator's word", vec![class(), good, files], block, allowed),
        ("source claim", vec![class(), volume.clone()], clone.clone(), source.clone()),
        ("source claim bound", vec![class(), volume.clone(), pending], clone.clone(), source.clone()),
        ("source volume", vec![class(), source], clone, volume),
    ]
}

fn asked(world: &World, since: usize) -> Vec<Request> {
    let mut requests = world.api.requests().split_off(since);
    requests.retain(|request| request.who == "sidecar" && SOURCES.contains(&&*request.resource));
    requests
}

/// The claim has waited long: `mend`, and it has its volume a moment later. Then nothing is asked any more.
async fn goes_on(name: &str, world: &World, mend: impl FnOnce()) {
    let _running = PROVISIONER.run(world, |config| {
        across(config);
        config.can.modify = true;
    });
    sleep(LONG).await;
    assert_eq!(calls(world), Vec::<String>::new(), "{name}");
    // Eight attempts of three requests, watches, and a poll every two seconds.
    let before = asked(world, 0).len();
    assert!(before < 24 + 12 + 260, "{name}: {before} requests while it waited");
    mend();
    // Before that, it would take a volume from a claim that is not there yet.
    let _binder = world.binder();
    sleep(5 * SECOND).await;
    assert_eq!(calls(world), ["CreateVolume Some(Ok)"], "{name}: at once");
    bound(world, "data").await;
    sleep(5 * SECOND).await;
    let since = world.api.requests().len();
    sleep(1000 * SECOND).await;
    let later = asked(world, since);
    let watched = |request: &Request| {
        request.verb == "watch" && ["volumesnapshots", "persistentvolumes"].contains(&&*request.resource)
    };
    assert!(later.iter().all(watched), "{name}: {later:?}");
}

#[tokio::test(start_paused = true)]
async fn claim_goes_on_when_what_it_lacks_appears() {
    for (name, objects, wanted, mend) in rows() {
        let world = World::default();
        world.driver.change(|settings| {
            settings.controller.push(csi::v1::controller_service_capability::rpc::Type::ModifyVolume);
        });
        stock(&world);
        objects.into_iter().chain([wanted]).for_each(|object| drop(world.api.put(object)));
        goes_on(name, &world, || drop(world.api.put(mend))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn claim_goes_on_when_a_grant_appears() {
    let world = World::default();
    elsewhere::sources(&world);
    let mut other = elsewhere::grant("", "Secret");
    other["metadata"]["name"] = json!("another");
    world.api.put(other);
    world.api.put(elsewhere::restoring(waiting("data")));
    let grant = elsewhere::grant("snapshot.storage.k8s.io", "VolumeSnapshot");
    goes_on("grant", &world, || drop(world.api.put(grant))).await;
}

/// A hundred claims that lack one Secret poll for it as one would.
#[tokio::test(start_paused = true)]
async fn many_claims_that_lack_the_same_object_ask_for_it_as_one_does() {
    let world = World::default();
    stock(&world);
    world.api.put(class());
    for number in 0..100 {
        world.api.put(restoring(waiting(&format!("data-{number}"))));
    }
    let _running = PROVISIONER.run(&world, across);
    sleep(LONG).await;
    let watches = asked(&world, 0).iter().filter(|request| request.verb == "watch").count();
    assert!(watches <= 4, "one watch of the namespace, and one of held snapshots: {watches}");
    snapshot().into_iter().for_each(|object| drop(world.api.put(object)));
    sleep(5 * SECOND).await;
    assert_eq!(calls(&world).len(), 100);
}

/// The snapshot is not ready: only it can become so, and its content need not be read.
#[tokio::test(start_paused = true)]
async fn only_what_the_error_names_is_asked_for() {
    let [good, content] = snapshot();
    let [source, volume] = objects::bound("source", "source-volume");
    let unready = with(good, json!({"status": {"readyToUse": false}}));
    let classless = with(source, json!({"spec": {"storageClassName": null}}));
    for (resource, objects, wanted) in [
        ("volumesnapshotcontents", [content, unready], restoring(waiting("data"))),
        ("persistentvolumes", [volume, classless], cloning(waiting("data"))),
    ] {
        let world = World::default();
        objects.into_iter().chain([class(), wanted]).for_each(|object| drop(world.api.put(object)));
        let _running = PROVISIONER.run(&world, across);
        sleep(LONG).await;
        let requests = asked(&world, 0);
        let read = requests.iter().filter(|one| one.resource == resource && one.verb == "get").count();
        assert!((1..12).contains(&read), "once an attempt: {read} {resource}");
    }
}

/// Something writes to the snapshot each second.
#[tokio::test(start_paused = true)]
async fn object_that_keeps_changing_does_not_wake_without_pause() {
    let [good, content] = snapshot();
    let unready = with(good, json!({"status": {"readyToUse": false}}));
    let world = World::default();
    [unready, content, class(), restoring(waiting("data"))]
        .into_iter()
        .for_each(|object| drop(world.api.put(object)));
    let _running = PROVISIONER.run(&world, across);
    for second in 0..600 {
        world.api.edit("volumesnapshots", "snap", |snapshot| {
            snapshot["metadata"]["annotations"] = json!({"example.com/seen": second.to_string()});
        });
        sleep(SECOND).await;
    }
    let read =
        asked(&world, 0).iter().filter(|one| one.resource == "volumesnapshots" && one.verb == "get").count();
    assert!(read < 40, "{read} attempts in ten minutes");
}

/// The role allows to get snapshots only, as upstream's may.
#[test]
fn watch_that_is_refused_is_told_once() {
    let log = logged(async {
        let world = World::default();
        let rules = json!([
            {"apiGroups": ["", "storage.k8s.io"], "resources": ["*"], "verbs": ["*"]},
            {"apiGroups": ["snapshot.storage.k8s.io"], "resources": ["*"], "verbs": ["get"]},
        ]);
        world.api.grant_only("sidecar", ApiServer::rules(rules).expect("rules"));
        world.api.put(class());
        world.api.put(restoring(waiting("data")));
        let _running = PROVISIONER.run(&world, across);
        sleep(LONG).await;
        world.api.delete("persistentvolumeclaims", "data");
        world.api.put(restoring(waiting("more")));
        sleep(LONG).await;
    });
    assert_eq!(log.matches("Listing failed").count(), 1, "{log}");
}

/// All requests of a process share one connection, on which the API server allows a hundred at once.
#[tokio::test(start_paused = true)]
async fn many_namespaces_that_wait_share_few_watches() {
    const NAMESPACES: usize = 120;
    let world = World::default();
    stock(&world);
    world.api.put(class());
    for number in 0..NAMESPACES {
        let mut claim =
            if number % 2 == 0 { restoring(waiting("data")) } else { elsewhere::restoring(waiting("data")) };
        claim["metadata"]["namespace"] = json!(format!("ns-{number}"));
        if number % 2 == 1 {
            claim["spec"]["dataSourceRef"]["namespace"] = json!(format!("theirs-{number}"));
        }
        world.api.put(claim);
    }
    let _running = PROVISIONER.run(&world, across);
    sleep(LONG).await;
    let requests = asked(&world, 0);
    let watched = requests.iter().filter(|one| one.verb == "watch" && !one.namespace.is_empty());
    let watched: BTreeSet<_> = watched.map(|one| (&one.resource, &one.namespace)).collect();
    assert!(watched.len() <= 16, "{} watches", watched.len());
    world.api.put(waiting("plain"));
    sleep(SECOND).await;
    assert_eq!(calls(&world).len(), 1, "an ordinary claim goes on");
    for number in 0..NAMESPACES {
        let (own, theirs) = (format!("ns-{number}"), format!("theirs-{number}"));
        let there = if number % 2 == 0 { &own } else { &theirs };
        let content = format!("content-{number}");
        let [snapshot, held] = snapshot();
        let status = json!({"boundVolumeSnapshotContentName": content});
        let snapshot =
            world.api.put(with(snapshot, json!({"metadata": {"namespace": there}, "status": status})));
        let reference = json!({"namespace": there, "uid": snapshot["metadata"]["uid"]});
        world.api.put(with(
            held,
            json!({"metadata": {"name": content}, "spec": {"volumeSnapshotRef": reference}}),
        ));
        if number % 2 == 1 {
            let mut grant = elsewhere::grant("snapshot.storage.k8s.io", "VolumeSnapshot");
            grant["metadata"]["namespace"] = json!(theirs);
            grant["spec"]["from"][0]["namespace"] = json!(own);
            world.api.put(grant);
        }
    }
    // Of a hundred that are polled, each is asked for every 20 seconds.
    sleep(30 * SECOND).await;
    assert_eq!(world.api.count("persistentvolumes"), 1 + NAMESPACES);
}
