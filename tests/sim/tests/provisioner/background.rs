//! Calls whose outcome nobody knows, while the class changes: what the driver may have made is found again.

use std::time::Duration;

use csi::v1::CreateVolumeRequest;
use serde_json::{Value, json};
use sim::{Reply, World};
use tonic::Code;

use crate::harness::{LIMIT, bound, calls, claim, class, events, no_volumes, sidecar};

fn with_parameters(parameters: Value) -> Value {
    let mut class = class();
    class["parameters"] = parameters;
    class
}

fn creates(world: &World) -> Vec<CreateVolumeRequest> {
    let calls = world.driver.calls_of("CreateVolume");
    calls.iter().filter_map(|call| call.request::<CreateVolumeRequest>().cloned()).collect()
}

/// A world whose driver has made a volume, though its answer never came; then the class is made anew.
async fn made_unheard(anew: Value) -> World {
    let world = World::default();
    world.api.put(class());
    world.api.put(claim("data"));
    world.driver.script("CreateVolume", [Reply::LostReply]);
    let changed = world.clone();
    tokio::spawn(async move {
        changed.api.until("the call", LIMIT, |_| (creates(&changed).len() == 1).then_some(())).await;
        changed.api.delete("storageclasses", "fast");
        changed.api.put(anew);
    });
    world
}

#[tokio::test(start_paused = true)]
async fn volume_made_unheard_is_used_though_the_class_is_another() {
    let world = made_unheard(with_parameters(json!({"type": "ssd"}))).await;
    let _binder = world.binder();
    let _running = world.run(Duration::from_secs(1), sidecar);
    bound(&world, "data").await;
    assert_eq!(world.driver.volumes().len(), 1);
    let sent = creates(&world);
    assert_eq!(sent.first(), sent.last(), "what was sent is sent again");
    world.api.delete("persistentvolumeclaims", "data");
    no_volumes(&world).await;
    assert!(world.driver.volumes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn volume_made_unheard_is_deleted_whatever_the_new_class_says() {
    for parameters in [
        json!({"type": "ssd"}),
        json!({"csi.storage.k8s.io/no-such-key": "x"}),
        json!({"csi.storage.k8s.io/secret-name": "gone", "csi.storage.k8s.io/secret-namespace": "default"}),
        json!({"csi.storage.k8s.io/secret-name": "half"}),
    ] {
        let world = made_unheard(with_parameters(parameters.clone())).await;
        let _binder = world.binder();
        let _running = world.run(Duration::from_secs(1), sidecar);
        // The call has ended, and the first attempt with the new class.
        tokio::time::sleep(Duration::from_millis(11_500)).await;
        world.api.delete("persistentvolumeclaims", "data");
        world
            .api
            .until("the driver to be empty", LIMIT, |_| world.driver.volumes().is_empty().then_some(()))
            .await;
        no_volumes(&world).await;
        let last = calls(&world).last().cloned();
        assert_eq!(last.as_deref(), Some("DeleteVolume Some(Ok)"), "{parameters}");
    }
}

#[tokio::test(start_paused = true)]
async fn refusal_of_the_new_class_is_told_and_settles_only_itself() {
    let world = made_unheard(with_parameters(json!({"type": "ssd"}))).await;
    let _binder = world.binder();
    let _running = world.run(Duration::from_secs(1), sidecar);
    bound(&world, "data").await;
    tokio::time::sleep(LIMIT).await;
    assert_eq!(
        calls(&world),
        ["CreateVolume None", "CreateVolume Some(AlreadyExists)", "CreateVolume Some(Ok)"]
    );
    let said = events(&world);
    assert!(said.iter().any(|event| event.contains("code = AlreadyExists")), "{said:?}");
}

/// Parameters that name this Secret.
fn place(name: &str) -> Value {
    json!({
        "csi.storage.k8s.io/provisioner-secret-name": name,
        "csi.storage.k8s.io/provisioner-secret-namespace": "default",
    })
}

/// Both calls have no answer, so both requests are open. Then the Secret of one of them is deleted.
#[tokio::test(start_paused = true)]
async fn request_without_its_secret_holds_up_no_other() {
    for (lost, claim_stays) in [("old", true), ("old", false), ("new", false)] {
        let world = World::default();
        world.api.put(with_parameters(place("old")));
        for name in ["old", "new"] {
            world.api.put(sim::objects::secret("default", name, json!({"token": "b25l"})));
        }
        world.api.put(claim("data"));
        world.driver.script("CreateVolume", [Reply::LostReply, Reply::error(Code::Aborted, "busy")]);
        let binder = world.binder();
        let _running = world.run(Duration::from_secs(1), sidecar);
        world.api.until("the call", LIMIT, |_| (creates(&world).len() == 1).then_some(())).await;
        world.api.delete("storageclasses", "fast");
        world.api.put(with_parameters(place("new")));
        world.api.until("the other", LIMIT, |_| (creates(&world).len() == 2).then_some(())).await;
        world.api.delete("secrets", lost);
        if claim_stays {
            bound(&world, "data").await;
            continue;
        }
        drop(binder);
        world.api.delete("persistentvolumeclaims", "data");
        tokio::time::sleep(Duration::from_secs(1800)).await;
        assert!(creates(&world).len() > 2, "{lost}: the other request is sent");
        assert!(world.driver.volumes().is_empty() || world.api.count("persistentvolumes") == 1, "{lost}");
    }
}

#[tokio::test(start_paused = true)]
async fn request_sent_again_reads_its_secret_again() {
    let secret = |token: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key", "namespace": "default"},
            "data": {"token": token},
        })
    };
    let world = World::default();
    world.api.put(with_parameters(place("key")));
    world.api.put(secret("b25l"));
    world.api.put(claim("data"));
    world.driver.script("CreateVolume", [Reply::LostReply]);
    let _binder = world.binder();
    let _running = world.run(Duration::from_secs(1), sidecar);
    world.api.until("the call", LIMIT, |_| (creates(&world).len() == 1).then_some(())).await;
    world.api.edit("secrets", "key", |object| object["data"]["token"] = json!("dHdv"));
    world.api.delete("storageclasses", "fast");
    world.api.delete("persistentvolumeclaims", "data");
    world.api.until("the second call", LIMIT, |_| (creates(&world).len() == 2).then_some(())).await;
    let tokens: Vec<String> =
        creates(&world).into_iter().map(|request| request.secrets["token"].clone()).collect();
    assert_eq!(tokens, ["one", "two"]);
    no_volumes(&world).await;
    world.api.until("the driver", LIMIT, |_| world.driver.volumes().is_empty().then_some(())).await;
}
