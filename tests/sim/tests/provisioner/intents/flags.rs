//! The next process has other flags.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use base::leadership::Leadership;
use csi::v1::CreateVolumeRequest;
use provisioner::{Config, Place};
use serde_json::json;
use sim::{Reply, Running, World};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::taken::volume_of_another;
use super::{SECOND, killed_in_the_call, world};
use crate::harness::{
    DRIVER, INTENTS, LIMIT, bound, calls, claim, events, intents, logged, move_lease, no_volumes,
    sidecar_with, waiting, with_intents,
};

/// Runs one process after the other, each with its volume names.
fn naming(world: &World, names: [(&'static str, Option<usize>); 2]) -> Running {
    let lives = AtomicUsize::new(0);
    world.run(20 * SECOND, move |world| {
        let (prefix, uuid_length) = names[lives.fetch_add(1, Relaxed).min(1)];
        let config = Config { prefix: prefix.into(), uuid_length, ..with_intents() };
        sidecar_with(world, config, Leadership::always(), CancellationToken::new())
    })
}

/// The name of each CreateVolume.
fn names(world: &World) -> Vec<String> {
    let sent = world.driver.calls_of("CreateVolume");
    sent.iter().filter_map(|call| Some(call.request::<CreateVolumeRequest>()?.name.clone())).collect()
}

#[tokio::test(start_paused = true)]
async fn request_is_finished_under_the_name_it_was_sent_with() {
    let (long, short, other) = (("pvc", None), ("pvc", Some(8)), ("my-team.pvc", None));
    for (before, after) in [(long, short), (short, long), (long, other), (other, short)] {
        for is_deleted in [true, false] {
            let case = format!("{before:?} {after:?} {is_deleted}");
            let world = world();
            let _binder = world.binder();
            world.driver.script("CreateVolume", [Reply::Ok.after(5 * SECOND)]);
            world.api.put(claim("data"));
            let running = naming(&world, [before, after]);
            sleep(2 * SECOND).await;
            running.kill();
            if is_deleted {
                world.api.delete("persistentvolumeclaims", "data");
                sleep(600 * SECOND).await;
                no_volumes(&world).await;
            } else {
                bound(&world, "data").await;
                sleep(600 * SECOND).await;
                let volume = &world.api.list("persistentvolumes")[0]["metadata"]["name"];
                assert_eq!(*volume, json!(names(&world)[0]), "{case}");
            }
            let sent = names(&world);
            assert_eq!((sent.len(), &sent[0]), (2, &sent[1]), "{case}");
            let left = (world.driver.volumes().len(), world.api.count("persistentvolumes"));
            assert_eq!(left, if is_deleted { (0, 0) } else { (1, 1) }, "{case}");
            assert_eq!(intents(&world), Vec::<String>::new(), "{case}");
        }
    }
}

/// The name was cut, and by now another claim's volume has it.
#[tokio::test(start_paused = true)]
async fn former_name_that_another_volume_has_is_left_to_that() {
    let world = world();
    let _binder = world.binder();
    world.driver.script("CreateVolume", [Reply::Ok.after(5 * SECOND)]);
    world.api.put(claim("data"));
    let running = naming(&world, [("pvc", Some(8)), ("pvc", None)]);
    sleep(2 * SECOND).await;
    running.kill();
    let former = names(&world).remove(0);
    world.api.put(volume_of_another(&former));
    bound(&world, "data").await;
    sleep(60 * SECOND).await;
    let sent = names(&world);
    assert_eq!(
        (sent.len(), &sent[1]),
        (3, &former),
        "asked again, and then with a name of its own: {sent:?}"
    );
    assert!(world.api.get("persistentvolumes", &sent[2]).is_some());
    let told = events(&world).into_iter().filter(|event| event.contains("which PersistentVolume"));
    assert_eq!((told.count(), world.driver.volumes().len(), intents(&world)), (1, 2, vec![]));
}

fn of_node() -> Place {
    Place::new("default".into(), DRIVER, Some("node-1"))
}

/// Somebody has switched --node-deployment on or off.
#[test]
fn requests_of_the_other_mode_are_told_in_one_line() {
    for was_on_node in [true, false] {
        let log = logged(async {
            let world = world();
            let _binder = world.binder();
            let running = killed_in_the_call(&world).await;
            running.stop();
            let (from, to) = (format!("{INTENTS}-0"), format!("{INTENTS}-node-1-0"));
            if was_on_node {
                move_lease(&world, &from, &to);
            }
            world.api.delete("persistentvolumeclaims", "data");
            sleep(SECOND).await;
            let _running = world.run(20 * SECOND, move |world| {
                let place = if was_on_node { with_intents().intents } else { Some(of_node()) };
                let config = Config { intents: place, ..with_intents() };
                sidecar_with(world, config, Leadership::always(), CancellationToken::new())
            });
            sleep(600 * SECOND).await;
            assert_eq!((calls(&world).len(), intents(&world).len()), (1, 1), "{was_on_node}: it stays");
        });
        assert_eq!(log.matches("sent in its other mode").count(), 1, "{was_on_node}: {log}");
    }
}

/// The object has the former name, and the claim is bound to it only after a while.
#[tokio::test(start_paused = true)]
async fn volume_of_a_former_name_is_the_claim_s_until_it_is_bound() {
    for dies_again in [false, true] {
        let world = world();
        world.driver.script("CreateVolume", [Reply::Ok.after(5 * SECOND)]);
        world.api.put(waiting("data"));
        let running = naming(&world, [("pvc", None), ("pvc", Some(8))]);
        sleep(2 * SECOND).await;
        running.kill();
        let stored = |api: &sim::ApiServer| (api.count("persistentvolumes") == 1).then_some(());
        world.api.until("the object", LIMIT, stored).await;
        if dies_again {
            running.kill();
        }
        sleep(120 * SECOND).await;
        let _binder = world.binder();
        bound(&world, "data").await;
        sleep(600 * SECOND).await;
        let sent = names(&world);
        assert_eq!((sent.len(), &sent[0]), (2, &sent[1]), "{dies_again}: {sent:?}");
        let left = (world.driver.volumes().len(), world.api.count("persistentvolumes"));
        assert_eq!((left, intents(&world)), ((1, 1), vec![]), "{dies_again}");
    }
}

/// Somebody removes it before the claim is bound to it.
#[tokio::test(start_paused = true)]
async fn claim_whose_volume_of_a_former_name_goes_gets_another() {
    let world = world();
    world.driver.script("CreateVolume", [Reply::Ok.after(5 * SECOND)]);
    world.api.put(waiting("data"));
    let running = naming(&world, [("pvc", None), ("pvc", Some(8))]);
    sleep(2 * SECOND).await;
    running.kill();
    sleep(60 * SECOND).await;
    let volume = names(&world).remove(0);
    world.api.edit("persistentvolumes", &volume, |one| one["metadata"]["finalizers"] = json!([]));
    world.api.delete("persistentvolumes", &volume);
    let _binder = world.binder();
    sleep(5 * SECOND).await;
    assert_eq!((names(&world).len(), world.api.count("persistentvolumes")), (3, 1), "{:?}", names(&world));
    bound(&world, "data").await;
}
