//! The role in manifests/rbac is enough, and each verb of it is used.

use std::collections::BTreeSet;
use std::time::Duration;

use base::leadership::Leadership;
use cluster::apply::documents;
use provisioner::Config;
use serde_json::{Value, json};
use sim::{ApiServer, Fault, World};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::attributes::{attributes_class, of_class};
use crate::capacity::{publishing, telling};
use crate::harness::{
    INTENTS, LIMIT, bound, calls, claim, class, logged, no_volumes, released, sidecar, sidecar_with,
    with_intents,
};
use crate::leadership::candidate_of;
use crate::sources::{able, cut, elsewhere, restoring, snapshot};
use crate::topology::{SELECTED, late, put_node, selected};

/// The rules of both roles.
fn manifest() -> Vec<Value> {
    let all = documents(include_str!("../../../../manifests/rbac/provisioner.yaml")).expect("a manifest");
    let rules = all.iter().filter_map(|document| document.get("rules")?.as_array());
    rules.flatten().cloned().collect()
}

fn words(rule: &Value, field: &str) -> Vec<String> {
    rule[field].as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
}

async fn leading(world: World) {
    let leadership = Leadership::candidate();
    let lease = kubernetes::lease::run(
        candidate_of(world.client(), "sidecar"),
        leadership.clone(),
        CancellationToken::new(),
        |_| {},
    );
    let work = async {
        leadership.acquired().await;
        provisioner::owner(&world.client(), "csi", "pod", 2).await.expect("an owner");
        // With short names the API server is asked whether one is free.
        let mut config = Config { uuid_length: Some(8), ..publishing() };
        config.can.modify = true;
        able(&mut config);
        config.cross_namespace = true;
        config.intents = with_intents().intents;
        sidecar_with(world.clone(), config, leadership.clone(), CancellationToken::new()).await;
    };
    tokio::select! {
        _ = lease => {}
        () = work => {}
    }
}

/// A life with everything in it that asks something of the API server.
async fn life(world: &World) {
    let mut with_secret = class();
    with_secret["parameters"] =
        json!({"csi.storage.k8s.io/secret-name": "key", "csi.storage.k8s.io/secret-namespace": "default"});
    world.api.put(with_secret);
    world.api.put(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key", "namespace": "default"},
        "data": {"token": "aHVzaA=="},
    }));
    world.api.put(released("attached"));
    world.api.put(json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"name": "one"},
        "spec": {"attacher": "a", "nodeName": "n", "source": {"persistentVolumeName": "attached"}},
    }));
    put_node(world, "node-1", "z1", &["zone"]);
    // An earlier process has left it empty.
    let lease = json!({"name": format!("{INTENTS}-1"), "namespace": "default"});
    world.api.put(json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": lease}));
    publish(world).await;
    world.api.put(attributes_class("gold", "driver.example"));
    world.api.put(of_class("data", "gold"));
    bound(world, "data").await;
    cut(world);
    snapshot().into_iter().for_each(|object| drop(world.api.put(object)));
    world.api.put(restoring(claim("restored")));
    bound(world, "restored").await;
    world.api.delete("persistentvolumeclaims", "restored");
    elsewhere::put_snapshot(world);
    world.api.put(elsewhere::restoring(claim("across")));
    sleep(Duration::from_secs(5)).await;
    world.api.put(elsewhere::grant("snapshot.storage.k8s.io", "VolumeSnapshot"));
    bound(world, "across").await;
    world.api.delete("persistentvolumeclaims", "across");
    world.api.put(selected("on-a-node-that-is-gone", "node-2"));
    world
        .api
        .until("another node to be asked for", LIMIT, |api| {
            let claim = api.get("persistentvolumeclaims", "on-a-node-that-is-gone")?;
            claim["metadata"]["annotations"][SELECTED].is_null().then_some(())
        })
        .await;
    world.api.delete("persistentvolumeclaims", "on-a-node-that-is-gone");
    world.steps.on(|step| step.is("create", "persistentvolumes"), 3, Fault::ApiError(422));
    world.api.put(claim("unstorable"));
    sleep(Duration::from_millis(10)).await;
    world.api.delete("persistentvolumeclaims", "unstorable");
    sleep(Duration::from_secs(60)).await;
    world.api.delete("volumeattachments", "one");
    world.api.delete("persistentvolumeclaims", "data");
    no_volumes(world).await;
    sleep(LIMIT).await;
}

/// Capacities come, change and go.
async fn publish(world: &World) {
    world.api.put(sim::objects::with(late(), json!({"metadata": {"name": "late"}})));
    // The first reply is lost: somebody may have the name.
    world.steps.on(|step| step.is("create", "csistoragecapacities"), 1, Fault::LoseReply);
    world.api.delay_watch(Duration::from_secs(10));
    sleep(Duration::from_secs(60)).await;
    world.api.delay_watch(Duration::ZERO);
    world.driver.change_model(|model| model.free = Some(1 << 40));
    sleep(Duration::from_secs(120)).await;
    world.api.delete("storageclasses", "late");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(world.api.count("csistoragecapacities"), 0);
}

type Verbs = BTreeSet<(String, String)>;

/// An object of the sidecar's namespace with this owner; an owner that is here already gets its uid.
fn put_owned(world: &World, kind: &str, name: &str, mut owner: Value) {
    let group = if kind == "Pod" { "v1" } else { "apps/v1" };
    if owner["uid"].is_null() {
        let there = world.api.create(json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "rs", "namespace": "csi"}, "spec": {},
        }));
        owner["uid"] = there.expect("a ReplicaSet")["metadata"]["uid"].clone();
    }
    let metadata = json!({"name": name, "namespace": "csi", "ownerReferences": [owner]});
    if kind == "Pod" {
        world.api.put(
            json!({"apiVersion": group, "kind": kind, "metadata": metadata, "spec": {"containers": []}}),
        );
    } else {
        world.api.edit("replicasets", &format!("csi/{name}"), |object| {
            object["metadata"]["ownerReferences"] = metadata["ownerReferences"].clone();
        });
    }
}

/// The verbs that a life with the manifest's rights takes.
async fn used(after_another: bool) -> Verbs {
    let world = telling();
    for (kind, name, owner) in [
        (
            "Pod",
            "pod",
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "controller": true}),
        ),
        (
            "ReplicaSet",
            "rs",
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "d", "controller": true}),
        ),
    ] {
        put_owned(&world, kind, name, owner);
    }
    world.api.grant_only("sidecar", ApiServer::rules(json!(manifest())).expect("rules"));
    let _binder = world.binder();
    if after_another {
        // An API server that does not stream its lists.
        world.api.refuse_streams();
        // Another replica led and died: its lease is watched.
        let other = candidate_of(world.api.client("other"), "other");
        let led = kubernetes::lease::run(other, Leadership::candidate(), CancellationToken::new(), |_| {});
        assert!(tokio::time::timeout(Duration::from_secs(1), led).await.is_err());
    }
    let _running = world.run(Duration::from_secs(1), leading);
    life(&world).await;
    assert!(world.driver.volumes().is_empty());
    let mut requests = world.api.requests();
    requests.retain(|request| request.who == "sidecar" && !request.resource.starts_with("selfsubject"));
    let refused: Vec<_> = requests.iter().filter(|request| request.status == 403).collect();
    assert!(refused.is_empty(), "{refused:?}");
    requests.into_iter().map(|request| (request.resource, request.verb)).collect()
}

#[tokio::test(start_paused = true)]
async fn role_is_enough_and_each_verb_of_it_is_used() {
    let mut used_by_some = used(false).await;
    used_by_some.extend(used(true).await);
    let mut granted = Verbs::new();
    for rule in manifest() {
        for resource in words(&rule, "resources") {
            granted.extend(words(&rule, "verbs").into_iter().map(|verb| (resource.clone(), verb)));
        }
    }
    assert_eq!(granted.difference(&used_by_some).collect::<Vec<_>>(), Vec::<&(String, String)>::new());
}

/// Without these the cache of classes never becomes complete, and no work begins.
#[test]
fn missing_permission_that_keeps_a_cache_empty_is_reported() {
    let said = logged(async {
        let world = World::default();
        let may_not = |rule: &Value| words(rule, "resources").contains(&"storageclasses".to_owned());
        let rules: Vec<Value> = manifest().into_iter().filter(|rule| !may_not(rule)).collect();
        world.api.grant_only("sidecar", ApiServer::rules(json!(rules)).expect("rules"));
        let _binder = world.binder();
        let _running = world.run(Duration::from_secs(3600), sidecar);
        world.api.put(class());
        world.api.put(claim("data"));
        sleep(Duration::from_secs(60)).await;
        assert_eq!(calls(&world), Vec::<String>::new());
    });
    let reported: Vec<&str> = said.lines().filter(|line| line.contains("permission missing")).collect();
    for verb in ["list", "watch"] {
        let rule = format!(r#"resources: [\"storageclasses\"], verbs: [\"{verb}\"]"#);
        let lines: Vec<&&str> = reported.iter().filter(|line| line.contains(&rule)).collect();
        assert_eq!(lines.len(), 1, "{verb}: {said}");
    }
}
