//! Which claims are looked at, and when (docs/upstream/resizer.md, "Which claims").

use std::time::Duration;

use serde_json::{Value, json};
use sim::World;
use tokio::time::sleep;

use crate::harness::{
    DRIVER, EXPANDED, FINISHED, MARKED, RESIZER, asking, bound, calls, claim, request, with, world_with,
    writes,
};

const ALL: [&str; 3] = [MARKED, "volume 2Gi", FINISHED];

#[tokio::test(start_paused = true)]
async fn what_does_not_concern_us_is_left_alone() {
    let [claim, volume] = asking("2Gi");
    let with_volume = |change: Value| [claim.clone(), with(volume.clone(), change)];
    let with_claim = |change: Value| [with(claim.clone(), change), volume.clone()];
    for (name, objects) in [
        ("nothing is requested", asking("1Gi")),
        ("less is requested", asking("512Mi")),
        ("another driver's volume", with_volume(json!({"spec": {"csi": {"driver": "other"}}}))),
        ("no claimRef", with_volume(json!({"spec": {"claimRef": null}}))),
        ("a former claim of the name", with_volume(json!({"spec": {"claimRef": {"uid": "former"}}}))),
        ("another namespace", with_volume(json!({"spec": {"claimRef": {"namespace": "other"}}}))),
        ("an in-tree volume", with_volume(json!({"spec": {"csi": null, "nfs": {}}}))),
        ("not bound yet", with_claim(json!({"status": {"phase": "Pending"}}))),
        ("lost", with_claim(json!({"status": {"phase": "Lost"}}))),
        ("no volume", with_claim(json!({"spec": {"volumeName": null}}))),
        ("another volume", with_claim(json!({"spec": {"volumeName": "other"}}))),
    ] {
        RESIZER.case(name, objects).ends_with(&[], &[]).await;
    }
    let block = with_volume(json!({"spec": {"volumeMode": "Block"}}));
    RESIZER.case("a block volume", block).ends_with(&[EXPANDED], &ALL).await;
    let forbids = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"},
        "provisioner": "driver.example", "allowVolumeExpansion": false,
    });
    let objects = asking("2Gi").into_iter().chain([forbids]);
    RESIZER.case("the class is not asked", objects).ends_with(&[EXPANDED], &ALL).await;
}

#[tokio::test(start_paused = true)]
async fn late_volume_is_noticed_at_once() {
    let [claim, volume] = asking("2Gi");
    RESIZER
        .case("the volume comes later", [claim.clone()])
        .meanwhile({
            let volume = volume.clone();
            move |world| drop(world.api.put(volume.clone()))
        })
        .ends_with(&[EXPANDED], &ALL)
        .await;
    let unclaimed = with(volume.clone(), json!({"spec": {"claimRef": null}}));
    RESIZER
        .case("it names the claim later", [claim, unclaimed])
        .meanwhile(move |world| drop(world.api.put(volume.clone())))
        .ends_with(&[EXPANDED], &ALL)
        .await;
}

/// The cache passes over claims of volumes that it does not have. Only the claim of a volume that comes later is read.
#[tokio::test(start_paused = true)]
async fn only_the_claim_of_a_late_volume_is_read() {
    let world = world_with(&["pv"]);
    let [wanted, ours] = asking("2Gi");
    for number in 0..20 {
        let [claim, volume] = bound(&format!("theirs{number}"), &format!("theirs-{number}"));
        world.api.put(claim);
        world.api.put(with(volume, json!({"spec": {"csi": {"driver": "other"}}})));
    }
    world.api.put(wanted);
    let _running = RESIZER.run(&world, |_| ());
    sleep(Duration::from_secs(60)).await;
    let read = || {
        let asked = world.api.requests().into_iter();
        asked.filter(|asked| asked.verb == "get" && asked.resource == "persistentvolumeclaims").count()
    };
    assert_eq!((read(), calls(&world).len()), (0, 0));
    world.api.put(ours);
    world.api.put(with(bound("new", "new-pv")[1].clone(), json!({"spec": {"csi": {"driver": DRIVER}}})));
    sleep(Duration::from_secs(60)).await;
    assert_eq!((read(), calls(&world)), (1, vec![EXPANDED.to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn change_of_the_request_is_noticed_at_once() {
    RESIZER
        .case("more", asking("1Gi"))
        .meanwhile(|world| request(world, "2Gi"))
        .ends_with(&[EXPANDED], &ALL)
        .await;
    RESIZER
        .case("bound later", {
            let [claim, volume] = asking("2Gi");
            [with(claim, json!({"status": {"phase": "Pending"}})), volume]
        })
        .meanwhile(|world| {
            world
                .api
                .edit("persistentvolumeclaims", "data", |claim| claim["status"]["phase"] = json!("Bound"));
        })
        .ends_with(&[EXPANDED], &ALL)
        .await;
}

/// 40 claims that are done, and one that is not.
#[tokio::test(start_paused = true)]
async fn quiet_cluster_costs_nothing() {
    let world = world_with(&["pv"]);
    for number in 0..40 {
        let [claim, volume] = bound(&format!("data{number}"), &format!("pv{number}"));
        world.api.put(claim);
        world.api.put(volume);
    }
    asking("2Gi").into_iter().for_each(|object| drop(world.api.put(object)));
    let _running = RESIZER.run(&world, |_| ());
    sleep(Duration::from_secs(3600)).await;
    assert_eq!((calls(&world).len(), writes(&world).len()), (1, 3));
    let asked =
        world.api.requests().into_iter().filter(|asked| asked.who == "sidecar" && asked.verb != "watch");
    let mut asked: Vec<String> = asked.map(|asked| format!("{} {}", asked.verb, asked.resource)).collect();
    asked.retain(|asked| !asked.contains("events") && !asked.contains("reviews"));
    assert_eq!(asked.len(), 3, "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn resync_repeats_what_failed_and_nothing_else() {
    let world = world_with(&["pv"]);
    asking("2Gi").into_iter().for_each(|object| drop(world.api.put(object)));
    let never = sim::Reply::error(tonic::Code::Internal, "no");
    world.driver.always("ControllerExpandVolume", never);
    let _running = RESIZER.run(&world, |config| {
        config.backoff.base = Duration::from_secs(7200);
        config.backoff.max = Duration::from_secs(7200);
    });
    sleep(Duration::from_secs(3601)).await;
    assert_eq!(calls(&world).len(), 1 + 6);
}

#[tokio::test(start_paused = true)]
async fn claim_made_anew_is_another_claim() {
    let world = world_with(&["pv", "pv-2"]);
    asking("2Gi").into_iter().for_each(|object| drop(world.api.put(object)));
    world.driver.always("ControllerExpandVolume", sim::Reply::error(tonic::Code::OutOfRange, "no"));
    let _running = RESIZER.run(&world, |_| ());
    sleep(Duration::from_secs(5)).await;
    world.api.edit("persistentvolumeclaims", "data", |claim| claim["metadata"]["finalizers"] = json!([]));
    world.api.delete("persistentvolumeclaims", "data");
    world.driver.be_honest();
    sleep(Duration::from_secs(5)).await;
    let uid = again(&world);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(calls(&world), ["expand id-of-pv to 2Gi OutOfRange", "expand id-of-pv-2 to 2Gi Ok"]);
    assert_eq!(
        (claim(&world)["metadata"]["uid"].clone(), claim(&world)["status"]["capacity"]["storage"].clone()),
        (uid, json!("2Gi"))
    );
}

/// The claim once more, bound to another volume.
fn again(world: &World) -> Value {
    let [claim, volume] = bound("data", "pv-2");
    let claim = with(claim, json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}}));
    let uid = world.api.put(claim)["metadata"]["uid"].clone();
    world.api.put(with(volume, json!({"spec": {"claimRef": {"uid": uid}}})));
    uid
}
