//! Requests whose claim and Secret are both gone.

use serde_json::{Value, json};
use sim::objects::{secret, with};
use sim::{Running, World};
use tokio::time::sleep;

use super::{SECOND, killed_in_the_call, world};
use crate::harness::{calls, class, events, intents, logged, no_volumes};

fn key() -> Value {
    secret("default", "key", json!({"token": "aHVzaA=="}))
}

/// The process was killed in the call. Then somebody deleted the claim and the Secret that the request is sent with.
async fn orphaned(world: &World) -> Running {
    let names = json!({"csi.storage.k8s.io/provisioner-secret-name": "key", "csi.storage.k8s.io/provisioner-secret-namespace": "default"});
    world.api.put(with(class(), json!({"parameters": names})));
    world.api.put(key());
    let running = killed_in_the_call(world).await;
    world.api.delete("persistentvolumeclaims", "data");
    world.api.delete("secrets", "key");
    running
}

/// How often the sidecar has asked for a Secret.
fn looks(world: &World) -> usize {
    let requests = world.api.requests();
    requests.iter().filter(|request| request.who == "sidecar" && request.resource == "secrets").count()
}

/// The driver may have made a volume: the request is kept, and sent when the Secret is there again.
#[test]
fn waits_for_its_secret_and_is_told_once_a_day() {
    let log = logged(async {
        let world = world();
        let _binder = world.binder();
        let _running = orphaned(&world).await;
        let before = events(&world).len();
        sleep(36 * 3600 * SECOND).await;
        assert_eq!((calls(&world).len(), intents(&world).len()), (1, 1), "it is not forgotten");
        let told = events(&world).split_off(before);
        assert_eq!(told.len(), 1, "{told:?}");
        let begins = "ProvisioningFailed: error getting secret key in namespace default: secrets \"key\" not found. The claim";
        assert!(told[0].starts_with(begins), "as upstream's: {told:?}");
        let looks = looks(&world);
        assert!(looks < 36 * 13, "{looks} looks: as often as --retry-interval-max says");
        world.api.put(key());
        sleep(300 * SECOND).await;
        assert_eq!(calls(&world)[1], "CreateVolume Some(Ok)", "at the next try");
        no_volumes(&world).await;
        sleep(60 * SECOND).await;
        assert_eq!((world.driver.volumes().len(), intents(&world)), (0, vec![]));
    });
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("waits for its Secret")).collect();
    assert_eq!((lines.len(), log.matches("Provisioning failed").count()), (2, 0), "{lines:?}");
    for remedy in
        ["W", "secret=\"default/key\"", "create the Secret default/key again", "intent.mooring.dev/"]
    {
        assert!(lines[0].contains(remedy), "{remedy}: {}", lines[0]);
    }
}
