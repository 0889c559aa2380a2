//! The same claims through the Go csi-provisioner and through ours: equal objects, equal requests, equal events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cluster::implementation::Implementation;
use cluster::node::NodeDriver;
use cluster::stand::{Stand, has_hosts};
use cluster::wait;
use k8s_openapi::api::core::v1::{Event, PersistentVolume};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use super::mix::{DRIVER, HOME, NODES, Wanted, claims, classes, labels, sources};
use super::provisioner;
use super::seen::{self, Names, Seen};
use super::snapshots::{delete_all, take_snapshot};
use crate::{leader, wait_bound, wait_no_volumes};

const LIMIT: Duration = Duration::from_secs(120);
/// How many claims are compared.
const COUNT: usize = 60;
/// How many volumes are retained.
const RETAINED: usize = 4;

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
    let stand = up(name, &[]).await;
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
pub(super) async fn up(name: &str, more: &[&str]) -> Stand {
    let flags = [
        "--v=5",
        "--nodeid=node-2",
        "--enable-topology=true",
        "--sparse",
        "--enable-controller-modify-volume",
    ];
    let stand = Stand::provisioning(name, &[&flags[..], more].concat()).await;
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

pub(super) async fn make(stand: &Stand, wanted: &[Wanted]) {
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
