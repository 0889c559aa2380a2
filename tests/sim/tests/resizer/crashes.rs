//! Crash anywhere, lose any reply, refuse any request: the world ends as if nothing had happened.

use std::time::Duration;

use serde_json::{Value, json};
use sim::crash::{self, Scenario};
use sim::objects::{attributes_class, secret};
use sim::{Fault, World};
use tonic::Code;

use crate::growth::node_needed;
use crate::harness::{DRIVER, LIMIT, bound, give, request, settings, sidecar, with};

fn begin(world: &World) {
    give(world, &["pv"]);
    let [claim, volume] = bound("data", "pv");
    let place =
        json!({"spec": {"csi": {"controllerExpandSecretRef": {"namespace": "secrets", "name": "expand"}}}});
    let key = secret("secrets", "expand", json!({"user": "YWRtaW4="}));
    let classes = ["gold", "silver"].map(|name| attributes_class(name, DRIVER));
    for object in [claim, with(volume, place), key].into_iter().chain(classes) {
        world.api.put(object);
    }
}

async fn until(world: &World, what: &str, holds: impl Fn(&Value) -> bool) {
    let found = world.api.until(what, LIMIT, |api| {
        api.get("persistentvolumeclaims", "data").filter(|claim| holds(claim)).map(drop)
    });
    found.await;
}

async fn has(world: &World, size: &'static str) {
    until(world, size, |claim| claim["status"]["capacity"]["storage"] == size).await;
}

/// No size ever shrank, and no success was told of a size that the claim does not have.
fn never_shrank(world: &World) -> Result<(), String> {
    let bytes = |text: &str| base::quantity::Quantity::parse(text).expect("a size");
    for (resource, pointer) in [
        ("persistentvolumes", "/spec/capacity/storage"),
        ("persistentvolumeclaims", "/status/capacity/storage"),
    ] {
        let mut before = bytes("1Gi");
        for request in world.api.requests() {
            let size = request.body.pointer(pointer).and_then(Value::as_str);
            let Some(size) = size.filter(|_| request.resource == resource && request.status == 200) else {
                continue;
            };
            if bytes(size) < before {
                return Err(format!("{resource} went from {before} to {size}"));
            }
            before = bytes(size);
        }
    }
    Ok(())
}

fn scenario<G>(script: impl Fn(World) -> G + Send + Sync + 'static) -> Scenario
where
    G: Future<Output = ()> + Send + 'static,
{
    Scenario::new(sidecar, script).driver(settings()).prepare(begin).check(never_shrank)
}

/// Grown twice, the second time while nothing is left of the first.
pub(crate) fn growth() -> Scenario {
    scenario(|world: World| async move {
        request(&world, "2Gi");
        has(&world, "2Gi").await;
        request(&world, "3Gi");
        has(&world, "3Gi").await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
}

/// The node has to go on, and does.
pub(crate) fn node() -> Scenario {
    scenario(|world: World| async move {
        world.driver.always("ControllerExpandVolume", node_needed());
        request(&world, "2Gi");
        until(&world, "the node's turn", |claim| {
            claim["status"]["allocatedResourceStatuses"]["storage"] == "NodeResizePending"
        })
        .await;
        world.api.edit("persistentvolumeclaims", "data", |claim| {
            claim["status"]["capacity"]["storage"] = json!("2Gi");
            claim["status"]["allocatedResourceStatuses"] = json!({});
            claim["status"]["conditions"] = json!([]);
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
}

/// Too much is requested, then less and then more again, so long after each other.
pub(crate) fn changing(after: Duration) -> Scenario {
    scenario(move |world: World| async move {
        request(&world, "9Gi");
        tokio::time::sleep(after).await;
        request(&world, "2Gi");
        tokio::time::sleep(after).await;
        request(&world, "4Gi");
        has(&world, "4Gi").await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
    .prepare(|world| {
        begin(world);
        // From 1 Gi to 4 Gi, and no further.
        world.driver.change_model(|model| model.free = Some(3 << 30));
    })
}

/// Modified to one class and then, while that is under way, to the other; and grown meanwhile.
pub(crate) fn modification(after: Duration) -> Scenario {
    scenario(move |world: World| async move {
        let name = |class: &'static str| {
            world.api.edit("persistentvolumeclaims", "data", |claim| {
                claim["spec"]["volumeAttributesClassName"] = json!(class);
            });
        };
        name("gold");
        request(&world, "2Gi");
        tokio::time::sleep(after).await;
        name("silver");
        until(&world, "the class", |claim| {
            let status = &claim["status"];
            status["currentVolumeAttributesClassName"] == "silver" && status["capacity"]["storage"] == "2Gi"
        })
        .await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
}

const FAULTS: [Fault; 7] = [
    Fault::LoseReply,
    Fault::ApiError(500),
    Fault::ApiError(429),
    Fault::Conflict,
    Fault::Rpc(Code::Unavailable),
    Fault::Rpc(Code::Internal),
    Fault::Delay(Duration::from_secs(30)),
];

#[test]
fn crash_anywhere_in_a_growth_ends_with_its_size() {
    for scenario in [growth(), node()] {
        let report = crash::everywhere(&scenario);
        assert!(report.steps.iter().any(|step| step.is_rpc("ControllerExpandVolume")));
        assert!(report.fired >= 2 * report.steps.len());
    }
}

#[test]
fn crash_anywhere_while_the_size_goes_down_and_up() {
    for after in [0, 2, 4, 6, 8, 10, 2000] {
        let report = crash::everywhere(&changing(Duration::from_millis(after)));
        assert!(report.fired >= 2 * report.steps.len(), "{after}");
    }
}

#[test]
fn crash_anywhere_in_a_modification_ends_with_its_class() {
    for after in [1, 5, 9, 13, 17] {
        let report = crash::everywhere(&modification(Duration::from_millis(after)));
        assert!(report.steps.iter().any(|step| step.is_rpc("ControllerModifyVolume")));
    }
}

#[test]
fn any_lost_reply_refusal_conflict_or_delay_is_survived() {
    for scenario in
        [growth(), node(), changing(Duration::from_millis(6)), modification(Duration::from_millis(9))]
    {
        crash::at_each_step(&scenario, &FAULTS);
    }
}
