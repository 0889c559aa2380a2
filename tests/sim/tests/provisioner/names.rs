//! Claims whose volume names are the same, because `--volume-name-uuid-length` is short.

use std::collections::BTreeMap;
use std::time::Duration;

use base::leadership::Leadership;
use provisioner::Config;
use serde_json::{Value, json};
use sim::{Fault, Reply, World};
use tokio_util::sync::CancellationToken;

use crate::harness::{LIMIT, bound, calls, class, config, events, released, sidecar_with, waiting};

async fn one_character(world: World) {
    let config = Config { uuid_length: Some(1), ..config() };
    sidecar_with(world, config, Leadership::always(), CancellationToken::new()).await;
}

fn uid(claim: &Value) -> &str {
    claim["metadata"]["uid"].as_str().unwrap()
}

/// A world with two claims whose uids begin alike, and the one volume name.
fn two_alike() -> (World, [String; 2], String) {
    let world = World::default();
    world.api.put(class());
    let mut first: BTreeMap<String, String> = BTreeMap::new();
    let pair = (0..17).find_map(|number| {
        let name = format!("data-{number}");
        let claim = world.api.put(waiting(&name));
        let other = first.insert(uid(&claim)[..1].to_owned(), name.clone())?;
        Some(([other, name], format!("pvc-{}", &uid(&claim)[..1])))
    });
    let (pair, volume) = pair.unwrap();
    for claim in world.api.list("persistentvolumeclaims") {
        let name = claim["metadata"]["name"].as_str().unwrap();
        if !pair.iter().any(|kept| kept == name) {
            world
                .api
                .edit("persistentvolumeclaims", name, |claim| claim["metadata"]["finalizers"] = json!([]));
            world.api.delete("persistentvolumeclaims", name);
        }
    }
    assert_eq!(world.api.count("persistentvolumeclaims"), 2);
    (world, pair, volume)
}

fn refused(world: &World, text: &str) {
    let said = events(world);
    let told = |event: &String| event.starts_with("ProvisioningFailed: ") && event.contains(text);
    assert!(said.iter().any(told), "{text}: {said:?}");
}

/// Every object's volume exists at the driver, and no two objects have the same.
fn nothing_is_shared(world: &World) {
    let objects = world.api.list("persistentvolumes");
    let mut handles: Vec<String> = objects
        .iter()
        .map(|volume| volume["spec"]["csi"]["volumeHandle"].as_str().unwrap().to_owned())
        .collect();
    let volumes = world.driver.volumes();
    assert!(handles.iter().all(|handle| volumes.contains_key(handle)), "{handles:?} of {volumes:?}");
    handles.dedup();
    assert_eq!(handles.len(), objects.len());
}

#[tokio::test(start_paused = true)]
async fn claims_of_one_name_get_one_volume_after_the_other() {
    for slow in [false, true] {
        let (world, pair, name) = two_alike();
        let _binder = world.binder();
        if slow {
            world.driver.script("CreateVolume", [Reply::Ok.after(Duration::from_secs(5))]);
            let late = Fault::Delay(Duration::from_secs(5));
            world.steps.on(|step| step.is("create", "persistentvolumes"), 1, late);
        }
        let _running = world.run(Duration::from_secs(1), one_character);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(calls(&world), ["CreateVolume Some(Ok)"], "{slow}");
        refused(&world, &name);
        nothing_is_shared(&world);
        let volume = world.api.get("persistentvolumes", &name).unwrap();
        let served = volume["spec"]["claimRef"]["name"].as_str().unwrap().to_owned();
        let other = pair.iter().find(|claim| **claim != served).unwrap();
        world.api.delete("persistentvolumeclaims", &served);
        bound(&world, other).await;
        nothing_is_shared(&world);
        assert_eq!(world.driver.volumes().len(), 1, "{slow}");
    }
}

#[tokio::test(start_paused = true)]
async fn name_of_another_driver_s_volume_is_not_asked_for() {
    let (world, _, name) = two_alike();
    let mut foreign = released(&name);
    foreign["spec"]["persistentVolumeReclaimPolicy"] = json!("Retain");
    foreign["metadata"]["finalizers"] = json!([]);
    foreign["spec"]["csi"]["driver"] = json!("other.example");
    foreign["metadata"]["annotations"] = json!({});
    world.api.put(foreign);
    let _running = world.run(Duration::from_secs(1), one_character);
    tokio::time::sleep(LIMIT).await;
    refused(&world, &name);
    assert_eq!(calls(&world), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn volume_that_another_object_has_is_not_given_away() {
    let (world, pair, name) = two_alike();
    world.driver.change_model(|model| {
        let volume = sim::Volume {
            id: sim::id_of(&name),
            name: name.clone(),
            capacity: 1 << 30,
            ..sim::Volume::default()
        };
        model.volumes.insert(volume.id.clone(), volume);
    });
    // An administrator keeps an old volume of that name under another object.
    let mut kept = released("kept");
    kept["spec"]["persistentVolumeReclaimPolicy"] = json!("Retain");
    kept["spec"]["csi"]["volumeHandle"] = json!(sim::id_of(&name));
    kept["metadata"]["finalizers"] = json!([]);
    world.api.put(kept);
    let _running = world.run(Duration::from_secs(1), one_character);
    tokio::time::sleep(LIMIT).await;
    refused(&world, "kept");
    nothing_is_shared(&world);
    assert_eq!((world.api.count("persistentvolumes"), world.driver.volumes().len()), (1, 1), "{pair:?}");
    assert!(calls(&world).iter().all(|call| call.starts_with("CreateVolume")), "{:?}", calls(&world));
}

#[tokio::test(start_paused = true)]
async fn volume_that_another_replica_stored_meanwhile_is_dropped() {
    let (world, pair, name) = two_alike();
    world.api.edit("persistentvolumeclaims", &pair[1], |claim| claim["metadata"]["finalizers"] = json!([]));
    world.api.delete("persistentvolumeclaims", &pair[1]);
    let late = Fault::Delay(Duration::from_secs(5));
    world.steps.on(|step| step.is("create", "persistentvolumes"), 1, late);
    let _running = world.run(Duration::from_secs(1), one_character);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut theirs = released(&name);
    theirs["status"]["phase"] = json!("Bound");
    theirs["spec"]["csi"]["volumeHandle"] = json!(sim::id_of(&name));
    world.api.put(theirs);
    tokio::time::sleep(Duration::from_secs(60)).await;
    refused(&world, &name);
    assert_eq!(calls(&world), ["CreateVolume Some(Ok)"]);
    // Their claim goes, and their volume with it.
    world.api.edit("persistentvolumes", &name, |volume| volume["status"]["phase"] = json!("Released"));
    let _binder = world.binder();
    bound(&world, &pair[0]).await;
    nothing_is_shared(&world);
}
