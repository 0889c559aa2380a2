//! Users meddle with what a volume is filled from, at every point of its making, with and without a crash there.

use std::time::Duration;

use serde_json::{Value, json};
use sim::objects::{self, class, with};
use sim::{Fault, Reply, Settings, World};
use tokio::runtime::Builder;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::elsewhere::{self, across};
use super::watched::watch;
use super::{begin_clone, cloning};
use crate::harness::{claim, intents, sidecar_with, with_intents};

const SECOND: Duration = Duration::from_secs(1);
/// More than any pause between two attempts.
const LONG: Duration = Duration::from_secs(700);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Restore,
    Clone,
}

/// What a user does, and undoes in the end.
struct Deed {
    name: &'static str,
    /// Whether it is about a restore, or a clone, only.
    of: Option<Kind>,
    does: fn(&World),
    undoes: fn(&World),
}

fn secret() -> Value {
    objects::secret("default", "key", json!({"token": "aHVzaA=="}))
}

fn locked() -> Value {
    let key = json!({"csi.storage.k8s.io/provisioner-secret-name": "key", "csi.storage.k8s.io/provisioner-secret-namespace": "default"});
    with(class(), json!({"parameters": key}))
}

fn deletes<const N: usize>(world: &World, objects: [(&str, &str); N]) {
    for (plural, name) in objects {
        world.api.delete(plural, name);
    }
}

const NOTHING: fn(&World) = |_| {};

const DEEDS: [Deed; 10] = [
    Deed {
        name: "claim deleted",
        of: None,
        does: |world| deletes(world, [("persistentvolumeclaims", "data")]),
        undoes: NOTHING,
    },
    Deed {
        name: "snapshot deleted",
        of: Some(Kind::Restore),
        does: |world| deletes(world, [("volumesnapshots", "theirs/snap")]),
        undoes: NOTHING,
    },
    Deed {
        name: "claim and snapshot deleted",
        of: Some(Kind::Restore),
        does: |world| {
            deletes(world, [("persistentvolumeclaims", "data"), ("volumesnapshots", "theirs/snap")]);
        },
        undoes: NOTHING,
    },
    Deed {
        name: "content deleted",
        of: Some(Kind::Restore),
        does: |world| deletes(world, [("volumesnapshotcontents", "content")]),
        undoes: NOTHING,
    },
    Deed {
        name: "source claim deleted",
        of: Some(Kind::Clone),
        does: |world| deletes(world, [("persistentvolumeclaims", "source")]),
        undoes: NOTHING,
    },
    Deed {
        name: "source claim and clone deleted",
        of: Some(Kind::Clone),
        does: |world| {
            deletes(world, [("persistentvolumeclaims", "source"), ("persistentvolumeclaims", "data")]);
        },
        undoes: NOTHING,
    },
    Deed {
        name: "class deleted",
        of: None,
        does: |world| deletes(world, [("storageclasses", "fast")]),
        undoes: |world| drop(world.api.put(locked())),
    },
    Deed {
        name: "class made anew",
        of: None,
        does: |world| {
            deletes(world, [("storageclasses", "fast")]);
            world.api.put(locked());
        },
        undoes: NOTHING,
    },
    Deed {
        name: "claim and Secret deleted",
        of: None,
        does: |world| deletes(world, [("persistentvolumeclaims", "data"), ("secrets", "key")]),
        undoes: |world| drop(world.api.put(secret())),
    },
    Deed {
        name: "grant deleted",
        of: Some(Kind::Restore),
        does: |world| deletes(world, [("referencegrants", "theirs/grant")]),
        undoes: NOTHING,
    },
];

async fn process(world: World) {
    let mut config = with_intents();
    across(&mut config);
    sidecar_with(world, config, base::leadership::Leadership::always(), CancellationToken::new()).await;
}

fn prepare(world: &World, kind: Kind) {
    if kind == Kind::Restore {
        elsewhere::sources(world);
        world.api.put(elsewhere::grant("snapshot.storage.k8s.io", "VolumeSnapshot"));
    } else {
        begin_clone(world);
    }
    world.api.put(secret());
    world.api.put(locked());
    // Requests take time, so that there is a moment between any two of them.
    world.api.set_latency(Duration::from_millis(5));
    world.driver.script("CreateVolume", [Reply::Ok.after(2 * SECOND)]);
}

/// The life of a claim, with the deed when the process has taken so many steps. Whether it has, and what is wrong at the end.
async fn life(kind: Kind, deed: &Deed, number: usize, crash: bool) -> (bool, Vec<String>) {
    let world = World::new(Settings { keeps_contract: true, ..Settings::default() });
    prepare(&world, kind);
    if crash {
        world.steps.plan(number, Fault::CrashAfter);
    }
    let _binder = world.binder();
    let running = world.run(SECOND, process);
    let wanted =
        if kind == Kind::Restore { elsewhere::restoring(claim("data")) } else { cloning(claim("data")) };
    world.api.put(wanted);
    let watched = watch(&world);
    let mut reached = false;
    for _ in 0..20_000 {
        reached = world.steps.taken().len() >= number;
        if reached {
            break;
        }
        sleep(Duration::from_millis(1)).await;
    }
    (deed.does)(&world);
    sleep(LONG).await;
    let mut wrong = after(&world);
    (deed.undoes)(&world);
    sleep(LONG).await;
    world.api.delete("persistentvolumeclaims", "data");
    sleep(LONG).await;
    wrong.extend(end(&world));
    wrong.extend(watched.wrong());
    wrong.extend(running.panics());
    (reached, wrong)
}

fn is_deleting(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// At any time when nothing goes on: what was deleted is gone, unless something may still be under way for it.
fn after(world: &World) -> Vec<String> {
    let settled = intents(world).is_empty();
    let sources =
        world.api.list("volumesnapshots").into_iter().chain(world.api.list("persistentvolumeclaims"));
    let stuck = sources.filter(|object| settled && is_deleting(object));
    stuck.map(|object| format!("still held: {object}")).collect()
}

/// In the end, when the claim is gone.
fn end(world: &World) -> Vec<String> {
    let mut wrong = after(world);
    let made = world.driver.volumes().into_values().filter(|volume| volume.source.is_some());
    wrong.extend(made.map(|volume| format!("leaked: {volume:?}")));
    wrong.extend(intents(world).into_iter().map(|intent| format!("still written down: {intent}")));
    let held = |object: &Value| !object["metadata"]["finalizers"].is_null();
    let snapshots = world.api.list("volumesnapshots").into_iter().filter(held);
    wrong.extend(snapshots.map(|object| format!("still held: {object}")));
    if world.api.count("persistentvolumes") > 1 {
        wrong.push(format!("volumes left: {:?}", world.api.list("persistentvolumes")));
    }
    wrong
}

/// The deed at each step, without and with a crash there. How many runs that were, and what went wrong.
fn at_each_step(kind: Kind, deed: &Deed) -> (usize, Vec<String>) {
    let (mut runs, mut failures) = (0, Vec::new());
    for number in 1..=80 {
        let mut reached = false;
        for crash in [false, true] {
            let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
            fastrand::seed(number as u64);
            let (so_far, wrong) = runtime.block_on(life(kind, deed, number, crash));
            reached |= so_far;
            runs += 1;
            if !wrong.is_empty() {
                failures.push(format!("{} at step {number}, crash {crash}: {}", deed.name, wrong.join("; ")));
            }
        }
        if !reached {
            break;
        }
    }
    (runs, failures)
}

fn everywhere(kind: Kind) {
    let deeds = DEEDS.iter().filter(|deed| deed.of.is_none_or(|of| of == kind));
    let done: Vec<(usize, Vec<String>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = deeds.map(|deed| scope.spawn(move || at_each_step(kind, deed))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let runs: usize = done.iter().map(|(runs, _)| runs).sum();
    let failures: Vec<String> = done.into_iter().flat_map(|(_, failures)| failures).collect();
    println!("{runs} runs");
    assert!(runs > 200, "{runs}");
    let few = failures.iter().take(15).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {runs} runs:\n{few}", failures.len());
}

#[test]
fn meddling_at_any_point_of_a_restore_leaves_nothing() {
    everywhere(Kind::Restore);
}

#[test]
fn meddling_at_any_point_of_a_clone_leaves_nothing() {
    everywhere(Kind::Clone);
}
