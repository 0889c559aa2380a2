//! Upstream's sample role is enough, and we try nothing that needs more (docs/upstream/attacher.md,
//! "Permissions").

use std::collections::BTreeSet;
use std::time::Duration;

use cluster::apply::documents;
use serde_json::{Value, json};
use sim::{ApiServer, Reply, Request};
use tokio::time::sleep;

use crate::forced::force_away;
use crate::harness::{calls, sidecar, world_with, writes};
use crate::objects::{
    FINALIZER, VA, attachment, csi_node, gce_pd, inline, pv, secret, va, with, with_secret_ref,
};

/// The rules of the ClusterRole.
fn rules() -> Vec<Value> {
    let manifest = documents(include_str!("../../../../manifests/rbac/attacher.yaml")).expect("a manifest");
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
    let pairs = |rule: &Value| -> Vec<(String, String)> {
        let (resources, verbs) = (words(&rule["resources"]), words(&rule["verbs"]));
        let of = |resource: String| {
            verbs.iter().map(move |verb| (resource.clone(), verb.clone())).collect::<Vec<_>>()
        };
        resources.into_iter().flat_map(of).collect()
    };
    rules().iter().flat_map(pairs).collect()
}

#[tokio::test(start_paused = true)]
async fn role_is_enough_and_each_verb_of_it_is_used() {
    let world = world_with(&["pv1", "pv4", "inline"]);
    world.api.grant_only("sidecar", ApiServer::rules(json!(rules())).expect("rules"));
    // Lists are read in pages, which takes the verb `list`.
    world.api.refuse_streams();
    let rolled_back = with(gce_pd("pv2"), json!({"metadata": {"finalizers": [FINALIZER]}}));
    let objects = [
        with_secret_ref(pv("pv1")),
        rolled_back,
        csi_node("node1"),
        va(),
        with(inline(), json!({"metadata": {"name": "va2"}})),
        attachment("va3", "nowhere", "node1"),
        pv("pv4"),
        attachment("va4", "pv4", "node1"),
    ];
    world.driver.script_for(
        "ControllerPublishVolume",
        &sim::id_of("pv4"),
        [Reply::Ok.after(Duration::from_secs(3))],
    );
    objects.into_iter().for_each(|object| drop(world.api.put(object)));
    let _running = world.run(Duration::from_secs(3600), sidecar);
    // It is published then, so that a withdrawal follows.
    sleep(Duration::from_secs(1)).await;
    force_away(&world, "va4");
    // The Secret is looked for until it is there, which takes no right that reading it does not take.
    sleep(Duration::from_millis(4500)).await;
    world.api.put(secret(json!({"user": "YWRtaW4="})));
    sleep(Duration::from_secs(10)).await;
    world.api.delete("persistentvolumes", "pv1");
    for name in [VA, "va2", "va3"] {
        world.api.delete("volumeattachments", name);
    }
    sleep(Duration::from_secs(30)).await;
    assert_eq!((world.api.count("volumeattachments"), world.driver.publications().len()), (0, 0));
    assert_eq!(calls(&world).len(), 6);
    assert_eq!(writes(&world).iter().filter(|write| write.starts_with("release")).count(), 2);
    let requests = world.api.requests();
    let refused = requests.iter().filter(|request| request.who == "sidecar" && request.status == 403);
    assert_eq!(
        refused.map(|request| format!("{} {}", request.verb, request.resource)).collect::<Vec<_>>(),
        Vec::<String>::new()
    );
    let asked = requests.iter().filter(|request| request.who == "sidecar");
    let used: BTreeSet<(String, String)> =
        asked.map(|request| (path(request), request.verb.clone())).collect();
    assert_eq!(granted().difference(&used).collect::<Vec<_>>(), Vec::<&(String, String)>::new());
}
