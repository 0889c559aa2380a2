//! The status page of a process with the three controllers.

use std::sync::Arc;
use std::time::Duration;

use base::metrics::Metrics;
use base::status::{html, json};
use serde_json::{Value, json};
use sim::objects::{attachment, claim, class, csi_node, secret, volume, with};
use sim::{Outage, Reply, World};
use tokio::time::sleep;
use tonic::Code;

use crate::monitoring::process::{during, world};

const SECOND: Duration = Duration::from_secs(1);

/// Both forms of the page, about everything or about one object.
fn page(metrics: &Metrics, only: Option<&str>) -> (Value, String) {
    let status = metrics.board().gather(only);
    let programs = serde_json::from_str(&json::render(&status)).expect("JSON");
    (programs, html::render(&status))
}

/// What waits for an operation.
fn waiting(page: &Value, operation: &str) -> Value {
    let operations = page["operations"].as_array().expect("operations");
    operations.iter().find(|each| each["operation"] == operation).cloned().expect("the operation")
}

/// The page after `story`, while the process still runs: about everything, or about one object.
async fn after(
    world: &World,
    workers: usize,
    only: Option<&str>,
    story: impl Future<Output = ()>,
) -> (Value, String) {
    during(world, workers, async |metrics: Arc<Metrics>| {
        metrics.board().serve();
        story.await;
        page(&metrics, only)
    })
    .await
}

fn provisioned(name: &str) -> Value {
    with(
        claim(name),
        json!({"metadata": {"annotations": {"volume.kubernetes.io/storage-provisioner": sim::objects::DRIVER}}}),
    )
}

#[tokio::test(start_paused = true)]
async fn failing_claim_shows_its_error_and_next_try_and_no_secret() {
    let world = world();
    let key = json!({"csi.storage.k8s.io/provisioner-secret-name": "key", "csi.storage.k8s.io/provisioner-secret-namespace": "default"});
    world.api.put(with(class(), json!({"parameters": key})));
    world.api.put(secret("default", "key", json!({"token": "aHVzaC1odXNoLWh1c2g="})));
    world.api.put(provisioned("data"));
    world.driver.always("CreateVolume", Reply::error(Code::Internal, "login with hush-hush-hush failed"));
    let (programs, people) = after(&world, 10, None, sleep(6 * SECOND)).await;
    let waits = waiting(&programs, "provision");
    let object = &waits["objects"][0];
    assert_eq!((&waits["paused"], &object["object"]), (&json!(1), &json!("default/data")));
    // Tried after 0, 1, 3 and 7 seconds.
    assert_eq!((&object["failures"], &object["state"]), (&json!(3), &json!("paused")), "{object}");
    assert!(object["nextTrySeconds"].as_u64().is_some_and(|left| left < 2), "{object}");
    let error = object["lastFailure"]["error"].as_str().expect("an error");
    assert!(error.contains("code = Internal desc = login with ***stripped*** failed"), "{error}");
    assert!(
        people.contains("login with ***stripped*** failed") && people.contains("next try in "),
        "{people}"
    );
    let events = format!("{:?}", world.api.list("events"));
    assert!(events.contains("login with ***stripped*** failed"), "{events}");
    for text in [programs.to_string(), people, events] {
        assert!(!text.contains("hush-hush") && !text.contains("aHVzaC"), "{text}");
    }
    let lease = &programs["leases"][0];
    assert_eq!((&lease["holder"], &lease["leads"]), (&json!("driver-0"), &json!(true)));
}

#[tokio::test(start_paused = true)]
async fn attachments_held_by_a_hung_node_are_told_apart() {
    let world = world();
    for (number, node) in [(0, "hung"), (1, "hung"), (2, "hung"), (3, "hung"), (4, "hung"), (5, "fine")] {
        let name = format!("pv{number}");
        world.api.put(volume(&name));
        world.api.put(attachment(&format!("va{number}"), &name, node));
        world.driver.always_for("ControllerPublishVolume", &sim::id_of(&name), Reply::Hang);
    }
    world.api.put(csi_node("hung"));
    world.api.put(csi_node("fine"));
    let (programs, people) = after(&world, 4, None, sleep(5 * SECOND)).await;
    let waits = waiting(&programs, "attach");
    let states = |state: &str| {
        let objects = waits["objects"].as_array().expect("objects");
        objects.iter().filter(|object| object["state"] == state).count()
    };
    assert_eq!((states("running"), states("nodeBusy")), (2, 4), "{waits}");
    let nodes = waits["nodes"].as_array().expect("nodes");
    let counts: Vec<(&Value, &Value)> = nodes.iter().map(|node| (&node["node"], &node["objects"])).collect();
    assert!(counts.contains(&(&json!("hung"), &json!(5))) && counts.len() == 2, "{waits}");
    assert!(people.contains("waits: its node uses its share"), "{people}");
}

#[tokio::test(start_paused = true)]
async fn leader_that_cannot_renew_its_lease_does_not_lead() {
    let world = world();
    let page = after(&world, 10, None, async {
        sleep(7 * SECOND).await;
        world.api.outage(Outage::Hanging, 60 * SECOND);
        // The renew deadline has passed, the lease has not run out.
        sleep(9 * SECOND).await;
    });
    let (programs, people) = page.await;
    let leads: Vec<&Value> =
        programs["leases"].as_array().expect("leases").iter().map(|lease| &lease["leads"]).collect();
    assert_eq!(leads, [false, false, false]);
    assert!(people.contains("does not lead"));
}

#[tokio::test(start_paused = true)]
async fn page_about_many_claims_shows_the_oldest_and_one() {
    let world = world();
    world.api.put(class());
    for number in 0..300 {
        world.api.put(provisioned(&format!("data-{number}")));
    }
    let text = "x".repeat(3_000);
    world.driver.always("CreateVolume", Reply::error(Code::ResourceExhausted, &text));
    let (one, (programs, people)) = during(&world, 10, async |metrics: Arc<Metrics>| {
        metrics.board().serve();
        sleep(30 * SECOND).await;
        (page(&metrics, Some("default/data-299")).0, page(&metrics, None))
    })
    .await;
    let waits = waiting(&programs, "provision");
    let shown = waits["objects"].as_array().map_or(0, Vec::len);
    assert_eq!((shown, &waits["more"]), (base::status::MOST_ITEMS, &json!(300 - shown)));
    assert!(people.len() < 60_000 && programs.to_string().len() < 60_000, "{}", people.len());
    let one = waiting(&one, "provision");
    assert_eq!((&one["objects"][0]["object"], &one["more"]), (&json!("default/data-299"), &json!(0)));
}
