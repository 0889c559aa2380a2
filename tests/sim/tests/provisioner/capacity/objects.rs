//! TestCapacityController: which objects there are.

use sim::Reply;
use sim::objects::{class, with};
use tokio::time::sleep;

use super::*;
use crate::topology::{late, set_room};

const GIB: i64 = 1 << 30;

/// What is asked when the only class is `fast`.
const TWO: [&str; 2] = ["zone=z1", "zone=z2"];

fn rooms(world: &World) {
    set_room(world, "z1", GIB);
    set_room(world, "z2", 2 * GIB);
}

fn with_rooms() -> World {
    let world = two_zones();
    rooms(&world);
    world
}

static ROOMS: Sidecar<Config> = Sidecar { world: with_rooms, ..PUBLISHING };

#[tokio::test(start_paused = true)]
async fn without_class_or_segment_nothing_is_published() {
    PUBLISHING.case("no class", []).ends_with(&[], &[]).await;
    let no_nodes: &'static Sidecar<Config> = Box::leak(Box::new(Sidecar { world: telling, ..PUBLISHING }));
    no_nodes.case("no node", [late()]).ends_with(&[], &[]).await;
    PUBLISHING.case("immediate binding", [class()]).ends_with(&[], &[]).await;
    let foreign = with(late(), json!({"provisioner": "other.example"}));
    PUBLISHING.case("class of another", [foreign]).ends_with(&[], &[]).await;
}

#[tokio::test(start_paused = true)]
async fn each_segment_and_class_has_an_object() {
    let case = ROOMS.case("two by two", [class_called("fast"), class_called("slow")]);
    let created = ["create 201"; 4];
    let calls = ["zone=z1 kind=fast", "zone=z1 kind=slow", "zone=z2 kind=fast", "zone=z2 kind=slow"];
    let world = case.ends_with(&calls, &created).await;
    let expected =
        ["fast [zone=z1] 1Gi -", "fast [zone=z2] 2Gi -", "slow [zone=z1] 1Gi -", "slow [zone=z2] 2Gi -"];
    assert_eq!(published(&world), expected);
    let object = &world.api.list("csistoragecapacities")[0];
    let metadata = &object["metadata"];
    assert_eq!(metadata["labels"]["csi.storage.k8s.io/drivername"], "driver.example");
    assert_eq!(metadata["labels"]["csi.storage.k8s.io/managed-by"], "external-provisioner");
    assert_eq!(
        (&metadata["namespace"], &metadata["ownerReferences"][0]["uid"]),
        (&json!("csi"), &json!("rs-uid"))
    );
}

#[tokio::test(start_paused = true)]
async fn immediate_binding_needs_its_flag() {
    let case = ROOMS.case("immediate", [class()]);
    let case = case.config(|config| config.capacity.as_mut().unwrap().immediate = true);
    case.ends_with(&TWO, &["create 201", "create 201"]).await;
}

#[tokio::test(start_paused = true)]
async fn driver_without_keys_has_one_object_for_all_nodes() {
    fn keyless() -> World {
        let world = telling();
        put_node(&world, "node-1", "z1", &[]);
        put_node(&world, "node-2", "z2", &[]);
        world.driver.change_model(|model| model.free = Some(5 << 20));
        world
    }
    static KEYLESS: Sidecar<Config> = Sidecar { world: keyless, ..PUBLISHING };
    let case = KEYLESS.case("keyless", [late()]).config(|config| config.can.topology = false);
    let world = case.ends_with(&[""], &["create 201"]).await;
    assert_eq!(published(&world), ["fast [] 5Mi -"]);
    assert_eq!(world.api.list("csistoragecapacities")[0]["nodeTopology"], json!({}));
}

#[tokio::test(start_paused = true)]
async fn maximum_is_published_and_objects_without_owner_have_none() {
    let limited =
        || Reply::edit(|reply: &mut csi::v1::GetCapacityResponse| reply.maximum_volume_size = Some(1 << 20));
    let case = ROOMS.case("maximum", [late()]).driver("GetCapacity", [limited(), limited()]);
    let case = case.config(|config| config.capacity.as_mut().unwrap().owner = None);
    let world = case.ends_with(&TWO, &["create 201", "create 201"]).await;
    assert_eq!(published(&world), ["fast [zone=z1] 1Gi 1Mi", "fast [zone=z2] 2Gi 1Mi"]);
    let owned = |object: &Value| object["metadata"].get("ownerReferences").is_some();
    assert!(!world.api.list("csistoragecapacities").iter().any(owned));
}

#[tokio::test(start_paused = true)]
async fn objects_of_an_earlier_process_are_used_again() {
    let there = |size: &str| [capacity("a", "fast", "z1", size), capacity("b", "fast", "z2", "2Gi")];
    let ours = |objects: [Value; 2]| std::iter::once(late()).chain(objects);
    ROOMS.case("no changes", ours(there("1Gi"))).ends_with(&TWO, &[]).await;
    ROOMS.case("the same in other words", ours(there("1024Mi"))).ends_with(&TWO, &[]).await;
    let world = ROOMS.case("update capacity", ours(there("3Gi"))).ends_with(&TWO, &["patch 200"]).await;
    assert_eq!(published(&world), ["fast [zone=z1] 1Gi -", "fast [zone=z2] 2Gi -"]);
}

#[tokio::test(start_paused = true)]
async fn owner_is_added_to_others_and_kept() {
    let other = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p-uid", "controller": true}]);
    let owned = with(capacity("a", "fast", "z1", "1Gi"), json!({"metadata": {"ownerReferences": other}}));
    let both = [late(), owned, capacity("b", "fast", "z2", "2Gi")];
    let world = ROOMS.case("add owner", both.clone()).ends_with(&TWO, &["patch 200"]).await;
    let owners =
        world.api.get("csistoragecapacities", "csi/a").unwrap()["metadata"]["ownerReferences"].clone();
    let uids: Vec<&str> =
        owners.as_array().unwrap().iter().map(|owner| owner["uid"].as_str().unwrap()).collect();
    assert_eq!(uids.len(), 2, "{uids:?}");
    assert!(uids.contains(&"p-uid") && uids.contains(&"rs-uid"), "{uids:?}");
    let is_controller = |owner: &Value| owner["controller"] == true;
    assert_eq!(owners.as_array().unwrap().iter().filter(|owner| is_controller(owner)).count(), 1, "{owners}");
    let case = ROOMS.case("keep owner", both).config(|config| config.capacity.as_mut().unwrap().owner = None);
    case.ends_with(&TWO, &[]).await;
}

#[tokio::test(start_paused = true)]
async fn obsolete_and_redundant_objects_go_and_others_stay() {
    let by = |who: Value, object: Value| {
        with(object, json!({"metadata": {"labels": {"csi.storage.k8s.io/managed-by": who}}}))
    };
    let objects = [
        late(),
        capacity("a", "fast", "z1", "1Gi"),
        capacity("a-again", "fast", "z1", "1Gi"),
        capacity("b", "fast", "z2", "2Gi"),
        capacity("no-class", "gone", "z1", "1Gi"),
        capacity("no-segment", "fast", "z9", "1Gi"),
        with(capacity("strange", "fast", "z1", "1Gi"), json!({"nodeTopology": null})),
        by(json!("another"), capacity("another-s", "gone", "z1", "1Gi")),
        by(Value::Null, capacity("nobody-s", "gone", "z1", "1Gi")),
        with(capacity("elsewhere", "gone", "z1", "1Gi"), json!({"metadata": {"namespace": "other"}})),
    ];
    let world = ROOMS.case("obsolete", objects).ends_with(&TWO, &["delete 200"; 4]).await;
    let names: Vec<_> = world.api.list("csistoragecapacities");
    let names: Vec<&str> = names.iter().map(|object| object["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "another-s", "b", "nobody-s", "elsewhere"]);
}

#[tokio::test(start_paused = true)]
async fn deleted_and_relabelled_objects_are_made_again() {
    let world = with_rooms();
    world.api.put(late());
    let _running = PUBLISHING.run(&world, |_| {});
    sleep(Duration::from_secs(1)).await;
    let all = ["fast [zone=z1] 1Gi -", "fast [zone=z2] 2Gi -"];
    assert_eq!(published(&world), all);
    let name = |index: usize| {
        let object = &world.api.list("csistoragecapacities")[index];
        format!("csi/{}", object["metadata"]["name"].as_str().unwrap())
    };
    world.api.delete("csistoragecapacities", &name(0));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(published(&world), all, "deleted by somebody");
    let relabelled = name(0);
    world.api.edit("csistoragecapacities", &relabelled, |object| {
        object["metadata"]["labels"]["csi.storage.k8s.io/managed-by"] = json!("another");
    });
    sleep(Duration::from_secs(1)).await;
    assert_eq!(published(&world).len(), 3, "the relabelled one is left alone, another stands in");
    let uid = |key: &str| world.api.get("csistoragecapacities", key).unwrap()["metadata"]["uid"].clone();
    let (before, written) = (uid(&relabelled), changes(&world).len());
    sleep(3 * POLL).await;
    assert_eq!((uid(&relabelled), changes(&world).len()), (before, written));
}

#[tokio::test(start_paused = true)]
async fn gauges_count_goal_current_and_obsolete() {
    use base::leadership::Leadership;
    use kubernetes::object::Scope;
    use process::Caches;
    use tokio_util::sync::CancellationToken;
    let world = with_rooms();
    world.api.put(late());
    world.api.put(capacity("old", "gone", "z1", "1Gi"));
    let (host, delivery) = world.host("driver.example", CancellationToken::new());
    let scope = Scope { driver: "driver.example".into(), keep: PUBLISHING.keep, ..Scope::default() };
    let mut caches = Caches::new(scope);
    let duty =
        provisioner::provision(host.seat(Leadership::always(), "us"), &mut caches, publishing()).unwrap();
    let page = || {
        let page = host.metrics.render();
        let value = |name: &str| {
            let line = page.lines().find(|line| line.starts_with(&format!("csistoragecapacities_{name} ")));
            line.unwrap().rsplit(' ').next().unwrap().to_owned()
        };
        ["desired_goal", "desired_current", "obsolete"].map(value)
    };
    let story = async {
        assert_eq!(page(), ["0", "0", "0"]);
        world.steps.on(|step| step.is("delete", "csistoragecapacities"), 2, sim::Fault::ApiError(500));
        sleep(Duration::from_millis(900)).await;
        assert_eq!(page(), ["2", "2", "1"]);
        sleep(Duration::from_secs(3)).await;
        assert_eq!(page(), ["2", "2", "0"]);
        world.driver.always("GetCapacity", Reply::error(tonic::Code::Internal, "no"));
        put_node(&world, "node-3", "z3", &["zone"]);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(page(), ["3", "2", "0"]);
    };
    tokio::select! {
        () = host.run_duties(caches, vec![duty]) => {}
        () = delivery => {}
        () = story => {}
    }
}
