//! The API server refuses what is to be written down: then requests are sent without.

use std::time::Duration;

use serde_json::json;
use sim::{ApiServer, Fault, Reply};
use tokio::time::sleep;

use super::{SECOND, world};
use crate::harness::{bound, calls, claim, events, intents, logged, remembering};

#[test]
fn account_without_the_right_provisions_as_upstream_and_says_so() {
    let log = logged(async {
        let world = world();
        let _binder = world.binder();
        let rules = json!([
            {"apiGroups": [""], "resources": ["persistentvolumes", "persistentvolumeclaims", "events"], "verbs": ["*"]},
            {"apiGroups": ["storage.k8s.io"], "resources": ["*"], "verbs": ["*"]},
        ]);
        world.api.grant_only("sidecar", ApiServer::rules(rules).expect("rules"));
        world.api.put(claim("data"));
        world.api.put(claim("more"));
        let _running = world.run(SECOND, remembering);
        bound(&world, "data").await;
        bound(&world, "more").await;
        assert_eq!((calls(&world).len(), intents(&world)), (2, vec![]));
    });
    assert_eq!(log.matches("Requests are not written down before they are sent").count(), 1, "{log}");
    let rule = "verbs: [\\\"get\\\", \\\"list\\\", \\\"create\\\", \\\"update\\\", \\\"delete\\\"]";
    for remedy in [rule, "namespace=\"default\"", "--volume-intents=false"] {
        assert!(log.contains(remedy), "{remedy}: {log}");
    }
}

/// An admission webhook, a role, a proxy, an admission policy, a limit of sizes.
#[test]
fn refusal_of_one_write_holds_up_nobody_who_came_meanwhile() {
    for code in [400, 403, 404, 405, 413, 415, 422] {
        let log = logged(async {
            let world = world();
            let _binder = world.binder();
            world.api.set_latency(Duration::from_millis(50));
            world.steps.on(|step| step.is("create", "leases"), 1, Fault::ApiError(code));
            for number in 0..10 {
                world.api.put(claim(&format!("data-{number}")));
                sleep(Duration::from_millis(20)).await;
            }
            let _running = world.run(SECOND, remembering);
            sleep(30 * SECOND).await;
            assert_eq!(calls(&world).len(), 10, "{code}: all of them go on without");
            assert_eq!(intents(&world), Vec::<String>::new(), "{code}");
            assert!(!events(&world).iter().any(|event| event.contains("cannot write down")), "{code}");
            sleep(60 * SECOND).await;
            world.api.put(claim("later"));
            bound(&world, "later").await;
            assert_eq!(intents(&world).len(), 1, "{code}: a minute later it is tried again");
        });
        let told = log.matches("Requests are not written down before they are sent").count();
        assert_eq!(told, 1, "{code}: {log}");
    }
}

/// A later leader, who is refused nothing, still finds what is there.
#[tokio::test(start_paused = true)]
async fn refused_update_keeps_what_is_written_down() {
    for code in [400, 405, 413, 422] {
        let world = world();
        let _binder = world.binder();
        world.driver.script("CreateVolume", (0..2).map(|_| Reply::Ok.after(5 * SECOND)));
        world.api.put(claim("data"));
        let running = world.run(20 * SECOND, remembering);
        sleep(2 * SECOND).await;
        world.steps.on(|step| step.is("update", "leases"), 1, Fault::ApiError(code));
        world.api.put(claim("more"));
        sleep(SECOND).await;
        assert_eq!(
            (calls(&world).len(), intents(&world).len()),
            (2, 1),
            "{code}: the second goes on without"
        );
        running.kill();
        world.api.delete("persistentvolumeclaims", "data");
        sleep(600 * SECOND).await;
        bound(&world, "more").await;
        assert_eq!((world.driver.volumes().len(), intents(&world)), (1, vec![]), "{code}");
    }
}

/// As an admission webhook does that is gone for good.
#[test]
fn writes_that_fail_for_five_minutes_are_done_without() {
    let log = logged(async {
        let world = world();
        let _binder = world.binder();
        world.steps.on(|step| step.is("create", "leases"), 200, Fault::ApiError(500));
        let _running = world.run(SECOND, remembering);
        for number in 0..10 {
            world.api.put(claim(&format!("data-{number}")));
        }
        sleep(240 * SECOND).await;
        assert_eq!(calls(&world).len(), 0, "a server may fail for a while");
        sleep(660 * SECOND).await;
        assert_eq!((calls(&world).len(), intents(&world)), (10, vec![]), "they go on without");
    });
    assert_eq!(log.matches("Requests are not written down before they are sent").count(), 1, "{log}");
}

/// Nobody is told for a failure now and then.
#[test]
fn writes_that_fail_far_apart_are_not_done_without() {
    let log = logged(async {
        let world = world();
        let _binder = world.binder();
        let _running = world.run(SECOND, remembering);
        for number in 0..3 {
            let write = |step: &sim::Step| step.is("create", "leases") || step.is("update", "leases");
            world.steps.on(write, 1, Fault::ApiError(500));
            let name = format!("data-{number}");
            world.api.put(claim(&name));
            bound(&world, &name).await;
            assert_eq!(intents(&world).len(), 1, "{name}");
            sleep(600 * SECOND).await;
        }
    });
    assert_eq!(log.matches("Requests are not written down before they are sent").count(), 0, "{log}");
}
