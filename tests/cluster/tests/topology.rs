//! csi-provisioner and kube-scheduler: late binding on three nodes, of which one has the storage.

use std::collections::BTreeMap;
use std::time::Duration;

use cluster::node::NodeDriver;
use cluster::stand::Stand;
use cluster::wait;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::CSIStorageCapacity;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(180);
const DRIVER: &str = "hostpath.csi.k8s.io";
const KEY: &str = "topology.hostpath.csi/node";
const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];
/// Where the driver is, and so every volume.
const HOME: &str = "node-2";

/// Three nodes on which the driver is registered.
async fn stand(name: &str, capacity: bool, driver_flags: &[&str]) -> Stand {
    let nodeid = format!("--nodeid={HOME}");
    let mut flags = vec![nodeid.as_str(), "--enable-topology=true"];
    flags.extend(driver_flags);
    let stand = Stand::scheduled(name, &flags).await;
    let driver = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER},
        "spec": {"storageCapacity": capacity, "attachRequired": false},
    });
    stand.control_plane.apply_object(driver, "").await.expect("a CSIDriver");
    for node in NODES {
        let labels = BTreeMap::from([(KEY.to_owned(), node.to_owned())]);
        let ours = NodeDriver {
            name: DRIVER.to_owned(),
            node_id: node.to_owned(),
            topology_keys: vec![KEY.to_owned()],
            allocatable: None,
        };
        stand.control_plane.node(node, &labels, &[ours]).await.expect("a node");
    }
    stand
}

/// A pod that uses these claims, and would rather be on the first node.
async fn pod(stand: &Stand, name: &str, claims: &[&str]) {
    let volumes: Vec<_> = claims
        .iter()
        .map(|claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}}))
        .collect();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": stand.namespace},
        "spec": {
            "containers": [{"name": "main", "image": "none"}], "volumes": volumes,
            "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 100, "preference": {"matchExpressions": [{"key": KEY, "operator": "In", "values": ["node-1"]}]}},
            ]}},
        },
    });
    stand.control_plane.apply_object(pod, &stand.namespace).await.expect("a pod");
}

async fn node_of(pods: &Api<Pod>, name: &str) -> Option<String> {
    pods.get(name).await.ok()?.spec?.node_name
}

/// The one node that each volume can be reached from.
async fn places(stand: &Stand) -> Vec<String> {
    let volumes: Api<PersistentVolume> = Api::all(stand.client.clone());
    let volumes = volumes.list(&ListParams::default()).await.expect("volumes");
    let place = |volume: PersistentVolume| {
        let required = volume.spec?.node_affinity?.required?;
        let expression = required.node_selector_terms.first()?.match_expressions.clone()?.pop()?;
        assert_eq!((expression.key.as_str(), expression.operator.as_str()), (KEY, "In"));
        expression.values?.pop()
    };
    volumes.into_iter().map(|volume| place(volume).unwrap_or_else(|| "everywhere".to_owned())).collect()
}

/// How often CreateVolume was answered with this code.
async fn created(stand: &Stand, code: &str) -> u32 {
    created_by(stand, "a", code).await
}

async fn created_by(stand: &Stand, provisioner: &str, code: &str) -> u32 {
    let page = stand.metrics(provisioner).await;
    let labels = format!("grpc_status_code=\"{code}\",method_name=\"/csi.v1.Controller/CreateVolume\"");
    let line = page.lines().find(|line| line.contains("seconds_count{") && line.contains(&labels));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

/// The scheduler may choose a node without storage: the claim goes back to it until it has chosen the right one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_binding_finds_the_node_that_has_the_storage() {
    let stand = stand("late", false, &[]).await;
    let mut provisioner = stand.provisioner("a", &["--strict-topology"]);
    stand.class("late", "Delete", "WaitForFirstConsumer", &[]).await;
    stand.claim("one", "late", "1Mi").await;
    let claims = stand.claim("two", "late", "1Mi").await;
    pod(&stand, "user", &["one", "two"]).await;
    let refused = async || (created(&stand, "ResourceExhausted").await >= 2).then_some(());
    wait::until("the claims to be refused", LIMIT, refused).await.expect("refused");
    // The scheduler has no memory: left alone, it might choose those nodes for ever.
    let nodes: Api<Node> = Api::all(stand.client.clone());
    for node in NODES.into_iter().filter(|node| *node != HOME) {
        nodes.cordon(node).await.expect("cordoned");
    }
    let pods: Api<Pod> = Api::namespaced(stand.client.clone(), &stand.namespace);
    let node = wait::until("the pod to be scheduled", LIMIT, async || node_of(&pods, "user").await).await;
    assert_eq!(node.as_deref().ok(), Some(HOME));
    assert_eq!(places(&stand).await, [HOME, HOME]);
    assert_eq!((created(&stand, "OK").await, stand.directories().len()), (2, 2));
    pods.delete("user", &DeleteParams::default().grace_period(0)).await.expect("deleted");
    claims.delete_collection(&DeleteParams::default(), &ListParams::default()).await.expect("deleted");
    let gone = async || places(&stand).await.is_empty().then_some(());
    wait::until("the volumes to go", LIMIT, gone).await.expect("gone");
    assert!(stand.directories().is_empty());
    let log = provisioner.last_lines(10_000);
    assert!(!log.contains("permission missing") && !log.contains("forbidden"), "{log}");
    provisioner.terminate(LIMIT).await.expect("it ends");
}

/// Class, node, capacity and version of each capacity object.
async fn capacities(stand: &Stand) -> Vec<(String, String, String)> {
    let api: Api<CSIStorageCapacity> = Api::namespaced(stand.client.clone(), &stand.namespace);
    let all = api.list(&ListParams::default()).await.expect("capacities");
    let mut found: Vec<_> = all
        .into_iter()
        .map(|object| {
            assert_eq!(object.metadata.owner_references.map(|owners| owners.len()), Some(1));
            let labels = object.node_topology.and_then(|topology| topology.match_labels).unwrap_or_default();
            let size = object.capacity.map(|size| size.0).unwrap_or_default();
            (
                labels.get(KEY).cloned().unwrap_or_default(),
                size,
                object.metadata.resource_version.unwrap_or_default(),
            )
        })
        .collect();
    found.sort();
    found
}

async fn wait_room(stand: &Stand, size: &str) {
    let expected = [("node-1", "0"), (HOME, size), ("node-3", "0")];
    let there = async || {
        let found = capacities(stand).await;
        let found: Vec<(&str, &str)> =
            found.iter().map(|(node, size, _)| (node.as_str(), size.as_str())).collect();
        (found == expected).then_some(())
    };
    wait::until(&format!("{size} at home and nothing elsewhere"), LIMIT, there).await.expect("published");
}

/// The scheduler is told where there is room, and never chooses another node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn capacities_steer_the_scheduler_away_from_full_segments() {
    let stand = stand("room", true, &["--capacity=fast=1Gi"]).await;
    // The owner of the objects.
    pod(&stand, "a", &[]).await;
    let flags = [
        "--strict-topology",
        "--enable-capacity",
        "--capacity-ownerref-level=0",
        "--capacity-poll-interval=1s",
        "--kube-api-capacity-qps=50",
        "--kube-api-capacity-burst=50",
    ];
    let mut provisioner = stand.provisioner("a", &flags);
    stand.class("late", "Delete", "WaitForFirstConsumer", &[("kind", "fast")]).await;
    wait_room(&stand, "1Gi").await;
    let (before, page) = (capacities(&stand).await, stand.metrics("a").await);
    assert!(page.contains("\ncsistoragecapacities_desired_current 3\n"), "{page}");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(capacities(&stand).await, before, "polled and not written");

    let pods: Api<Pod> = Api::namespaced(stand.client.clone(), &stand.namespace);
    let names = ["user-1", "user-2", "user-3"];
    let mut claims: Option<Api<PersistentVolumeClaim>> = None;
    for name in names {
        claims = Some(stand.claim(name, "late", "256Mi").await);
        pod(&stand, name, &[name]).await;
        let node = wait::until("the pod to be scheduled", LIMIT, async || node_of(&pods, name).await).await;
        assert_eq!(node.as_deref().ok(), Some(HOME), "{name}");
    }
    wait_room(&stand, "256Mi").await;
    stand.claim("large", "late", "512Mi").await;
    pod(&stand, "large", &["large"]).await;
    let refused = async || {
        let conditions = pods.get("large").await.ok()?.status?.conditions?;
        conditions
            .into_iter()
            .find_map(|condition| condition.message.filter(|text| text.contains("free storage")))
    };
    let said = wait::until("the scheduler to refuse it", LIMIT, refused).await.expect("said");
    println!("{said}");
    let (made, refused) = (created(&stand, "OK").await, created(&stand, "ResourceExhausted").await);
    assert_eq!((made, refused), (3, 0), "no volume was asked for where there is no room");

    pods.delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default())
        .await
        .expect("deleted");
    let claims = claims.expect("three claims");
    claims.delete_collection(&DeleteParams::default(), &ListParams::default()).await.expect("deleted");
    let gone = async || places(&stand).await.is_empty().then_some(());
    wait::until("the volumes to go", LIMIT, gone).await.expect("gone");
    assert!(stand.directories().is_empty());
    let log = provisioner.last_lines(10_000);
    assert!(!log.contains("permission missing") && !log.contains("forbidden"), "{log}");
    provisioner.terminate(LIMIT).await.expect("it ends");
}

/// A provisioner and a driver on each of three nodes race for claims with immediate binding.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_race_for_300_claims_and_make_each_once() {
    const CLAIMS: usize = 300;
    let stand = stand("race", false, &[]).await;
    let _drivers = NODES.map(|node| stand.driver_of(node, &[]));
    let flags = ["--node-deployment", "--node-deployment-base-delay=4s", "--node-deployment-max-delay=10s"];
    let mut provisioners = NODES.map(|node| stand.provisioner_of(node, &flags));
    stand.class("now", "Delete", "Immediate", &[]).await;
    let claims = stand.claims(CLAIMS, "now").await;
    let bound = async || {
        let all = claims.list(&ListParams::default().match_any()).await.ok()?;
        let phase = |claim: &PersistentVolumeClaim| claim.status.as_ref()?.phase.clone();
        (all.iter().filter(|claim| phase(claim).as_deref() == Some("Bound")).count() == CLAIMS).then_some(())
    };
    wait::until("the claims to be bound", LIMIT, bound).await.expect("bound");
    let mut made = 0;
    let there = places(&stand).await;
    for node in NODES {
        let own = created_by(&stand, node, "OK").await;
        let placed = there.iter().filter(|place| *place == node).count();
        println!("{node}: {own} volumes");
        assert_eq!(placed, own as usize, "{node}");
        assert!(own > 0, "{node}");
        made += own as usize;
    }
    assert_eq!((made, there.len()), (CLAIMS, CLAIMS), "each once");
    for claim in claims.list(&ListParams::default()).await.expect("claims") {
        let node =
            claim.metadata.annotations.and_then(|all| all.get("volume.kubernetes.io/selected-node").cloned());
        assert!(node.is_some_and(|node| NODES.contains(&node.as_str())));
    }
    claims.delete_collection(&DeleteParams::default(), &ListParams::default()).await.expect("deleted");
    let gone = async || places(&stand).await.is_empty().then_some(());
    wait::until("the volumes to go", LIMIT, gone).await.expect("gone");
    for provisioner in &mut provisioners {
        let log = provisioner.last_lines(100_000);
        assert!(!log.contains("permission missing") && !log.contains("forbidden"), "{log}");
        provisioner.terminate(LIMIT).await.expect("it ends");
    }
}
