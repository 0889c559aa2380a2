//! Requests are written down before they are sent.

mod copied;
mod empty;
mod flags;
mod placed;
mod reading;
mod refused;
mod restored;
mod taken;
mod without_secret;

use std::time::Duration;

use base::leadership::Leadership;
use csi::v1::CreateVolumeRequest;
use provisioner::Config;
use serde_json::{Value, json};
use sim::{Call, Fault, Reply, Running, World};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::harness::{
    INTENTS, bound, calls, claim, class, events, intents, no_volumes, remembering, sidecar, sidecar_with,
    waiting, with_intents, writes,
};

const SECOND: Duration = Duration::from_secs(1);

fn world() -> World {
    let world = World::default();
    world.api.put(class());
    world
}

/// A process that was killed while the driver made the volume of claim `data`. The next one comes 20 s later.
pub(crate) async fn killed_in_the_call(world: &World) -> Running {
    world.driver.script("CreateVolume", [Reply::Ok.after(5 * SECOND)]);
    world.api.put(claim("data"));
    let running = world.run(20 * SECOND, remembering);
    sleep(2 * SECOND).await;
    running.kill();
    running
}

fn lease_writes(world: &World) -> Vec<String> {
    writes(world).into_iter().filter(|write| write.contains("leases")).collect()
}

#[tokio::test(start_paused = true)]
async fn one_claim_costs_one_write_before_its_call_and_one_at_leisure() {
    let world = world();
    let _binder = world.binder();
    world.driver.script("CreateVolume", [Reply::Ok.after(5 * SECOND)]);
    world.api.put(claim("data"));
    let _running = world.run(SECOND, remembering);
    sleep(3 * SECOND).await;
    assert_eq!(calls(&world), ["CreateVolume None"], "it runs");
    assert_eq!(intents(&world).len(), 1, "and is written down");
    // The Lease itself is made once in a cluster.
    assert_eq!(lease_writes(&world), ["create leases 201", "update leases 200"]);
    bound(&world, "data").await;
    assert_eq!(lease_writes(&world).len(), 2, "nothing is written while somebody waits");
    sleep(60 * SECOND).await;
    assert_eq!(
        (lease_writes(&world), intents(&world)),
        (vec!["create leases 201".into(), "update leases 200".into(), "update leases 200".into()], vec![])
    );
    sleep(3600 * SECOND).await;
    assert_eq!(lease_writes(&world).len(), 3, "nothing more while nothing happens");
}

#[tokio::test(start_paused = true)]
async fn claims_that_come_together_share_writes() {
    let world = world();
    let _binder = world.binder();
    world.api.set_latency(Duration::from_millis(5));
    for number in 0..100 {
        world.api.put(claim(&format!("data-{number}")));
    }
    let _running = world.run(SECOND, remembering);
    for number in 0..100 {
        bound(&world, &format!("data-{number}")).await;
    }
    assert_eq!(calls(&world).len(), 100);
    // Ten workers: at least ten of them wait for each write.
    let written = lease_writes(&world).len();
    assert!((1..=20).contains(&written), "{written} writes for 100 claims");
}

/// Many requests need several Leases. Who is in one waits for no other.
#[tokio::test(start_paused = true)]
async fn slow_or_failed_write_holds_up_only_its_own_claims() {
    for (fault, least) in [(Fault::LateReply(60 * SECOND), 1), (Fault::ApiError(500), 1)] {
        let world = world();
        for number in 0..200 {
            world.api.put(waiting(&format!("data-{number}")));
        }
        world.steps.on(|step| step.is("create", "leases"), 1, fault.clone());
        let _running = world.run(3600 * SECOND, |world| async move {
            let config = Config { workers: 200, ..with_intents() };
            sidecar_with(world, config, Leadership::always(), CancellationToken::new()).await;
        });
        sleep(Duration::from_millis(500)).await;
        let (made, leases) = (calls(&world).len(), world.api.count("leases"));
        assert!(leases >= 3, "{leases} Leases");
        assert!((100..200 - least).contains(&made), "{fault:?}: {made} of 200 were sent");
        sleep(120 * SECOND).await;
        assert_eq!((calls(&world).len(), world.api.count("persistentvolumes")), (200, 200), "{fault:?}");
    }
}

/// Claims that come while another Lease is being written go on too, and so does the clean-up.
#[tokio::test(start_paused = true)]
async fn slow_write_holds_up_no_claim_that_comes_later() {
    let world = world();
    world.driver.script("CreateVolume", (0..200).map(|_| Reply::Ok.after(2 * SECOND)));
    world.steps.on(|step| step.is("create", "leases"), 1, Fault::LateReply(300 * SECOND));
    let _running = world.run(3600 * SECOND, |world| async move {
        let config = Config { workers: 200, ..with_intents() };
        sidecar_with(world, config, Leadership::always(), CancellationToken::new()).await;
    });
    for number in 0..100 {
        world.api.put(waiting(&format!("data-{number}")));
    }
    sleep(10 * SECOND).await;
    let before = calls(&world).len();
    assert!((50..100).contains(&before), "{before} of 100");
    for number in 100..160 {
        world.api.put(waiting(&format!("data-{number}")));
    }
    sleep(20 * SECOND).await;
    let made = calls(&world).len();
    assert!(made >= before + 50, "{} of 60 that came later", made - before);
    let first = world.api.get("leases", &format!("{INTENTS}-0")).unwrap();
    let in_first = first["metadata"]["annotations"].as_object().unwrap().len();
    assert_eq!(intents(&world).len(), in_first, "the other Leases are clean");
    sleep(600 * SECOND).await;
    assert_eq!((calls(&world).len(), intents(&world)), (160, vec![]));
}

/// What could not be read is asked for again, and the answer takes its time.
#[tokio::test(start_paused = true)]
async fn slow_read_holds_up_no_write() {
    let world = world();
    let _binder = world.binder();
    for verb in ["list", "get"] {
        world.steps.on(move |step| step.is(verb, "leases"), 1, Fault::ApiError(403));
    }
    let _running = world.run(3600 * SECOND, remembering);
    sleep(50 * SECOND).await;
    world.steps.on(|step| step.is("list", "leases"), 1, Fault::LateReply(300 * SECOND));
    sleep(15 * SECOND).await;
    world.api.put(claim("data"));
    sleep(5 * SECOND).await;
    assert_eq!((calls(&world).len(), lease_writes(&world).len()), (1, 2));
    bound(&world, "data").await;
    sleep(600 * SECOND).await;
    assert_eq!((calls(&world).len(), intents(&world)), (1, vec![]), "the old list says nothing new");
}

#[tokio::test(start_paused = true)]
async fn call_that_is_repeated_is_not_written_again() {
    let world = world();
    world.driver.script(
        "CreateVolume",
        [Reply::error(Code::DeadlineExceeded, "slow"), Reply::error(Code::Aborted, "busy"), Reply::Ok],
    );
    let _binder = world.binder();
    world.api.put(claim("data"));
    let _running = world.run(SECOND, remembering);
    bound(&world, "data").await;
    assert_eq!(calls(&world).len(), 3);
    assert_eq!(lease_writes(&world), ["create leases 201", "update leases 200"]);
}

#[tokio::test(start_paused = true)]
async fn next_process_sends_again_for_a_claim_that_is_gone() {
    let world = world();
    let _binder = world.binder();
    let _running = killed_in_the_call(&world).await;
    world.api.delete("persistentvolumeclaims", "data");
    world.api.edit("storageclasses", "fast", |class| class["parameters"] = json!({"kind": "slow"}));
    sleep(600 * SECOND).await;
    no_volumes(&world).await;
    let sent = world.driver.calls_of("CreateVolume");
    let parameters =
        |call: &Call| call.request::<CreateVolumeRequest>().map(|request| request.parameters.clone());
    let sent: Vec<_> = sent.iter().filter_map(parameters).collect();
    assert_eq!(sent.len(), 2);
    assert!(
        sent[0] == sent[1] && !sent[1].contains_key("kind"),
        "as it was sent, not of the class as it is now"
    );
    assert_eq!((world.driver.volumes().len(), intents(&world)), (0, vec![]));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_that_could_not_be_written_down() {
    let world = world();
    let _binder = world.binder();
    world.api.put(claim("data"));
    world.steps.on(|step| step.is("create", "leases"), 1, Fault::ApiError(500));
    let _running = world.run(SECOND, remembering);
    sleep(SECOND).await;
    assert_eq!(calls(&world), Vec::<String>::new());
    assert!(
        events(&world).iter().any(|event| event.contains("cannot write down the request before it is sent"))
    );
    bound(&world, "data").await;
}

#[tokio::test(start_paused = true)]
async fn request_under_a_foreign_name_is_not_taken_over() {
    let world = world();
    let _binder = world.binder();
    let _running = killed_in_the_call(&world).await;
    world.api.edit("leases", &format!("{INTENTS}-0"), |lease| {
        let annotations = lease["metadata"]["annotations"].as_object_mut().unwrap();
        for (_, text) in annotations.iter_mut().filter(|(name, _)| name.starts_with("intent.")) {
            let mut intent: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
            intent["name"] = json!("pvc-of-somebody-else");
            *text = json!(intent.to_string());
        }
    });
    world.api.delete("persistentvolumeclaims", "data");
    let before = calls(&world).len();
    sleep(600 * SECOND).await;
    assert_eq!(calls(&world).len(), before, "nothing is sent for it");
}

#[tokio::test(start_paused = true)]
async fn flag_turns_it_off() {
    let world = world();
    let _binder = world.binder();
    world.api.put(claim("data"));
    let _running = world.run(SECOND, sidecar);
    bound(&world, "data").await;
    assert!(world.api.requests().iter().all(|request| request.resource != "leases"));
}

#[tokio::test(start_paused = true)]
async fn lease_that_somebody_deleted_or_changed_is_written_anew() {
    let world = world();
    let _binder = world.binder();
    let _running = world.run(SECOND, remembering);
    for (number, meddle) in ["nothing", "delete", "edit"].into_iter().enumerate() {
        let lease = format!("{INTENTS}-0");
        match meddle {
            "delete" => assert!(world.api.delete("leases", &lease)),
            "edit" => {
                world.api.edit("leases", &lease, |lease| lease["metadata"]["labels"] = json!({"a": "b"}));
            }
            _ => {}
        }
        let name = format!("data-{number}");
        world.driver.script("CreateVolume", [Reply::Ok.after(5 * SECOND)]);
        world.api.put(claim(&name));
        sleep(3 * SECOND).await;
        assert_eq!(intents(&world).len(), 1, "{meddle}");
        bound(&world, &name).await;
        sleep(60 * SECOND).await;
        assert_eq!(intents(&world), Vec::<String>::new(), "{meddle}");
    }
    assert_eq!(calls(&world).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn process_that_stops_leaves_nothing_written() {
    let world = world();
    let _binder = world.binder();
    world.api.put(claim("data"));
    let stop = CancellationToken::new();
    let told = stop.clone();
    let _running = world.run(3600 * SECOND, move |world| {
        sidecar_with(world, with_intents(), Leadership::always(), told.clone())
    });
    bound(&world, "data").await;
    assert_eq!(intents(&world).len(), 1);
    stop.cancel();
    sleep(SECOND).await;
    assert_eq!(intents(&world), Vec::<String>::new());
}

/// No call can be made within such a time: the worker panics when it is about to make it.
#[tokio::test(start_paused = true)]
async fn worker_that_panics_in_its_call_forgets_no_request() {
    let world = world();
    let _binder = world.binder();
    world.api.put(claim("data"));
    let lives = std::sync::atomic::AtomicUsize::new(0);
    let running = world.run(20 * SECOND, move |world| {
        let mut config = with_intents();
        if lives.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
            config.timeout = Duration::MAX;
        }
        sidecar_with(world, config, Leadership::always(), CancellationToken::new())
    });
    sleep(2 * SECOND).await;
    world.api.delete("persistentvolumeclaims", "data");
    sleep(600 * SECOND).await;
    assert_eq!((calls(&world).len(), intents(&world).len()), (0, 1), "nobody knows how far the call came");
    running.kill();
    sleep(600 * SECOND).await;
    assert_eq!(calls(&world), ["CreateVolume Some(Ok)", "DeleteVolume Some(Ok)"]);
    assert_eq!((world.driver.volumes().len(), intents(&world)), (0, vec![]));
}
