//! The next process finds a PersistentVolume of the name that the request gives its volume.

use serde_json::{Value, json};
use sim::{Fault, Reply};
use tokio::time::sleep;

use super::{SECOND, killed_in_the_call, world};
use crate::harness::{calls, claim, events, intents, remembering};

/// Volume `name`, which another claim has.
pub(super) fn volume_of_another(name: &str) -> Value {
    let mut volume = sim::objects::volume(name);
    volume["spec"]["claimRef"] = json!({"namespace": "default", "name": "other", "uid": "other"});
    volume
}

/// The name of the volume of claim `data`.
fn name(world: &sim::World) -> String {
    let claim = world.api.get("persistentvolumeclaims", "data").unwrap();
    format!("pvc-{}", claim["metadata"]["uid"].as_str().unwrap())
}

/// The cache still shows an object that somebody has removed.
#[tokio::test(start_paused = true)]
async fn object_that_only_the_cache_shows_settles_nothing() {
    let world = world();
    let _binder = world.binder();
    let _running = killed_in_the_call(&world).await;
    let name = name(&world);
    let mut volume = sim::objects::volume(&name);
    let uid = world.api.get("persistentvolumeclaims", "data").unwrap()["metadata"]["uid"].clone();
    volume["spec"]["claimRef"] = json!({"namespace": "default", "name": "data", "uid": uid});
    world.api.put(volume);
    world.api.delete("persistentvolumeclaims", "data");
    world.steps.on(|step| step.is("list", "leases"), 1, Fault::Delay(10 * SECOND));
    sleep(25 * SECOND).await;
    world.api.delay_watch(60 * SECOND);
    world.api.delete("persistentvolumes", &name);
    assert_eq!(intents(&world).len(), 1);
    sleep(600 * SECOND).await;
    assert_eq!(calls(&world), ["CreateVolume None", "CreateVolume Some(Ok)", "DeleteVolume Some(Ok)"]);
    assert_eq!((world.driver.volumes().len(), intents(&world)), (0, vec![]));
}

/// It is another claim's, and stays: at the driver, or at another one.
#[tokio::test(start_paused = true)]
async fn request_whose_name_is_taken_is_settled_and_told_once() {
    for driver in [sim::objects::DRIVER, "another"] {
        let world = world();
        let _binder = world.binder();
        let _running = killed_in_the_call(&world).await;
        let name = name(&world);
        let mut volume = volume_of_another(&name);
        volume["spec"]["csi"]["driver"] = json!(driver);
        world.api.put(volume);
        world.api.delete("persistentvolumeclaims", "data");
        let before = events(&world).len();
        sleep(3600 * SECOND).await;
        let told = events(&world).split_off(before);
        assert_eq!((told.len(), intents(&world)), (1, vec![]), "{driver}: {told:?}");
        assert!(told[0].contains(&name), "{driver}: {told:?}");
        let left = usize::from(driver == sim::objects::DRIVER);
        assert_eq!(
            (world.driver.volumes().len(), world.api.count("persistentvolumes")),
            (left, 1),
            "{driver}"
        );
        assert_eq!(calls(&world).len(), 3 - left, "{driver}: {:?}", calls(&world));
    }
}

/// Its object came before the process died: nothing is sent.
#[tokio::test(start_paused = true)]
async fn request_whose_volume_has_its_object_is_settled_unsent() {
    let world = world();
    let _binder = world.binder();
    world.driver.script("CreateVolume", [Reply::Ok]);
    world.api.put(claim("data"));
    let running = world.run(20 * SECOND, remembering);
    sleep(2 * SECOND).await;
    running.kill();
    assert_eq!(
        (world.api.count("persistentvolumes"), intents(&world).len()),
        (1, 1),
        "it is cleaned at leisure"
    );
    sleep(60 * SECOND).await;
    assert_eq!((calls(&world).len(), intents(&world)), (1, vec![]));
}
