//! Leases that were not written here, or not for long.

use serde_json::json;
use sim::{Fault, World};
use tokio::time::sleep;

use super::{SECOND, killed_in_the_call, world};
use crate::harness::{INTENTS, bound, calls, claim, copy_lease, intents, logged, no_volumes, remembering};

fn first() -> String {
    format!("{INTENTS}-0")
}

/// The claim's Lease is changed while no process runs; then the claim is gone.
async fn next_process_after(meddle: impl Fn(&World)) -> World {
    let world = world();
    let _binder = world.binder();
    let running = killed_in_the_call(&world).await;
    meddle(&world);
    world.api.delete("persistentvolumeclaims", "data");
    sleep(600 * SECOND).await;
    assert_eq!((calls(&world).len(), intents(&world).len()), (1, 1), "nothing is sent, and it stays");
    world.api.put(claim("later"));
    bound(&world, "later").await;
    running.kill();
    sleep(600 * SECOND).await;
    assert_eq!((calls(&world).len(), intents(&world).len()), (2, 1), "others go on");
    world
}

/// The claims and volumes of the other cluster are unknown here: its volume may be in use.
#[test]
fn lease_restored_from_another_cluster_is_told_and_left() {
    let log = logged(async {
        let world = next_process_after(|world| copy_lease(world, &first(), &first())).await;
        let lease = world.api.get("leases", &first()).unwrap();
        assert_eq!(lease["metadata"].get("labels"), None, "nobody has written to it");
    });
    assert_eq!(log.matches("may be a copy from another cluster").count(), 2, "once a process: {log}");
}

#[test]
fn lease_that_nobody_wrote_for_months_is_told_and_left() {
    let log = logged(async {
        let old = |world: &World| {
            world.api.edit("leases", &first(), |lease| {
                lease["spec"]["renewTime"] = json!("2020-01-01T00:00:00.000000Z");
            });
        };
        let _world = next_process_after(old).await;
    });
    assert_eq!(log.matches("nobody has written to it for long").count(), 2, "once a process: {log}");
}

/// A later Lease is written once only, with the uid of the first one. It goes with that.
#[tokio::test(start_paused = true)]
async fn later_lease_is_believed_beside_its_first_only() {
    for is_copied in [false, true] {
        let world = world();
        let _binder = world.binder();
        let first = json!({"name": first(), "namespace": "default"});
        world.api.put(json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": first}));
        let running = super::empty::many(&world).await;
        sleep(SECOND).await;
        running.kill();
        let written = intents(&world).len();
        let created =
            super::lease_writes(&world).iter().filter(|write| **write == "create leases 201").count();
        assert!(created > 1, "{created}");
        for number in 0..100 {
            world.api.delete("persistentvolumeclaims", &format!("data-{number}"));
        }
        if is_copied {
            copy_lease(&world, &self::first(), &self::first());
        }
        sleep(600 * SECOND).await;
        let (left, sent) = (intents(&world).len(), calls(&world).len());
        if is_copied {
            assert_eq!((left, sent), (written, 100), "nothing is sent again");
        } else {
            assert_eq!((left, world.driver.volumes().len()), (0, 0));
        }
    }
}

/// The process dies between the two writes of a new Lease, or before it has the answer to either.
#[tokio::test(start_paused = true)]
async fn first_request_of_a_new_lease_is_believed_too() {
    for (verb, fault) in [
        ("create", Fault::LoseReply),
        ("update", Fault::LoseReply),
        ("update", Fault::ApiError(500)),
        ("update", Fault::ApiError(409)),
    ] {
        let world = world();
        let _binder = world.binder();
        world.steps.on(move |step| step.is(verb, "leases"), 1, fault.clone());
        let _running = killed_in_the_call(&world).await;
        sleep(600 * SECOND).await;
        assert_eq!(world.api.count("persistentvolumes"), 1, "{verb} {fault:?}");
        world.api.delete("persistentvolumeclaims", "data");
        no_volumes(&world).await;
        assert_eq!((world.driver.volumes().len(), intents(&world)), (0, vec![]), "{verb} {fault:?}");
    }
}

/// A restore writes over the Lease of a process that runs.
#[tokio::test(start_paused = true)]
async fn lease_overwritten_while_in_use_is_written_anew() {
    let world = world();
    let _binder = world.binder();
    let _running = world.run(SECOND, remembering);
    world.driver.script("CreateVolume", [sim::Reply::Ok.after(5 * SECOND)]);
    world.api.put(claim("data"));
    sleep(2 * SECOND).await;
    world.api.edit("leases", &first(), |lease| {
        lease["metadata"]["annotations"] =
            json!({"mooring.dev/lease-uid": "of-a", "intent.mooring.dev/foreign.one": "{}"});
    });
    world.api.put(claim("more"));
    bound(&world, "more").await;
    bound(&world, "data").await;
    sleep(60 * SECOND).await;
    assert_eq!((calls(&world).len(), intents(&world)), (2, vec![]));
}
