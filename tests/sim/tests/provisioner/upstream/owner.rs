//! The tests of upstream's package `owner`: who owns the capacity objects (`--capacity-ownerref-level`).

use serde_json::{Value, json};
use sim::World;

fn reference(kind: &str, name: &str, uid: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true})
}

/// A pod, and a ReplicaSet above it, with these owners; `None`: the object is not there. A pod's owner without a uid gets that
/// of the ReplicaSet.
fn world(pod: Option<Vec<Value>>, set: Option<Vec<Value>>) -> World {
    let world = World::default();
    let mut uid = Value::Null;
    if let Some(owners) = set {
        let set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "spec": {},
            "metadata": {"name": "rs", "namespace": "default", "ownerReferences": owners},
        });
        uid = world.api.create(set).unwrap()["metadata"]["uid"].clone();
    }
    if let Some(mut owners) = pod {
        for owner in owners.iter_mut().filter(|owner| owner["uid"] == "") {
            owner["uid"] = uid.clone();
        }
        world.api.put(json!({
            "apiVersion": "v1", "kind": "Pod", "spec": {"containers": []},
            "metadata": {"name": "pod", "namespace": "default", "ownerReferences": owners},
        }));
    }
    world
}

#[tokio::test(start_paused = true)]
async fn owner_is_found_as_many_steps_up_as_asked() {
    let set = |uid: &str| reference("ReplicaSet", "rs", uid);
    let deployment = reference("Deployment", "d", "d-uid");
    let mut plain = set("");
    plain["controller"] = json!(false);
    for (row, pod, above, level, expected) in [
        ("start object missing", None, None, 0, Err("cannot read Pod pod")),
        ("start object missing, level 1", None, None, 1, Err("cannot read Pod pod")),
        ("level 0", Some(vec![]), None, 0, Ok("Pod pod")),
        ("level 1 without controller", Some(vec![]), None, 1, Err("Pod pod has no controller")),
        (
            "level 1, owner that is no controller",
            Some(vec![plain]),
            Some(vec![]),
            1,
            Err("Pod pod has no controller"),
        ),
        ("level 1, parent missing", Some(vec![set("u")]), None, 1, Ok("ReplicaSet rs")),
        ("level 2, parent missing", Some(vec![set("u")]), None, 2, Err("cannot read ReplicaSet rs")),
        (
            "level 2, parent without controller",
            Some(vec![set("")]),
            Some(vec![]),
            2,
            Err("ReplicaSet rs has no controller"),
        ),
        (
            "level 2, parent of another uid",
            Some(vec![set("other")]),
            Some(vec![deployment.clone()]),
            2,
            Err("is another one"),
        ),
        ("level 2, grand-parent missing", Some(vec![set("")]), Some(vec![deployment]), 2, Ok("Deployment d")),
    ] {
        let world = world(pod, above);
        let found = provisioner::owner(&world.client(), "default", "pod", level).await;
        match (found, expected) {
            (Ok(owner), Ok(expected)) => {
                assert_eq!(format!("{} {}", owner.kind, owner.name), expected, "{row}");
                assert_eq!((owner.controller, owner.uid.is_empty()), (Some(true), false), "{row}");
            }
            (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{row}: {error}"),
            (found, expected) => panic!("{row}: {found:?}, not {expected:?}"),
        }
    }
}
