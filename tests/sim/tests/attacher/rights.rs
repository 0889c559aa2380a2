//! Upstream's sample role is enough, and we try nothing that needs more (docs/upstream/attacher.md,
//! "Permissions").

use std::time::Duration;

use cluster::apply::documents;
use serde_json::{Value, json};
use sim::{ApiServer, World};
use tokio::time::sleep;

use crate::harness::{calls, sidecar, world_with, writes};
use crate::objects::{
    FINALIZER, VA, attachment, csi_node, gce_pd, inline, pv, secret, va, with, with_secret_ref,
};

fn grant_the_sample_role(world: &World) {
    let manifest = documents(include_str!("../../../../manifests/rbac/attacher.yaml")).expect("a manifest");
    let rules = manifest
        .iter()
        .filter(|document| document["kind"] == "ClusterRole")
        .filter_map(|role| role.get("rules"));
    let rules: Vec<Value> = rules.filter_map(Value::as_array).flatten().cloned().collect();
    world.api.grant_only("sidecar", ApiServer::rules(json!(rules)).expect("rules"));
}

#[tokio::test(start_paused = true)]
async fn the_sample_role_is_enough() {
    let world = world_with(&["pv1", "inline"]);
    grant_the_sample_role(&world);
    let rolled_back = with(gce_pd("pv2"), json!({"metadata": {"finalizers": [FINALIZER]}}));
    let objects = [
        with_secret_ref(pv("pv1")),
        rolled_back,
        csi_node("node1"),
        va(),
        with(inline(), json!({"metadata": {"name": "va2"}})),
        attachment("va3", "nowhere", "node1"),
    ];
    objects.into_iter().for_each(|object| drop(world.api.put(object)));
    let _running = world.run(Duration::from_secs(3600), sidecar);
    // Looked for until it is there, which takes no right that reading it does not take.
    sleep(Duration::from_millis(4500)).await;
    world.api.put(secret(json!({"user": "YWRtaW4="})));
    sleep(Duration::from_secs(10)).await;
    world.api.delete("persistentvolumes", "pv1");
    for name in [VA, "va2", "va3"] {
        world.api.delete("volumeattachments", name);
    }
    sleep(Duration::from_secs(30)).await;
    assert_eq!((world.api.count("volumeattachments"), world.driver.publications().len()), (0, 0));
    assert_eq!(calls(&world).len(), 4);
    assert_eq!(writes(&world).iter().filter(|write| write.starts_with("release")).count(), 2);
    let requests = world.api.requests();
    let refused = requests.iter().filter(|request| request.who == "sidecar" && request.status == 403);
    assert_eq!(
        refused.map(|request| format!("{} {}", request.verb, request.resource)).collect::<Vec<_>>(),
        Vec::<String>::new()
    );
}
