//! A snapshot is held while a volume is made from it, and no longer.

use std::time::Duration;

use base::leadership::Leadership;
use provisioner::Config;
use serde_json::{Value, json};
use sim::objects::{class, with};
use sim::{ApiServer, Reply, World};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{able, from_snapshot, restoring, sent, snapshot, stock};
use crate::harness::{
    PROVISIONER, bound, calls, claim, events, logged, sidecar_with, waiting, with_intents, writes,
};

pub(crate) const HOLD: &str = "provisioner.storage.kubernetes.io/volumesnapshot-as-source-protection";
const SECOND: Duration = Duration::from_secs(1);

/// Whether the snapshot is there, and held by us.
pub(crate) fn is_held(world: &World) -> bool {
    let snapshot = world.api.get("volumesnapshots", "default/snap");
    snapshot.is_some_and(|snapshot| {
        snapshot["metadata"]["finalizers"].as_array().is_some_and(|all| all.iter().any(|one| one == HOLD))
    })
}

/// A world with a snapshot to restore, and a driver that takes five seconds for the first volume.
fn world() -> World {
    let world = World::default();
    world.api.put(class());
    snapshot().into_iter().for_each(|object| drop(world.api.put(object)));
    stock(&world);
    world.driver.script("CreateVolume", [Reply::Ok.after(5 * SECOND)]);
    world
}

fn left_by_another(snapshot: &Value) -> Value {
    with(snapshot.clone(), json!({"metadata": {"finalizers": ["example.com/other", HOLD]}}))
}

#[tokio::test(start_paused = true)]
async fn deleted_snapshot_stays_until_its_volume_is_made() {
    for gives_up in [false, true] {
        let world = world();
        let _binder = world.binder();
        let _running = PROVISIONER.run(&world, |config| {
            *config = with_intents();
            able(config);
        });
        world.api.put(restoring(claim("data")));
        sleep(SECOND).await;
        assert!(is_held(&world), "{gives_up}");
        world.api.delete("volumesnapshots", "default/snap");
        if gives_up {
            world.api.delete("persistentvolumeclaims", "data");
        }
        sleep(3 * SECOND).await;
        assert!(is_held(&world), "{gives_up}: the call runs");
        sleep(60 * SECOND).await;
        assert_eq!(world.api.count("volumesnapshots"), 0, "{gives_up}");
        assert_eq!(sent(&world), [Some(from_snapshot())], "{gives_up}");
        assert_eq!(world.driver.volumes().len(), 2 - usize::from(gives_up), "{gives_up}: and the source");
    }
}

#[tokio::test(start_paused = true)]
async fn snapshot_is_held_until_the_last_of_its_volumes_is_made() {
    let world = world();
    world.driver.script("CreateVolume", [Reply::Ok.after(9 * SECOND)]);
    let _binder = world.binder();
    let _running = PROVISIONER.run(&world, able);
    world.api.put(restoring(claim("data")));
    sleep(SECOND).await;
    world.api.put(restoring(claim("more")));
    bound(&world, "data").await;
    sleep(2 * SECOND).await;
    assert!(is_held(&world), "the other is being made");
    bound(&world, "more").await;
    sleep(SECOND).await;
    assert!(!is_held(&world));
    let of_snapshots: Vec<_> =
        writes(&world).into_iter().filter(|write| write.contains("volumesnapshots")).collect();
    assert_eq!(of_snapshots.len(), 2, "{of_snapshots:?}");
}

/// A snapshot that bears the finalizer: what else there is, whether it is deleted, how we run, what is written.
type Left<'a> = (&'static str, Vec<Value>, bool, &'a dyn Fn(&mut Config), &'a [&'a str]);

/// The finalizer that the Go csi-provisioner, or a process of ours that died, has left.
#[tokio::test(start_paused = true)]
async fn finalizer_that_was_left_is_taken_off_unless_it_is_needed() {
    let [plain, content] = snapshot();
    let held = left_by_another(&plain);
    let foreign = with(content.clone(), json!({"spec": {"driver": "other.example"}}));
    let late = with(class(), json!({"volumeBindingMode": "WaitForFirstConsumer"}));
    let elsewhere = with(restoring(waiting("data")), json!({"metadata": {"namespace": "elsewhere"}}));
    let released: &[&str] = &["update volumesnapshots 200"];
    let swept = |config: &mut Config| able(config);
    let off = |config: &mut Config| {
        able(config);
        config.snapshot_sweep = None;
    };
    let knowing = |config: &mut Config| {
        *config = with_intents();
        able(config);
    };
    let rows: [Left<'_>; 9] = [
        ("nobody needs it", vec![content.clone()], false, &swept, released),
        ("deleted", vec![content.clone()], true, &swept, released),
        ("its content is gone", vec![], true, &swept, released),
        ("another namespace's claim", vec![content.clone(), elsewhere], true, &swept, released),
        ("another driver's", vec![foreign], true, &swept, &[]),
        ("a claim waits", vec![content.clone(), restoring(waiting("data"))], false, &swept, &[]),
        (
            "deleted, and what was sent is unknown",
            vec![content.clone(), restoring(waiting("data"))],
            true,
            &swept,
            &[],
        ),
        (
            "deleted, and what the Go csi-provisioner has sent is unknown",
            vec![content.clone(), restoring(waiting("data"))],
            true,
            &knowing,
            &[],
        ),
        ("not looked for", vec![content.clone()], true, &off, &[]),
    ];
    for (name, objects, deleted, change, expected) in rows {
        // The claim that waits has no node yet: it is not provisioned.
        let case = PROVISIONER.case(name, objects.into_iter().chain([held.clone(), late.clone()]));
        let case = case.config(change);
        let case = if deleted { case.deleted("volumesnapshots", "default/snap") } else { case };
        let world = case.ends_with(&[], expected).await;
        assert_eq!(is_held(&world), expected.is_empty(), "{name}");
        let left = world.api.get("volumesnapshots", "default/snap").expect("another finalizer holds it");
        assert_eq!(left["metadata"]["finalizers"][0], "example.com/other", "{name}");
        if name == "a claim waits" {
            let _binder = world.binder();
            world.api.delete("persistentvolumeclaims", "data");
            sleep(5 * SECOND).await;
            assert!(!is_held(&world), "the claim is gone");
        }
    }
}

/// What a role allows of snapshots, whether the volume is made under protection, and what is logged at start.
#[test]
fn missing_verb_leaves_the_restore_as_it_is() {
    for (verbs, is_protected) in
        [(&["get", "update"][..], true), (&["get", "list", "watch"], false), (&["get"], false)]
    {
        let log = logged(async move {
            let world = world();
            let rules = json!([
                {"apiGroups": ["", "storage.k8s.io", "coordination.k8s.io"], "resources": ["*"], "verbs": ["*"]},
                {"apiGroups": ["snapshot.storage.k8s.io"], "resources": ["volumesnapshots"], "verbs": verbs},
                {"apiGroups": ["snapshot.storage.k8s.io"], "resources": ["volumesnapshotcontents"], "verbs": ["get"]},
            ]);
            world.api.grant_only("sidecar", ApiServer::rules(rules).expect("rules"));
            let _binder = world.binder();
            let mut config = with_intents();
            able(&mut config);
            let _running = world.run(3600 * SECOND, move |world| {
                sidecar_with(world, config.clone(), Leadership::always(), CancellationToken::new())
            });
            world.api.put(restoring(claim("data")));
            sleep(3 * SECOND).await;
            assert_eq!(is_held(&world), is_protected, "{verbs:?}");
            bound(&world, "data").await;
            sleep(60 * SECOND).await;
            assert!(!is_held(&world), "{verbs:?}");
            // The log says once that snapshots cannot be held.
            world.api.put(restoring(claim("more")));
            sleep(3 * SECOND).await;
            bound(&world, "more").await;
            assert_eq!(calls(&world), ["CreateVolume Some(Ok)"; 2], "{verbs:?}");
        });
        let held = log.matches("may not hold snapshots").count();
        assert_eq!(held, usize::from(!is_protected), "{verbs:?}: {log}");
        let followed = log.matches("may not list and watch volumesnapshots").count();
        assert_eq!(followed, usize::from(!verbs.contains(&"list")), "{verbs:?}: {log}");
        assert!(!log.contains("Listing failed"), "{verbs:?}: {log}");
    }
}

#[tokio::test(start_paused = true)]
async fn snapshot_that_changes_meanwhile_is_read_again() {
    let world = world();
    let _binder = world.binder();
    world.steps.on(|step| step.is("update", "volumesnapshots"), 3, sim::Fault::Conflict);
    let _running = PROVISIONER.run(&world, able);
    world.api.put(restoring(claim("data")));
    bound(&world, "data").await;
    sleep(SECOND).await;
    assert_eq!((calls(&world).len(), is_held(&world)), (1, false), "no call without protection");
    let failed = |event: &String| event.starts_with("ProvisioningFailed");
    assert!(!events(&world).iter().any(failed), "{:?}", events(&world));
}

/// A cluster without snapshots is asked once, and nothing of it fails.
#[test]
fn driver_with_snapshots_works_in_a_cluster_without_them() {
    let log = logged(async {
        let world = World::default();
        world.api.hide("volumesnapshots");
        world.api.put(class());
        let _binder = world.binder();
        let _running = PROVISIONER.run(&world, able);
        world.api.put(claim("data"));
        bound(&world, "data").await;
        sleep(600 * SECOND).await;
        let asked = |request: &sim::Request| request.resource.contains("snapshot");
        assert_eq!(world.api.requests().iter().filter(|request| asked(request)).count(), 1, "discovery");
    });
    assert!(!log.contains("snapshot"), "{log}");
}
