//! Claims that are served, and claims that are left alone.

use std::time::Duration;

use serde_json::{Value, json};
use sim::{Fault, World};

use crate::harness::{
    LIMIT, PROVISIONER, bound, calls, claim, class, events, no_volumes, sidecar, waiting, writes,
};

/// Long enough for anything that would come to have come.
const QUIET: Duration = Duration::from_secs(120);

fn edited(mut object: Value, change: impl FnOnce(&mut Value)) -> Value {
    change(&mut object);
    object
}

#[tokio::test(start_paused = true)]
async fn claim_costs_two_calls_and_three_writes_in_its_life() {
    let world = World::default();
    let _binder = world.binder();
    world.api.put(class());
    world.api.put(claim("data"));
    let _running = world.run(Duration::from_secs(1), sidecar);
    bound(&world, "data").await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(calls(&world), ["CreateVolume Some(Ok)"]);
    assert_eq!(writes(&world), ["create persistentvolumes 201"]);
    let uid = world.api.get("persistentvolumeclaims", "data").unwrap()["metadata"]["uid"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        events(&world),
        [
            "Provisioning: External provisioner is provisioning volume for claim \"default/data\"".to_owned(),
            format!("ProvisioningSucceeded: Successfully provisioned volume pvc-{uid}"),
        ]
    );
    world.api.clear_requests();
    world.driver.clear_calls();
    world.api.delete("persistentvolumeclaims", "data");
    no_volumes(&world).await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(calls(&world), ["DeleteVolume Some(Ok)"]);
    assert_eq!(writes(&world), ["delete persistentvolumes 200", "patch persistentvolumes 200"]);
    assert!(world.driver.volumes().is_empty());
    assert_eq!(events(&world).len(), 2, "no event on a deletion that worked");
}

#[tokio::test(start_paused = true)]
async fn claims_that_are_not_ours_or_not_yet_ours_are_left_alone() {
    let late = edited(class(), |class| class["volumeBindingMode"] = json!("WaitForFirstConsumer"));
    let foreign = edited(class(), |class| class["provisioner"] = json!("other.example"));
    let annotated = |provisioner: &str| {
        edited(claim("data"), |claim| {
            claim["metadata"]["annotations"] =
                json!({"volume.kubernetes.io/storage-provisioner": provisioner});
        })
    };
    let bound_already =
        edited(annotated("driver.example"), |claim| claim["spec"]["volumeName"] = json!("by-hand"));
    for (name, class, claim) in [
        ("late binding without a node", late, annotated("driver.example")),
        ("class of another provisioner", foreign.clone(), claim("data")),
        ("class of another provisioner, named to us", foreign, annotated("driver.example")),
        ("annotation of another provisioner", class(), annotated("other.example")),
        ("bound already", class(), bound_already),
    ] {
        let world = PROVISIONER.case(name, [class, claim]).ends_with(&[], &[]).await;
        assert_eq!(events(&world), Vec::<String>::new(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn claim_for_a_volume_populator_is_left_to_it_with_one_notice() {
    let world = World::default();
    let _binder = world.binder();
    world.api.put(class());
    let from_dump = || {
        edited(claim("data"), |claim| {
            claim["spec"]["dataSourceRef"] = json!({"apiGroup": "example.com", "kind": "Dump", "name": "d"});
        })
    };
    world.api.put(from_dump());
    let _running = world.run(Duration::from_secs(1), sidecar);
    tokio::time::sleep(QUIET).await;
    assert_eq!((calls(&world), writes(&world)), (vec![], vec![]));
    let notice = "Provisioning: Assuming an external populator will provision the volume";
    assert_eq!(events(&world), [notice]);
    assert_eq!(world.api.list("events")[0]["type"], "Normal");
    let told = world.api.list("events");
    for value in ["a", "b"] {
        let label = |object: &mut Value| object["metadata"]["labels"] = json!({"label": value});
        world.api.edit("persistentvolumeclaims", "data", label);
        tokio::time::sleep(QUIET).await;
        world.api.edit("storageclasses", "fast", label);
        tokio::time::sleep(QUIET).await;
    }
    assert_eq!(world.api.list("events"), told, "told once, whatever changes");
    world.api.delete("persistentvolumeclaims", "data");
    tokio::time::sleep(QUIET).await;
    world.api.put(from_dump());
    tokio::time::sleep(QUIET).await;
    assert_eq!(events(&world), [notice, notice], "another claim of the name is told too");
    assert_eq!((calls(&world), writes(&world)), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn data_source_in_another_namespace_is_refused() {
    for kind in ["Dump", "VolumeSnapshot", "PersistentVolumeClaim"] {
        let world = World::default();
        let _binder = world.binder();
        world.api.put(class());
        world.api.put(edited(claim("data"), |claim| {
            claim["spec"]["dataSourceRef"] =
                json!({"apiGroup": "example.com", "kind": kind, "name": "d", "namespace": "elsewhere"});
        }));
        let _running = world.run(Duration::from_secs(1), sidecar);
        tokio::time::sleep(QUIET).await;
        assert_eq!((calls(&world), writes(&world)), (vec![], vec![]), "{kind}");
        let said = events(&world);
        let told = |event: &String| {
            event.starts_with("ProvisioningFailed: ") && event.contains("spec.dataSourceRef.namespace")
        };
        assert!(said.iter().any(told), "{kind}: {said:?}");
        assert!(!said.iter().any(|event| event.contains("populator")), "{kind}: {said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn volume_removed_before_its_creation_reply_is_made_again() {
    let world = World::default();
    world.api.put(class());
    let made = world.api.put(waiting("data"));
    let name = format!("pvc-{}", made["metadata"]["uid"].as_str().unwrap());
    let late = Fault::LateReply(Duration::from_secs(10));
    world.steps.on(|step| step.is("create", "persistentvolumes"), 1, late);
    let _running = world.run(Duration::from_secs(1), sidecar);
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.api.edit("persistentvolumes", &name, |volume| volume["metadata"]["finalizers"] = json!([]));
    world.api.delete("persistentvolumes", &name);
    world.api.edit_if_there("persistentvolumes", &name, |volume| {
        volume["metadata"]["finalizers"] = json!([]);
    });
    assert_eq!(world.api.count("persistentvolumes"), 0);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(world.api.count("persistentvolumes"), 1, "nobody has touched the claim");
    let _binder = world.binder();
    bound(&world, "data").await;
    assert_eq!(writes(&world), ["create persistentvolumes 201", "create persistentvolumes 201"]);
    assert_eq!(world.driver.volumes().len(), 1);
}

/// Takes a volume away, whatever holds it.
fn take_away(world: &World, name: &str) {
    world.api.edit("persistentvolumes", name, |volume| volume["metadata"]["finalizers"] = json!([]));
    world.api.delete("persistentvolumes", name);
    assert_eq!(world.api.get("persistentvolumes", name), None);
}

#[tokio::test(start_paused = true)]
async fn volume_that_comes_and_goes_unseen_is_made_again() {
    // The last number keeps the object unsaved for longer than the pause between two looks at the claim.
    for refused in [0, 1, 14] {
        let world = World::default();
        world.api.put(class());
        let made = world.api.put(waiting("data"));
        let name = format!("pvc-{}", made["metadata"]["uid"].as_str().unwrap());
        world.steps.on(|step| step.is("create", "persistentvolumes"), refused, Fault::ApiError(500));
        let late = Fault::LateReply(Duration::from_secs(10));
        world.steps.on(|step| step.is("create", "persistentvolumes"), 1, late);
        world.api.delay_watch(Duration::from_secs(3));
        let _running = world.run(Duration::from_secs(1), sidecar);
        world.api.until("the object", LIMIT, |api| (api.count("persistentvolumes") == 1).then_some(())).await;
        take_away(&world, &name);
        world.api.expire_history();
        world.api.break_watches();
        world.api.delay_watch(Duration::ZERO);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(world.api.count("persistentvolumes"), 1, "nobody has touched the claim");
        let _binder = world.binder();
        bound(&world, "data").await;
        tokio::time::sleep(QUIET).await;
        assert_eq!(writes(&world).len(), refused + 2, "{:?}", writes(&world));
        assert_eq!(calls(&world), ["CreateVolume Some(Ok)", "CreateVolume Some(Ok)"]);
    }
}

#[tokio::test(start_paused = true)]
async fn volume_deleted_before_it_is_bound_is_made_again() {
    for lag in [Duration::ZERO, Duration::from_secs(40)] {
        let world = World::default();
        world.api.put(class());
        let made = world.api.put(waiting("data"));
        let name = format!("pvc-{}", made["metadata"]["uid"].as_str().unwrap());
        let _running = world.run(Duration::from_secs(1), sidecar);
        tokio::time::sleep(QUIET).await;
        assert_eq!(writes(&world), ["create persistentvolumes 201"]);
        world.api.delay_watch(lag);
        take_away(&world, &name);
        tokio::time::sleep(lag + Duration::from_secs(1)).await;
        assert_eq!(world.api.count("persistentvolumes"), 1, "{lag:?}");
        world.api.delay_watch(Duration::ZERO);
        let _binder = world.binder();
        bound(&world, "data").await;
        tokio::time::sleep(QUIET).await;
        take_away(&world, &name);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(calls(&world), ["CreateVolume Some(Ok)", "CreateVolume Some(Ok)"]);
        assert_eq!(
            writes(&world),
            ["create persistentvolumes 201", "create persistentvolumes 201"],
            "a bound claim gets no other volume"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn deleted_volume_is_not_made_again_for_a_stale_claim() {
    let world = World::default();
    world.api.put(class());
    let made = world.api.put(waiting("data"));
    let uid = made["metadata"]["uid"].as_str().unwrap();
    let mut volume = crate::harness::released(&format!("pvc-{uid}"));
    volume["spec"]["claimRef"] = json!({"namespace": "default", "name": "data", "uid": uid});
    let made = world.api.put(volume);
    let _running = world.run(Duration::from_secs(1), sidecar);
    tokio::time::sleep(QUIET).await;
    take_away(&world, made["metadata"]["name"].as_str().unwrap());
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(calls(&world), ["DeleteVolume Some(Ok)"]);
    assert_eq!(writes(&world), ["delete persistentvolumes 200", "patch persistentvolumes 200"]);
    assert_eq!(events(&world), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn claim_whose_volume_becomes_another_s_is_told() {
    let foreign = |volume: &mut Value| {
        volume["metadata"]["annotations"] = json!({});
        volume["metadata"]["finalizers"] = json!([]);
        volume["spec"]["csi"]["driver"] = json!("other.example");
    };
    for made_anew in [false, true] {
        let world = World::default();
        world.api.put(class());
        let made = world.api.put(waiting("data"));
        let name = format!("pvc-{}", made["metadata"]["uid"].as_str().unwrap());
        let _running = world.run(Duration::from_secs(1), sidecar);
        tokio::time::sleep(QUIET).await;
        assert_eq!(writes(&world), ["create persistentvolumes 201"]);
        if made_anew {
            take_away(&world, &name);
            let mut anew = crate::harness::released(&name);
            anew["spec"]["persistentVolumeReclaimPolicy"] = json!("Retain");
            anew["metadata"]["finalizers"] = json!([]);
            world.api.put(anew);
            world.api.expire_history();
            world.api.break_watches();
        } else {
            world.api.edit("persistentvolumes", &name, foreign);
        }
        let there = world.api.get("persistentvolumes", &name);
        tokio::time::sleep(QUIET).await;
        let said = events(&world);
        let told = |event: &String| {
            event.starts_with("ProvisioningFailed: ") && event.contains("already exists and ")
        };
        assert!(said.iter().any(told), "{made_anew}: {said:?}");
        assert_eq!(world.api.get("persistentvolumes", &name), there);
        let writes = writes(&world);
        assert!(writes.iter().skip(1).all(|write| write == "create persistentvolumes 409"), "{writes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn late_binding_claim_is_served_once_its_node_is_chosen() {
    let world = World::default();
    let _binder = world.binder();
    world.api.put(edited(class(), |class| class["volumeBindingMode"] = json!("WaitForFirstConsumer")));
    world.api.put(claim("data"));
    let _running = world.run(Duration::from_secs(1), sidecar);
    tokio::time::sleep(QUIET).await;
    assert_eq!(calls(&world), Vec::<String>::new());
    world.api.edit("persistentvolumeclaims", "data", |claim| {
        claim["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] = json!("node-1");
    });
    bound(&world, "data").await;
    assert_eq!(calls(&world), ["CreateVolume Some(Ok)"]);
}

#[tokio::test(start_paused = true)]
async fn claim_is_provisioned_when_its_class_appears() {
    let world = World::default();
    let _binder = world.binder();
    world.api.put(waiting("data"));
    let _running = world.run(Duration::from_secs(1), sidecar);
    tokio::time::sleep(QUIET).await;
    assert_eq!((calls(&world), events(&world)), (vec![], vec![]), "no event for a class that is missing");
    world.api.put(class());
    let appeared = tokio::time::Instant::now();
    bound(&world, "data").await;
    assert!(
        appeared.elapsed() < Duration::from_secs(1),
        "it waited for its back-off: {:?}",
        appeared.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn volume_that_exists_already_is_not_made_again() {
    let world = World::default();
    let _binder = world.binder();
    world.api.put(class());
    let made = world.api.put(claim("data"));
    let uid = made["metadata"]["uid"].as_str().unwrap();
    let mut volume = crate::harness::released(&format!("pvc-{uid}"));
    volume["spec"]["claimRef"] = json!({"namespace": "default", "name": "data", "uid": uid});
    volume["status"]["phase"] = json!("Available");
    world.api.put(volume);
    let _running = world.run(Duration::from_secs(1), sidecar);
    bound(&world, "data").await;
    tokio::time::sleep(QUIET).await;
    assert_eq!((calls(&world), writes(&world), events(&world)), (vec![], vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn volume_of_the_claim_s_name_that_is_another_s_is_not_touched() {
    let world = World::default();
    world.api.put(class());
    let made = world.api.put(waiting("data"));
    let name = format!("pvc-{}", made["metadata"]["uid"].as_str().unwrap());
    let mut volume = crate::harness::released(&name);
    volume["spec"]["persistentVolumeReclaimPolicy"] = json!("Retain");
    volume["metadata"]["finalizers"] = json!([]);
    volume["spec"]["csi"]["driver"] = json!("other.example");
    volume["metadata"]["annotations"] = json!({});
    world.api.put(volume);
    let _running = world.run(Duration::from_secs(1), sidecar);
    tokio::time::sleep(QUIET).await;
    let said = events(&world);
    assert!(
        said.iter().any(|event| event.contains(&name) && event.contains("belongs to claim default/gone")),
        "{said:?}"
    );
    assert!(!said.iter().any(|event| event.contains("delete it")), "it is somebody's: {said:?}");
    assert!(
        writes(&world).iter().all(|write| write == "create persistentvolumes 409"),
        "{:?}",
        writes(&world)
    );
    assert_eq!(world.api.count("persistentvolumes"), 1);
    assert_eq!(calls(&world), ["CreateVolume Some(Ok)"], "it is made once");
    let _binder = world.binder();
    world.api.delete("persistentvolumes", &name);
    bound(&world, "data").await;
    assert_eq!(calls(&world), ["CreateVolume Some(Ok)"], "what was made is used once the name is free");
}

#[tokio::test(start_paused = true)]
async fn quiet_cluster_costs_no_write_and_no_call() {
    let world = World::default();
    let _binder = world.binder();
    world.api.put(class());
    for number in 0..20 {
        world.api.put(claim(&format!("data-{number}")));
    }
    let _running = world.run(Duration::from_secs(1), sidecar);
    for number in 0..20 {
        bound(&world, &format!("data-{number}")).await;
    }
    tokio::time::sleep(QUIET).await;
    world.api.clear_requests();
    world.driver.clear_calls();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!((calls(&world), writes(&world)), (vec![], vec![]));
    let lists = world.api.requests().iter().filter(|request| request.verb == "list").count();
    assert_eq!(lists, 0, "an hour of quiet needs no list");
}
