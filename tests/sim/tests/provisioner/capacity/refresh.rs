//! When capacities are asked for, and that nothing is written while nothing changes.

use sim::objects::claim;
use sim::{Fault, Reply};
use tokio::time::sleep;
use tonic::Code;

use super::*;
use crate::harness::{bound, no_volumes, waiting, writes};
use crate::topology::{SELECTED, late, selected, set_room};

const GIB: i64 = 1 << 30;

/// A running provisioner, its objects made, and nothing counted yet.
async fn settled(objects: &[Value]) -> (World, sim::Running) {
    let world = two_zones();
    set_room(&world, "z1", 10 * GIB);
    set_room(&world, "z2", 20 * GIB);
    objects.iter().for_each(|object| drop(world.api.put(object.clone())));
    let running = PUBLISHING.run(&world, |_| {});
    sleep(Duration::from_secs(5)).await;
    forget(&world);
    (world, running)
}

fn forget(world: &World) {
    world.api.clear_requests();
    world.driver.clear_calls();
}

#[tokio::test(start_paused = true)]
async fn quiet_hour_costs_a_call_a_minute_and_item_and_no_write() {
    let (world, _running) = settled(&[class_called("fast"), class_called("slow")]).await;
    sleep(Duration::from_secs(3600)).await;
    assert_eq!((writes(&world), changes(&world)), (vec![], vec![]));
    assert_eq!(asked(&world).len(), 4 * 60);
    let requests = world.api.requests();
    let other: Vec<_> =
        requests.iter().filter(|request| request.who == "sidecar" && request.verb != "watch").collect();
    assert!(other.is_empty(), "{other:?}");
}

#[tokio::test(start_paused = true)]
async fn poll_sees_what_changed_at_the_driver() {
    let (world, _running) = settled(&[late()]).await;
    set_room(&world, "z2", GIB);
    sleep(POLL).await;
    assert_eq!(asked(&world), ["zone=z1", "zone=z2"]);
    assert_eq!(changes(&world), ["patch 200"]);
    assert_eq!(published(&world), ["fast [zone=z1] 10Gi -", "fast [zone=z2] 1Gi -"]);
}

#[tokio::test(start_paused = true)]
async fn volume_that_comes_or_goes_refreshes_its_segment() {
    let (world, _running) = settled(&[class_called("fast"), class_called("slow")]).await;
    let _binder = world.binder();
    world.api.put(selected("data", "node-2"));
    bound(&world, "data").await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(asked(&world), ["zone=z2 kind=fast", "zone=z2 kind=slow"]);
    assert_eq!(published(&world)[1], "fast [zone=z2] 19Gi -");
    forget(&world);
    world.api.delete("persistentvolumeclaims", "data");
    no_volumes(&world).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(asked(&world), ["zone=z2 kind=fast", "zone=z2 kind=slow"]);
    assert_eq!(published(&world)[1], "fast [zone=z2] 20Gi -");
}

#[tokio::test(start_paused = true)]
async fn failure_refreshes_the_class() {
    let (world, _running) = settled(&[class_called("fast"), class_called("slow")]).await;
    world.driver.script("CreateVolume", [Reply::error(Code::ResourceExhausted, "no room")]);
    world.api.put(selected("data", "node-2"));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(asked(&world), ["zone=z1 kind=fast", "zone=z2 kind=fast"]);
    forget(&world);
    world.api.put(selected("elsewhere", "node-9"));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(asked(&world).len(), 2, "a claim that is sent back tells that the picture is old");
    forget(&world);
    let secret = json!({"csi.storage.k8s.io/secret-name": "missing", "csi.storage.k8s.io/secret-namespace": "default"});
    world.api.put(sim::objects::with(
        class_called("sealed"),
        json!({"parameters": secret, "volumeBindingMode": "Immediate"}),
    ));
    sleep(Duration::from_secs(1)).await;
    forget(&world);
    world.api.put(sim::objects::with(waiting("unready"), json!({"spec": {"storageClassName": "sealed"}})));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(asked(&world), Vec::<String>::new(), "nothing was tried");
}

/// However many volumes come at once, one call for an item at a time.
#[tokio::test(start_paused = true)]
async fn burst_of_volumes_is_asked_for_once_at_a_time() {
    let (world, _running) = settled(&[late()]).await;
    let _binder = world.binder();
    world.driver.always("GetCapacity", Reply::Ok.after(Duration::from_secs(1)));
    for number in 0..10 {
        world.api.put(selected(&format!("data-{number}"), "node-2"));
    }
    for number in 0..10 {
        bound(&world, &format!("data-{number}")).await;
    }
    sleep(Duration::from_secs(10)).await;
    let asked = asked(&world);
    assert!(asked.len() <= 3 && asked.iter().all(|place| place == "zone=z2"), "{asked:?}");
    assert_eq!(published(&world)[1], "fast [zone=z2] 10Gi -");
}

#[tokio::test(start_paused = true)]
async fn segments_and_classes_come_and_go() {
    let (world, _running) = settled(&[late()]).await;
    put_node(&world, "node-3", "z3", &["zone"]);
    put_node(&world, "node-4", "z3", &["zone"]);
    sleep(Duration::from_secs(1)).await;
    assert_eq!((asked(&world), changes(&world)), (vec!["zone=z3".to_owned()], vec!["create 201".to_owned()]));
    forget(&world);
    world.api.put(class_called("slow"));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(changes(&world), ["create 201"; 3]);
    forget(&world);
    world.api.delete("storageclasses", "fast");
    world.api.delete("csinodes", "node-3");
    world.api.edit("nodes", "node-1", |node| node["metadata"]["labels"]["zone"] = json!("z2"));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(changes(&world), ["delete 200"; 4]);
    let left: Vec<String> =
        published(&world).iter().map(|text| text.split("] ").next().unwrap().to_owned()).collect();
    assert_eq!(left, ["slow [zone=z2", "slow [zone=z3"]);
    assert_eq!(asked(&world), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn refusals_are_tried_again_and_create_nothing_twice() {
    let world = two_zones();
    world.api.put(late());
    world.driver.script("GetCapacity", [Reply::error(Code::Internal, "not yet")]);
    world.steps.on(|step| step.is("create", "csistoragecapacities"), 1, Fault::LoseReply);
    world.steps.on(|step| step.is("create", "csistoragecapacities"), 1, Fault::ApiError(500));
    world.api.delay_watch(Duration::from_secs(20));
    let _running = PUBLISHING.run(&world, |_| {});
    sleep(Duration::from_secs(60)).await;
    assert_eq!(published(&world).len(), 2);
    let written = changes(&world);
    assert_eq!(written.iter().filter(|write| *write == "create 201").count(), 2, "{written:?}");
}

/// A burst of volumes does not wait for capacities, whatever they cost.
#[tokio::test(start_paused = true)]
async fn hung_capacity_call_holds_up_no_volume() {
    let (world, _running) = settled(&[late()]).await;
    let _binder = world.binder();
    world.driver.always("GetCapacity", Reply::Hang);
    sleep(POLL).await;
    for number in 0..20 {
        let mut made = claim(&format!("data-{number}"));
        made["metadata"]["annotations"] = json!({SELECTED: "node-2"});
        world.api.put(made);
    }
    let begun = tokio::time::Instant::now();
    for number in 0..20 {
        bound(&world, &format!("data-{number}")).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

/// Nodes that are each a segment, and three classes.
#[tokio::test(start_paused = true)]
async fn large_cluster_costs_no_write_while_nothing_changes() {
    const NODES: usize = 200;
    let world = telling();
    for number in 0..NODES {
        let name = format!("node-{number:04}");
        put_node(&world, &name, "z1", &["host"]);
    }
    for class in ["fast", "slow", "cold"] {
        world.api.put(class_called(class));
    }
    world.api.set_latency(Duration::ZERO);
    let _running = PUBLISHING.run(&world, |config| config.capacity.as_mut().unwrap().workers = 10);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.api.count("csistoragecapacities"), 3 * NODES);
    forget(&world);
    sleep(2 * POLL).await;
    assert_eq!((writes(&world), changes(&world)), (vec![], vec![]));
    assert_eq!(asked(&world).len(), 2 * 3 * NODES);
}
