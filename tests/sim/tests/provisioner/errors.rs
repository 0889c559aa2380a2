//! CreateVolume that fails, and what that leaves behind.

use std::time::Duration;

use csi::v1::{CreateVolumeRequest, CreateVolumeResponse, DeleteVolumeRequest};
use serde_json::json;
use sim::{Fault, Reply, World};
use tonic::Code;

use crate::harness::{LIMIT, bound, calls, claim, class, events, sidecar, waiting, writes};

fn creates(world: &World) -> usize {
    world.driver.calls_of("CreateVolume").len()
}

#[tokio::test(start_paused = true)]
async fn each_final_code_is_told_and_tried_again_with_back_off() {
    for code in (2..=16).map(Code::from) {
        let in_background = matches!(
            code,
            Code::DeadlineExceeded | Code::Aborted | Code::Unavailable | Code::InvalidArgument
        );
        if in_background {
            continue;
        }
        let world = World::default();
        let _binder = world.binder();
        world.api.put(class());
        world.api.put(claim("data"));
        world.driver.script("CreateVolume", [Reply::error(code, "no"), Reply::error(code, "no")]);
        let _running = world.run(Duration::from_secs(1), sidecar);
        bound(&world, "data").await;
        let at: Vec<_> = world.driver.calls_of("CreateVolume").iter().map(|call| call.at).collect();
        assert_eq!(at.len(), 3, "{code:?}");
        let pauses = [at[1] - at[0], at[2] - at[1]].map(|pause| pause.as_secs());
        assert_eq!(pauses, [1, 2], "{code:?}");
        let said = events(&world)
            .iter()
            .filter(|event| event.starts_with("ProvisioningFailed: rpc error: code = "))
            .count();
        assert_eq!(said, 1, "the repeated event is counted: {:?}", events(&world));
        assert_eq!(writes(&world), ["create persistentvolumes 201"], "{code:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn deleted_claim_is_retried_until_a_final_answer() {
    for code in [Code::Cancelled, Code::DeadlineExceeded, Code::Unavailable, Code::Aborted] {
        let world = World::default();
        let _binder = world.binder();
        world.api.put(class());
        world.api.put(claim("data"));
        // The driver made the volume although it says otherwise: only asking again finds it.
        world
            .driver
            .script("CreateVolume", [Reply::ErrorAfter(code, "later".into()), Reply::error(code, "later")]);
        let _running = world.run(Duration::from_secs(1), sidecar);
        world.api.until("the first call", LIMIT, |_| (creates(&world) == 1).then_some(())).await;
        world.api.delete("persistentvolumeclaims", "data");
        world
            .api
            .until("the driver to be empty again", LIMIT, |_| {
                (creates(&world) == 3 && world.driver.volumes().is_empty()).then_some(())
            })
            .await;
        world
            .api
            .until("the object to go", LIMIT, |api| (api.count("persistentvolumes") == 0).then_some(()))
            .await;
        assert_eq!(calls(&world).last().map(String::as_str), Some("DeleteVolume Some(Ok)"), "{code:?}");
        let requests = world.driver.calls_of("CreateVolume");
        let first = requests[0].request::<CreateVolumeRequest>().unwrap();
        assert!(
            requests.iter().all(|call| call.request::<CreateVolumeRequest>() == Some(first)),
            "the same request"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn deleted_claim_is_forgotten_after_a_final_error() {
    let world = World::default();
    let _binder = world.binder();
    world.api.put(class());
    world.api.put(claim("data"));
    world.driver.always("CreateVolume", Reply::error(Code::Internal, "no"));
    let _running = world.run(Duration::from_secs(1), sidecar);
    world.api.until("the first call", LIMIT, |_| (creates(&world) == 1).then_some(())).await;
    world.api.delete("persistentvolumeclaims", "data");
    tokio::time::sleep(LIMIT).await;
    // Its deletion is an event, which ends the pause once; then it is gone.
    assert!(creates(&world) <= 2, "{:?}", calls(&world));
    assert_eq!(writes(&world), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn refused_claim_waits_five_minutes_or_for_another_class() {
    let world = World::default();
    let _binder = world.binder();
    world.api.put(class());
    world.api.put(claim("data"));
    world.driver.always("CreateVolume", Reply::error(Code::InvalidArgument, "never"));
    let _running = world.run(Duration::from_secs(1), sidecar);
    tokio::time::sleep(Duration::from_secs(299)).await;
    assert_eq!(creates(&world), 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(creates(&world), 2);
    let said = events(&world);
    let slow = "ProvisioningFailed: Volume provisioning failed with infeasible error. Retries will be delayed. rpc error: code = InvalidArgument desc = never";
    assert!(said.contains(&slow.to_owned()), "{said:?}");
    world.driver.be_honest();
    world.api.delete("storageclasses", "fast");
    world.api.put(class());
    let recreated = tokio::time::Instant::now();
    bound(&world, "data").await;
    assert!(recreated.elapsed() < Duration::from_secs(5), "took {:?}", recreated.elapsed());
}

#[tokio::test(start_paused = true)]
async fn recreated_class_takes_turns_with_what_was_sent() {
    let world = World::default();
    let _binder = world.binder();
    let mut wrong = class();
    wrong["parameters"] = json!({"cluster": "unreachable"});
    world.api.put(wrong);
    world.api.put(claim("data"));
    let away = || Reply::error(Code::Unavailable, "away");
    world.driver.script("CreateVolume", [away(), away(), away()]);
    let _running = world.run(Duration::from_secs(1), sidecar);
    world.api.until("the first call", LIMIT, |_| (creates(&world) == 1).then_some(())).await;
    world.api.delete("storageclasses", "fast");
    world.api.put(class());
    bound(&world, "data").await;
    let calls = world.driver.calls_of("CreateVolume");
    let old = |call: &sim::Call| !call.request::<CreateVolumeRequest>().unwrap().parameters.is_empty();
    assert_eq!(calls.iter().map(old).collect::<Vec<_>>(), [true, false, true, false]);
}

#[tokio::test(start_paused = true)]
async fn deleted_claim_is_dropped_only_after_a_final_error() {
    let world = World::default();
    let _binder = world.binder();
    let mut with_secret = class();
    with_secret["parameters"] = json!({
        "csi.storage.k8s.io/provisioner-secret-name": "key",
        "csi.storage.k8s.io/provisioner-secret-namespace": "default",
    });
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key", "namespace": "default"},
        "data": {"token": "aHVzaA=="},
    });
    world.api.put(with_secret);
    world.api.put(secret.clone());
    world.api.put(claim("data"));
    let (away, refused) = (Reply::error(Code::Unavailable, "away"), Reply::error(Code::Internal, "no"));
    world.driver.script("CreateVolume", [away, refused]);
    let _running = world.run(Duration::from_secs(1), sidecar);
    world.api.until("the first call", LIMIT, |_| (creates(&world) == 1).then_some(())).await;
    world.api.delete("secrets", "key");
    world.api.delete("persistentvolumeclaims", "data");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(creates(&world), 1, "nothing is sent without the secret");
    world.api.put(secret);
    world.api.until("the second call", LIMIT, |_| (creates(&world) == 2).then_some(())).await;
    tokio::time::sleep(LIMIT).await;
    assert_eq!(creates(&world), 2, "a final answer ends it");
    assert_eq!(writes(&world), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn corrected_class_provisions_a_refused_claim() {
    for (parameters, text) in [
        (json!({"csi.storage.k8s.io/no-such-key": "x"}), "csi.storage.k8s.io/no-such-key"),
        (json!({"fstype": "ext4", "FsType": "xfs"}), "both name a file system"),
        (json!({"csi.storage.k8s.io/secret-name": "key"}), "csi.storage.k8s.io/secret-namespace"),
        (
            json!({"csi.storage.k8s.io/secret-name": "${no.token}", "csi.storage.k8s.io/secret-namespace": "ns"}),
            "no.token",
        ),
    ] {
        let world = World::default();
        let _binder = world.binder();
        let mut wrong = class();
        wrong["parameters"] = parameters;
        world.api.put(wrong);
        world.api.put(claim("data"));
        let _running = world.run(Duration::from_secs(1), sidecar);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!((calls(&world), writes(&world)), (vec![], vec![]), "{text}");
        let said = events(&world);
        let told = |event: &String| event.starts_with("ProvisioningFailed: ") && event.contains(text);
        assert!(said.iter().any(told), "{text}: {said:?}");
        world.api.delete("storageclasses", "fast");
        world.api.put(class());
        bound(&world, "data").await;
        assert_eq!(calls(&world), ["CreateVolume Some(Ok)"], "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn volume_that_is_too_small_is_deleted_and_asked_for_again() {
    let world = World::default();
    let _binder = world.binder();
    world.api.put(class());
    world.api.put(claim("data"));
    let small = Reply::edit(|reply: &mut CreateVolumeResponse| {
        if let Some(volume) = &mut reply.volume {
            volume.capacity_bytes -= 1;
        }
    });
    world.driver.script("CreateVolume", [small]);
    let _running = world.run(Duration::from_secs(1), sidecar);
    bound(&world, "data").await;
    assert_eq!(calls(&world), ["CreateVolume Some(Ok)", "DeleteVolume Some(Ok)", "CreateVolume Some(Ok)"]);
    let made =
        world.driver.calls_of("DeleteVolume")[0].request::<DeleteVolumeRequest>().unwrap().volume_id.clone();
    let used = world.api.list("persistentvolumes")[0]["spec"]["csi"]["volumeHandle"].clone();
    assert!(used != json!(made) && world.driver.volumes().contains_key(used.as_str().unwrap()), "{used}");
    let said = events(&world);
    assert!(
        said.iter().any(|event| event.contains("1073741823 less than requested capacity 1073741824")),
        "{said:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn size_zero_means_the_size_that_was_asked_for() {
    let world = World::default();
    let _binder = world.binder();
    world.api.put(class());
    world.api.put(claim("data"));
    let silent = Reply::edit(|reply: &mut CreateVolumeResponse| {
        if let Some(volume) = &mut reply.volume {
            volume.capacity_bytes = 0;
        }
    });
    world.driver.script("CreateVolume", [silent]);
    let _running = world.run(Duration::from_secs(1), sidecar);
    bound(&world, "data").await;
    assert_eq!(world.api.list("persistentvolumes")[0]["spec"]["capacity"]["storage"], json!("1Gi"));
}

#[tokio::test(start_paused = true)]
async fn failed_object_creation_is_retried_without_another_call() {
    for fault in [Fault::ApiError(500), Fault::ApiError(403), Fault::LoseReply] {
        let world = World::default();
        let _binder = world.binder();
        world.api.put(class());
        world.api.put(claim("data"));
        world.steps.on(|step| step.is("create", "persistentvolumes"), 3, fault.clone());
        let _running = world.run(Duration::from_secs(1), sidecar);
        bound(&world, "data").await;
        tokio::time::sleep(LIMIT).await;
        assert_eq!(calls(&world), ["CreateVolume Some(Ok)"], "{fault:?}");
        assert_eq!(world.api.count("persistentvolumes"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn secret_goes_to_the_driver_and_a_missing_one_is_waited_for() {
    let world = World::default();
    let _binder = world.binder();
    let mut class = class();
    class["parameters"] = json!({
        "csi.storage.k8s.io/provisioner-secret-name": "key-of-${pvc.name}",
        "csi.storage.k8s.io/provisioner-secret-namespace": "default",
    });
    world.api.put(class);
    world.api.put(claim("data"));
    let _running = world.run(Duration::from_secs(1), sidecar);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(calls(&world), Vec::<String>::new());
    assert!(events(&world).iter().any(|event| event.contains("key-of-data")), "{:?}", events(&world));
    world.api.put(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key-of-data", "namespace": "default"},
        "data": {"token": "aHVzaA=="},
    }));
    bound(&world, "data").await;
    let secrets =
        world.driver.calls_of("CreateVolume")[0].request::<CreateVolumeRequest>().unwrap().secrets.clone();
    assert_eq!(secrets.get("token").map(String::as_str), Some("hush"));
    assert!(!events(&world).iter().any(|event| event.contains("hush")));
    world.api.delete("persistentvolumeclaims", "data");
    crate::harness::no_volumes(&world).await;
    let secrets =
        world.driver.calls_of("DeleteVolume")[0].request::<DeleteVolumeRequest>().unwrap().secrets.clone();
    assert_eq!(secrets.get("token").map(String::as_str), Some("hush"));
}

#[tokio::test(start_paused = true)]
async fn one_hung_volume_holds_back_no_other() {
    let world = World::default();
    let _binder = world.binder();
    world.api.put(class());
    let hung = world.api.put(claim("hung"));
    let id = sim::id_of(&format!("pvc-{}", hung["metadata"]["uid"].as_str().unwrap()));
    world.driver.always_for("CreateVolume", &id, Reply::Hang);
    let _running = world.run(Duration::from_secs(1), sidecar);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = tokio::time::Instant::now();
    for number in 0..50 {
        world.api.put(claim(&format!("data-{number}")));
    }
    for number in 0..50 {
        bound(&world, &format!("data-{number}")).await;
    }
    assert!(began.elapsed() < Duration::from_secs(5), "took {:?}", began.elapsed());
}

/// Each try tells the same. Of each type the Go recorder writes 25 events about an object at once, and then one each five minutes.
#[tokio::test(start_paused = true)]
async fn claim_that_fails_all_day_costs_no_more_writes_than_in_go() {
    let world = World::default();
    world.api.put(class());
    world.api.put(waiting("data"));
    world.driver.always("CreateVolume", Reply::error(Code::Internal, "no"));
    let _running = world.run(Duration::from_secs(1), sidecar);
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    let tries = creates(&world);
    let requests = world.api.requests();
    let written = requests.iter().filter(|one| one.resource == "events" && one.is_write());
    let (written, objects) = (written.count(), world.api.list("events"));
    assert!((290..=310).contains(&tries), "{tries} tries");
    assert!(written <= 2 * (25 + 24 * 12), "{written} writes for {tries} tries");
    assert_eq!(objects.len(), 2, "one of each kind, with a count: {:?}", events(&world));
    let count = |reason: &str| objects.iter().find(|event| event["reason"] == reason)?["count"].as_u64();
    for reason in ["Provisioning", "ProvisioningFailed"] {
        let told = count(reason).unwrap_or_default();
        assert!(told + 2 >= tries as u64, "{reason}: {told} of {tries}");
    }
}
