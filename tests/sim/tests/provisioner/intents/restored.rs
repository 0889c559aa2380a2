//! Versions of Leases that go back: etcd was restored, or a list is older than what was written since.

use sim::Fault;
use tokio::time::sleep;

use super::{SECOND, killed_in_the_call, lease_writes, world};
use crate::harness::{bound, calls, claim, intents, no_volumes, remembering};

#[tokio::test(start_paused = true)]
async fn etcd_restored_from_a_backup_stops_no_claim() {
    let world = world();
    let _binder = world.binder();
    let _running = world.run(SECOND, remembering);
    world.api.put(claim("before"));
    bound(&world, "before").await;
    sleep(60 * SECOND).await;
    let before = world.api.snapshot();
    for name in ["lost", "lost-too"] {
        world.api.put(claim(name));
        bound(&world, name).await;
        sleep(60 * SECOND).await;
    }
    world.api.restore(before);
    world.api.put(claim("after"));
    bound(&world, "after").await;
    sleep(60 * SECOND).await;
    assert_eq!(intents(&world), Vec::<String>::new());
    let written = lease_writes(&world).len();
    sleep(3600 * SECOND).await;
    assert_eq!(lease_writes(&world).len(), written, "nothing is tried without end");
}

/// The second process is refused the list at first. Its answer comes when the request in it is long settled.
#[tokio::test(start_paused = true)]
async fn list_older_than_our_write_sends_nothing_again() {
    let world = world();
    let _binder = world.binder();
    let _running = killed_in_the_call(&world).await;
    for verb in ["list", "get"] {
        world.steps.on(move |step| step.is(verb, "leases"), 1, Fault::ApiError(403));
    }
    sleep(30 * SECOND).await;
    world.steps.on(|step| step.is("list", "leases"), 1, Fault::LateReply(600 * SECOND));
    sleep(120 * SECOND).await;
    world.api.put(claim("more"));
    bound(&world, "more").await;
    bound(&world, "data").await;
    sleep(60 * SECOND).await;
    world.api.delete("persistentvolumeclaims", "data");
    world.api.delete("persistentvolumeclaims", "more");
    no_volumes(&world).await;
    let before = calls(&world);
    sleep(900 * SECOND).await;
    assert_eq!((calls(&world), intents(&world)), (before, vec![]));
}
