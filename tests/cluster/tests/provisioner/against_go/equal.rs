//! The same claims through the Go csi-provisioner and through ours: equal objects, equal requests, equal events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cluster::implementation::Implementation;
use cluster::node::NodeDriver;
use cluster::stand::{Stand, has_hosts};
use cluster::wait;
use csi::v1;
use k8s_openapi::api::core::v1::{Event, PersistentVolume};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use super::mix::{DRIVER, HOME, NODES, Wanted, claims, classes, labels, sources};
use super::seen::{self, Names, Seen};
use super::{driver, provisioner};
use crate::{leader, wait_bound, wait_no_volumes};

const LIMIT: Duration = Duration::from_secs(120);
/// How many claims are compared.
const COUNT: usize = 60;
/// How many volumes are retained.
const RETAINED: usize = 4;
const SNAPSHOTS: &str = "snapshot.storage.k8s.io/v1";

/// What one provisioner made.
#[derive(Debug)]
struct Made {
    claims: BTreeMap<String, Seen>,
    deletions: BTreeSet<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn same_claims_give_equal_volumes_and_requests() {
    if !has_hosts("csi-provisioner beside the Go csi-provisioner") {
        return;
    }
    compare("beside", "node-1", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn same_claims_give_equal_volumes_with_other_flags() {
    if !has_hosts("csi-provisioner beside the Go csi-provisioner, with other flags") {
        return;
    }
    let flags = [
        "--strict-topology",
        "--immediate-topology=false",
        "--extra-create-metadata",
        "--default-fstype=xfs",
        "--controller-publish-readonly",
        "--volume-name-prefix=vol",
        "--volume-name-uuid-length=20",
        "--feature-gates=Topology=true,VolumeAttributesClass=true",
    ];
    compare("strict", HOME, &flags).await;
}

/// Lets both serve the same claims with these flags.
async fn compare(name: &str, any: &'static str, flags: &[&str]) {
    let stand = up(name).await;
    let mut made = Vec::new();
    for (who, name) in [(Implementation::Go, "go"), (Implementation::Ours, "us")] {
        let mut replica = provisioner(who, &stand, name, flags);
        let leads = async || (leader(&stand).await.as_deref() == Some(name)).then_some(());
        wait::until("it to lead", LIMIT, leads).await.expect("it leads");
        made.push(play(&stand, any).await);
        if who == Implementation::Ours {
            let log = replica.last_lines(100_000);
            assert!(!log.contains("permission missing"), "{log}");
            let failed = |line: &&str| line.starts_with('E') && !seen::is_conflict(line);
            assert_eq!(log.lines().filter(failed).collect::<Vec<_>>(), [""; 0]);
        }
        replica.kill();
    }
    let [go, ours] = &made[..] else { panic!("two runs") };
    assert_eq!(go.claims.len(), COUNT + sources().len());
    for (name, theirs) in &go.claims {
        let own = ours.claims.get(name).expect("the same claims");
        for (what, theirs) in theirs {
            let own = own.get(what).cloned().unwrap_or_default();
            assert!(!theirs.is_null() && *theirs != json!([]), "{name} has no {what}");
            assert_eq!(*theirs, own, "{what} of {name}, the Go provisioner's on the left");
        }
    }
    assert_eq!(go.deletions, ours.deletions);
    assert_eq!(go.deletions.len(), COUNT + sources().len() - RETAINED);
}

/// A stand with nodes, classes, Secrets, and the kinds of snapshots.
async fn up(name: &str) -> Stand {
    let flags = [
        "--v=5",
        "--nodeid=node-2",
        "--enable-topology=true",
        "--sparse",
        "--enable-controller-modify-volume",
    ];
    let stand = Stand::provisioning(name, &flags).await;
    for (node, zone, keys) in NODES {
        let driver = NodeDriver {
            name: DRIVER.to_owned(),
            node_id: node.to_owned(),
            topology_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            allocatable: None,
        };
        stand.control_plane.node(node, &labels(node, zone).into(), &[driver]).await.expect("a node");
    }
    let mut objects = classes(&stand.namespace);
    for class in ["gold", "silver"] {
        objects.push(json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass", "metadata": {"name": class},
            "driverName": DRIVER, "parameters": {"level": class},
        }));
    }
    objects.push(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "provision"}, "stringData": {"user": "u", "key": "k"},
    }));
    for object in objects {
        stand.control_plane.apply_object(object, &stand.namespace).await.expect("applied");
    }
    stand.control_plane.serve_snapshots().await.expect("snapshots");
    stand
}

/// Makes the claims, looks at what comes of them, and deletes them.
async fn play(stand: &Stand, any: &'static str) -> Made {
    let (skip, before) = (seen::lines(stand), stand.directories().len());
    let all = claims(any);
    assert_eq!(all.len(), COUNT);
    let api: Api<k8s_openapi::api::core::v1::PersistentVolumeClaim> =
        Api::namespaced(stand.client.clone(), &stand.namespace);
    make(stand, &sources()).await;
    wait_bound(&api, sources().len()).await;
    let mut names = Names::default();
    for (snapshot, source, mode) in
        [("snap", "source", "Filesystem"), ("snap-block", "source-block", "Block")]
    {
        take_snapshot(stand, snapshot, source, mode, &mut names).await;
    }
    make(stand, &all).await;
    let count = all.len() + sources().len();
    wait_bound(&api, count).await;
    wait::until_true("the events", LIMIT, async || seen::told(stand, count).await).await.expect("events");
    let claims = seen::claims(stand, &mut names, skip).await;

    let (delete, every) = (DeleteParams::default(), ListParams::default());
    api.delete_collection(&delete, &every).await.expect("deleted");
    let volumes: Api<PersistentVolume> = Api::all(stand.client.clone());
    let left = async || (volumes.list(&every).await.ok()?.items.len() == RETAINED).then_some(());
    wait::until("the volumes to go", LIMIT, left).await.expect("only those to be retained are left");
    volumes.delete_collection(&delete, &every).await.expect("deleted");
    wait_no_volumes(stand).await;
    assert_eq!(stand.directories().len() - before, RETAINED);
    for kind in ["volumesnapshots", "volumesnapshotcontents"] {
        delete_all(stand, kind).await;
    }
    let events: Api<Event> = Api::namespaced(stand.client.clone(), &stand.namespace);
    events.delete_collection(&delete, &every).await.expect("deleted");
    Made { claims, deletions: seen::deletions(stand, &names, skip) }
}

async fn make(stand: &Stand, wanted: &[Wanted]) {
    for Wanted { name, spec, node } in wanted {
        let mut annotations = json!({"team": "blue"});
        if let Some(node) = node {
            annotations["volume.kubernetes.io/selected-node"] = json!(node);
        }
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "annotations": annotations, "labels": {"app": "test"}}, "spec": spec,
        });
        stand.control_plane.apply_object(claim, &stand.namespace).await.expect("a claim");
    }
}

/// A snapshot at the driver, and its two objects, bound to each other.
async fn take_snapshot(stand: &Stand, name: &str, claim: &str, mode: &str, names: &mut Names) {
    let namespace = &stand.namespace;
    let claim = get(stand, &format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}")).await;
    let volume = claim.and_then(|claim| claim["spec"]["volumeName"].as_str().map(str::to_owned));
    let volume = get(stand, &format!("/api/v1/persistentvolumes/{}", volume.expect("bound"))).await;
    let handle =
        volume.expect("its volume")["spec"]["csi"]["volumeHandle"].as_str().unwrap_or_default().to_owned();
    let request = v1::CreateSnapshotRequest {
        source_volume_id: handle.clone(),
        name: format!("{name} of {handle}"),
        ..v1::CreateSnapshotRequest::default()
    };
    let taken = driver(stand).await.call(request, LIMIT).await.expect("taken").snapshot.expect("a snapshot");
    names.add(&taken.snapshot_id, format!("ID({name})"));
    let (of_snapshot, of_content) =
        (format!("namespaces/{namespace}/volumesnapshots"), "volumesnapshotcontents".to_owned());
    let snapshot = json!({
        "apiVersion": SNAPSHOTS, "kind": "VolumeSnapshot", "metadata": {"name": name},
        "spec": {"source": {"volumeSnapshotContentName": name}},
    });
    let snapshot = stand.control_plane.apply_object(snapshot, namespace).await.expect("a snapshot");
    let content = json!({
        "apiVersion": SNAPSHOTS, "kind": "VolumeSnapshotContent", "metadata": {"name": name},
        "spec": {
            "driver": DRIVER, "deletionPolicy": "Retain", "source": {"snapshotHandle": taken.snapshot_id},
            "sourceVolumeMode": mode,
            "volumeSnapshotRef": {"name": name, "namespace": namespace, "uid": snapshot.metadata.uid},
        },
    });
    stand.control_plane.apply_object(content, "").await.expect("a content");
    let size = taken.size_bytes;
    let ready =
        json!({"readyToUse": true, "restoreSize": size.to_string(), "boundVolumeSnapshotContentName": name});
    patch_status(stand, &format!("{of_snapshot}/{name}"), ready).await;
    let ready = json!({"readyToUse": true, "restoreSize": size, "snapshotHandle": taken.snapshot_id});
    patch_status(stand, &format!("{of_content}/{name}"), ready).await;
}

async fn patch_status(stand: &Stand, path: &str, status: Value) {
    let request = http::Request::patch(format!("/apis/{SNAPSHOTS}/{path}/status"))
        .header("content-type", "application/merge-patch+json")
        .body(json!({"status": status}).to_string().into_bytes())
        .expect("a request");
    let _: Value = stand.client.request(request).await.expect("patched");
}

async fn delete_all(stand: &Stand, kind: &str) {
    let namespace = &stand.namespace;
    let path = match kind {
        "volumesnapshots" => format!("/apis/{SNAPSHOTS}/namespaces/{namespace}/{kind}"),
        _ => format!("/apis/{SNAPSHOTS}/{kind}"),
    };
    let request = http::Request::delete(&path).body(Vec::new()).expect("a request");
    let _: Value = stand.client.request(request).await.expect("deleted");
    let gone = async || get(stand, &path).await?["items"].as_array()?.is_empty().then_some(());
    wait::until("the snapshots to go", LIMIT, gone).await.expect("no finalizer holds them");
}

async fn get(stand: &Stand, path: &str) -> Option<Value> {
    let request = http::Request::get(path).body(Vec::new()).expect("a request");
    stand.client.request(request).await.ok()
}
