//! Growth and modification of one claim, and others who write to it meanwhile.

use std::time::Duration;

use serde_json::{Value, json};
use sim::objects::attributes_class;
use sim::{Reply, World};
use tokio::time::sleep;

use crate::harness::{
    DRIVER, LIMIT, RESIZER, asking, calls, claim, conditions, request, with, world_with, writes,
};

fn world() -> World {
    let world = world_with(&["pv"]);
    let [claim, volume] = asking("2Gi");
    let names = json!({"spec": {"volumeAttributesClassName": "gold"}});
    for object in [with(claim, names), volume, attributes_class("gold", DRIVER)] {
        world.api.put(object);
    }
    world
}

/// EBS waits a moment for the other call, to make one change of both.
#[tokio::test(start_paused = true)]
async fn size_and_class_reach_the_driver_together_and_disturb_nothing() {
    let world = world();
    for method in ["ControllerExpandVolume", "ControllerModifyVolume"] {
        world.driver.always(method, Reply::Ok.after(Duration::from_secs(5)));
    }
    let _running = RESIZER.run(&world, |_| ());
    sleep(Duration::from_secs(30)).await;
    assert_eq!(world.driver.overlaps(), Vec::<String>::new());
    let mut called = calls(&world);
    called.sort();
    assert_eq!(called, ["expand id-of-pv to 2Gi Ok", "modify id-of-pv iops=gold Ok"]);
    let calls = world.driver.calls();
    let between = calls[1].at.duration_since(calls[0].at);
    assert!(between < Duration::from_secs(1), "{between:?}");
    assert_eq!(conditions(&world), Vec::<String>::new());
    let status = claim(&world)["status"].clone();
    assert_eq!(
        (&status["capacity"]["storage"], &status["currentVolumeAttributesClassName"]),
        (&json!("2Gi"), &json!("gold"))
    );
    assert_eq!(writes(&world).len(), 6, "{:?}", writes(&world));
    assert!(writes(&world).iter().all(|write| !write.contains('(')), "{:?}", writes(&world));
}

/// Somebody else writes to claim and volume all the time, as the kubelet and controllers do.
#[tokio::test(start_paused = true)]
async fn no_write_ends_in_a_conflict() {
    let world = world();
    let _running = RESIZER.run(&world, |_| ());
    for number in 0..200 {
        sleep(Duration::from_micros(500)).await;
        world.api.edit("persistentvolumeclaims", "data", |claim| {
            claim["metadata"]["labels"] = json!({"n": number.to_string()});
            let conditions = claim["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let others = conditions.into_iter().filter(|one| one["type"] != "Unused");
            let unused = json!({"type": "Unused", "status": if number % 2 == 0 { "True" } else { "False" }});
            claim["status"]["conditions"] = others.chain([unused]).collect::<Value>();
        });
        world.api.edit("persistentvolumes", "pv", |volume| {
            volume["metadata"]["labels"] = json!({"n": number.to_string()});
        });
    }
    sleep(Duration::from_secs(10)).await;
    let refused =
        world.api.requests().into_iter().filter(|request| request.who == "sidecar" && request.status >= 400);
    assert_eq!(refused.map(|request| request.status).collect::<Vec<_>>(), Vec::<u16>::new());
    assert_eq!((conditions(&world), writes(&world).len()), (vec!["Unused".to_owned()], 6));
    assert_eq!(claim(&world)["status"]["capacity"]["storage"], "2Gi");
}

/// The user asks for another size at every moment of a growth: the claim ends with that size, one call a size.
#[tokio::test(start_paused = true)]
async fn size_changed_at_any_moment_is_reached() {
    for (first, last) in [("2Gi", "3Gi"), ("3Gi", "2Gi")] {
        for after in 0..40 {
            let world = world_with(&["pv"]);
            asking(first).into_iter().for_each(|object| drop(world.api.put(object)));
            let _running = RESIZER.run(&world, |config| config.resync = Duration::ZERO);
            sleep(Duration::from_micros(after * 500)).await;
            request(&world, last);
            let reached = world.api.until("the size", LIMIT, |api| {
                let claim = api.get("persistentvolumeclaims", "data")?;
                let capacity = claim["status"]["capacity"]["storage"].as_str()?.to_owned();
                (capacity == last || (first == "3Gi" && capacity == first)).then_some(())
            });
            reached.await;
            sleep(Duration::from_secs(60)).await;
            let mut calls = calls(&world);
            let all = calls.len();
            calls.sort();
            calls.dedup();
            assert_eq!(calls.len(), all, "one call a size: {first} {last} {after}");
            assert_eq!(conditions(&world), Vec::<String>::new(), "{first} {last} {after}");
        }
    }
}
