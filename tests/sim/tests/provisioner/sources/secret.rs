//! The Secret of an open request goes, with the claim and its source. Does it come back?

use std::time::Duration;

use serde_json::{Value, json};
use sim::objects::{self, class, with};
use sim::{Binder, Fault, Reply, Running, World};
use tokio::time::sleep;
use tonic::Code;

use super::cloning;
use super::open::{knowing, world};
use crate::harness::{PROVISIONER, calls, claim, intents};

const SECOND: Duration = Duration::from_secs(1);

fn secret(namespace: &str) -> Value {
    objects::secret(namespace, "key", json!({"token": "aHVzaA=="}))
}

/// A clone is asked for, with a Secret of this namespace, and the driver does not answer in time.
async fn unanswered(namespace: &str) -> (World, Running, Binder) {
    let world = world();
    let key = json!({"csi.storage.k8s.io/provisioner-secret-name": "key", "csi.storage.k8s.io/provisioner-secret-namespace": namespace});
    world.api.put(with(class(), json!({"parameters": key})));
    world.api.put(secret(namespace));
    world.driver.script("CreateVolume", [Reply::error(Code::DeadlineExceeded, "slow")]);
    let binder = world.binder();
    let running = PROVISIONER.run(&world, knowing);
    world.api.put(cloning(claim("data")));
    while calls(&world).is_empty() {
        sleep(Duration::from_millis(1)).await;
    }
    (world, running, binder)
}

/// The Secret is in a namespace that stays, or may not be read for a while: the source is not let go of at the first look.
#[tokio::test(start_paused = true)]
async fn secret_that_comes_back_finds_its_source_held() {
    for namespace in ["drivers", "default"] {
        let (world, _running, _binder) = unanswered(namespace).await;
        let is_secret = |step: &sim::Step| step.is("get", "secrets");
        match namespace {
            "default" => world.steps.on(is_secret, 10_000, Fault::ApiError(403)),
            _ => assert!(world.api.delete("secrets", &format!("{namespace}/key"))),
        }
        for name in ["data", "source"] {
            world.api.delete("persistentvolumeclaims", name);
        }
        sleep(300 * SECOND).await;
        assert!(super::is_held(&world), "{namespace}: it may come back");
        sleep(1200 * SECOND).await;
        assert!(world.api.get("persistentvolumeclaims", "source").is_none(), "{namespace}: but not for ever");
        assert_eq!((calls(&world).len(), intents(&world).len()), (1, 1), "{namespace}");
    }
}

/// The Secret of the claim's own namespace is deleted and created again, and one try falls in between.
#[tokio::test(start_paused = true)]
async fn secret_that_is_replaced_finds_its_source_held() {
    let (world, _running, _binder) = unanswered("default").await;
    world.api.delete("secrets", "default/key");
    for name in ["data", "source"] {
        world.api.delete("persistentvolumeclaims", name);
    }
    sleep(30 * SECOND).await;
    assert!(super::is_held(&world), "it may come back");
    world.api.put(secret("default"));
    sleep(900 * SECOND).await;
    let called = calls(&world);
    assert_eq!(called.last().map(String::as_str), Some("DeleteVolume Some(Ok)"), "{called:?}");
    assert_eq!((intents(&world), world.api.get("persistentvolumeclaims", "source")), (vec![], None));
}
