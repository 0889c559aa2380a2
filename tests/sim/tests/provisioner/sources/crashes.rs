//! Crash anywhere while a volume is filled.

use std::time::Duration;

use base::leadership::Leadership;
use sim::crash::{self, Scenario};
use sim::objects::{self, class};
use sim::{Reply, World};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::watched::watch;
use super::{able, cloning, from_snapshot, from_volume, restoring, snapshot, stock};
use crate::harness::{bound, claim, intents, sidecar_with, with_intents};

async fn remembering(world: World) {
    let mut config = with_intents();
    able(&mut config);
    sidecar_with(world, config, Leadership::always(), CancellationToken::new()).await;
}

fn begin(world: &World) {
    world.api.put(class());
    snapshot().into_iter().for_each(|object| drop(world.api.put(object)));
    stock(world);
}

/// Besides the source nothing is left at the driver, and nothing is written down.
fn nothing_leaked(world: &World) -> Result<(), String> {
    let (left, written) = (world.driver.volumes(), intents(world));
    if left.len() == 1 && written.is_empty() {
        return Ok(());
    }
    Err(format!("left: {left:?}, written down: {written:?}"))
}

#[test]
fn crash_anywhere_in_a_restore_leaves_one_full_volume() {
    let scenario = Scenario::new(remembering, |world: World| async move {
        let watched = watch(&world);
        let _binder = world.binder();
        world.api.put(restoring(claim("data")));
        bound(&world, "data").await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!(watched.wrong(), Vec::<String>::new());
    })
    .prepare(begin)
    .check(|world| {
        let made: Vec<_> = world.driver.volumes().into_values().filter(|one| one.source.is_some()).collect();
        let full = made.iter().all(|one| one.source == Some(from_snapshot()));
        match (made.len(), full, world.api.count("persistentvolumes")) {
            (1, true, 1) => Ok(()),
            other => Err(format!("{other:?}: {made:?}")),
        }
    });
    let report = crash::everywhere(&scenario);
    assert!(report.steps.iter().any(|step| step.is("get", "volumesnapshotcontents")), "{:?}", report.steps);
    assert!(report.fired >= 2 * report.steps.len());
}

/// The claim and the snapshot go while the volume is being made.
#[test]
fn crash_in_a_restore_that_is_given_up_leaks_none() {
    let scenario = Scenario::new(remembering, |world: World| async move {
        let watched = watch(&world);
        let _binder = world.binder();
        world.driver.script("CreateVolume", [Reply::Ok.after(Duration::from_secs(5))]);
        world.api.put(restoring(claim("data")));
        sleep(Duration::from_secs(2)).await;
        world.api.delete("persistentvolumeclaims", "data");
        world.api.delete("volumesnapshots", "default/snap");
        sleep(Duration::from_secs(240)).await;
        assert_eq!(watched.wrong(), Vec::<String>::new());
    })
    .prepare(begin)
    .check(nothing_leaked);
    let report = crash::everywhere(&scenario);
    assert!(report.steps.iter().any(|step| step.is_rpc("DeleteVolume")), "{:?}", report.steps);
}

pub(crate) fn begin_clone(world: &World) {
    world.api.put(class());
    objects::bound("source", "source-volume").into_iter().for_each(|object| drop(world.api.put(object)));
    stock(world);
}

#[test]
fn crash_anywhere_in_a_clone_leaves_one_and_no_held_source() {
    let scenario = Scenario::new(remembering, |world: World| async move {
        let watched = watch(&world);
        let _binder = world.binder();
        world.api.put(cloning(claim("data")));
        bound(&world, "data").await;
        world.api.delete("persistentvolumeclaims", "source");
        sleep(Duration::from_secs(120)).await;
        assert_eq!(watched.wrong(), Vec::<String>::new());
    })
    .prepare(begin_clone)
    .check(|world| {
        let clones =
            world.driver.volumes().into_values().filter(|one| one.source == Some(from_volume())).count();
        match (clones, world.api.count("persistentvolumeclaims")) {
            (1, 1) => Ok(()),
            other => Err(format!("clones and claims: {other:?}")),
        }
    });
    let report = crash::everywhere(&scenario);
    let updates = report.steps.iter().filter(|step| step.is("update", "persistentvolumeclaims")).count();
    assert!(updates >= 2, "{:?}", report.steps);
}
