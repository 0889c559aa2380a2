//! Our role is enough, and we try nothing that needs more (docs/upstream/resizer.md, "Permissions").

use std::collections::BTreeSet;
use std::time::Duration;

use cluster::apply::documents;
use serde_json::{Value, json};
use sim::objects::{attributes_class, pod, secret};
use sim::{ApiServer, Reply, Request};
use tokio::time::sleep;
use tonic::Code;

use crate::harness::{DRIVER, RESIZER, asking, claim, give, with, world_with};

/// The rules of the ClusterRole.
fn rules() -> Vec<Value> {
    let manifest = documents(include_str!("../../../../manifests/rbac/resizer.yaml")).expect("a manifest");
    let roles = manifest.iter().filter(|document| document["kind"] == "ClusterRole");
    roles.filter_map(|role| role["rules"].as_array()).flatten().cloned().collect()
}

/// The resource of a request as rules name it.
fn path(request: &Request) -> String {
    [request.resource.as_str(), &request.subresource].join("/").trim_end_matches('/').to_owned()
}

/// What the rules grant: resource and verb.
fn granted() -> BTreeSet<(String, String)> {
    let words = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut granted = BTreeSet::new();
    for rule in rules() {
        for resource in words(&rule["resources"]) {
            granted.extend(words(&rule["verbs"]).into_iter().map(|verb| (resource.clone(), verb)));
        }
    }
    granted
}

/// A claim that grows, is modified, needs a secret and waits for a pod; then an in-tree volume that the cache does not know.
#[tokio::test(start_paused = true)]
async fn role_is_enough_and_each_verb_of_it_is_used() {
    let world = world_with(&["pv"]);
    give(&world, &["pv"]);
    world.api.grant_only("sidecar", ApiServer::rules(json!(rules())).expect("rules"));
    // Lists are read in pages, which takes the verb `list`.
    world.api.refuse_streams();
    let [one, volume] = asking("2Gi");
    let place =
        json!({"spec": {"csi": {"controllerExpandSecretRef": {"namespace": "secrets", "name": "expand"}}}});
    let names = json!({"spec": {"volumeAttributesClassName": "gold"}});
    let gold = attributes_class("gold", DRIVER);
    let key = secret("secrets", "expand", json!({"user": "YWRtaW4="}));
    // Its volume comes later: the claim is read then.
    for object in [with(one, names), gold, key, pod("user", "data")] {
        world.api.put(object);
    }
    world.driver.always("ControllerExpandVolume", Reply::error(Code::FailedPrecondition, "in use"));
    let running = RESIZER.run(&world, |config| config.backoff.base = Duration::from_secs(1));
    sleep(Duration::from_secs(1)).await;
    world.api.put(with(volume, place));
    sleep(Duration::from_secs(10)).await;
    world.driver.be_honest();
    world.api.delete("pods", "user");
    // A second event with the same words counts up the first.
    sleep(Duration::from_secs(5)).await;
    let status = claim(&world)["status"].clone();
    assert_eq!(
        (&status["capacity"]["storage"], &status["currentVolumeAttributesClassName"]),
        (&json!("2Gi"), &json!("gold"))
    );
    running.stop();
    world.driver.always("ControllerExpandVolume", Reply::error(Code::Internal, "no"));
    let [two, in_tree] = sim::objects::bound("in-tree", "pd");
    let resizer = json!({"metadata": {"annotations": {"volume.kubernetes.io/storage-resizer": "pd.csi.storage.gke.io"}},
        "spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    world.api.put(with(two, resizer));
    world.api.put(with(in_tree, json!({"spec": {"csi": null, "gcePersistentDisk": {"pdName": "disk"}}})));
    let _running = RESIZER.run(&world, |config| config.driver = "pd.csi.storage.gke.io".into());
    sleep(Duration::from_secs(60)).await;
    let requests = world.api.requests();
    let ours = || requests.iter().filter(|request| request.who == "sidecar");
    let refused = ours().filter(|request| request.status == 403);
    assert_eq!(
        refused.map(|request| format!("{} {}", request.verb, path(request))).collect::<Vec<_>>(),
        Vec::<String>::new()
    );
    let used: BTreeSet<(String, String)> =
        ours().map(|request| (path(request), request.verb.clone())).collect();
    assert_eq!(granted().difference(&used).collect::<Vec<_>>(), Vec::<&(String, String)>::new());
}
