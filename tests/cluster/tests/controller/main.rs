//! `mooring controller` on a real control plane: several sidecars in one process, and the change from separate ones to it.

mod monitored;
mod one_sender;
mod status;
mod traces;

use std::collections::BTreeMap;
use std::time::Duration;

use cluster::binaries::Binary;
use cluster::implementation::Implementation;
use cluster::node::NodeDriver;
use cluster::stand::{Stand, has_hosts};
use cluster::wait;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(120);
const NAME: &str = "hostpath.csi.k8s.io";
const PROVISIONER: &str = "hostpath-csi-k8s-io";
const ATTACHER: &str = "external-attacher-leader-hostpath-csi-k8s-io";
const RESIZER: &str = "external-resizer-hostpath-csi-k8s-io";

async fn up(name: &str) -> Stand {
    let rbac = [
        include_str!("../../../../manifests/rbac/provisioner.yaml"),
        include_str!("../../../../manifests/rbac/attacher.yaml"),
        include_str!("../../../../manifests/rbac/resizer.yaml"),
    ];
    let stand = Stand::with(name, &["--enable-attach"], "csi-controller", &rbac.join("\n---\n")).await;
    node(&stand, "node-1").await;
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "csi"},
        "provisioner": NAME, "allowVolumeExpansion": true,
    });
    stand.control_plane.apply_object(class, "").await.expect("a class");
    stand
}

/// A node on which the driver runs. The driver knows only itself: wherever it runs, it is node-1.
async fn node(stand: &Stand, name: &str) {
    let ours = NodeDriver { name: NAME.to_owned(), node_id: "node-1".to_owned(), ..NodeDriver::default() };
    stand.control_plane.node(name, &BTreeMap::new(), &[ours]).await.expect("a node");
}

/// Asks for so much of each claim.
async fn grow(claims: &Api<PersistentVolumeClaim>, size: &str) {
    let patch = json!({"spec": {"resources": {"requests": {"storage": size}}}});
    for claim in claims.list(&ListParams::default()).await.expect("listed") {
        let name = claim.metadata.name.unwrap_or_default();
        claims.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.expect("patched");
    }
}

/// How many volumes have this size.
async fn of_size(volumes: &Api<PersistentVolume>, size: &str) -> usize {
    let all = volumes.list(&ListParams::default()).await.expect("listed");
    let capacity = |volume: &PersistentVolume| {
        volume.spec.as_ref()?.capacity.as_ref()?.get("storage").map(|size| size.0.clone())
    };
    all.items.iter().filter(|volume| capacity(volume).as_deref() == Some(size)).count()
}

/// The volume of each bound claim.
async fn volumes(claims: &Api<PersistentVolumeClaim>) -> Vec<String> {
    let all = claims.list(&ListParams::default()).await.expect("listed");
    let bound = |claim: PersistentVolumeClaim| {
        let bound = claim.status?.phase.as_deref() == Some("Bound");
        claim.spec?.volume_name.filter(|_| bound)
    };
    all.items.into_iter().filter_map(bound).collect()
}

async fn attach(stand: &Stand, volume: &str, node: &str) -> Api<VolumeAttachment> {
    let attachments: Api<VolumeAttachment> = Api::all(stand.client.clone());
    let object = json!({
        "metadata": {"name": format!("to-{volume}")},
        "spec": {"attacher": NAME, "nodeName": node, "source": {"persistentVolumeName": volume}},
    });
    let object = serde_json::from_value(object).expect("an attachment");
    attachments.create(&PostParams::default(), &object).await.expect("created");
    attachments
}

async fn attached(attachments: &Api<VolumeAttachment>) -> usize {
    let all = attachments.list(&ListParams::default()).await.expect("listed");
    all.items.iter().filter(|one| one.status.as_ref().is_some_and(|status| status.attached)).count()
}

async fn wait_for<F: Future<Output = bool>>(what: &str, holds: impl FnMut() -> F) {
    wait::until_true(what, LIMIT, holds).await.expect("in time");
}

/// Who holds a lease; empty if nobody.
async fn holder(stand: &Stand, lease: &str) -> String {
    let leases: Api<Lease> = Api::namespaced(stand.client.clone(), &stand.namespace);
    let lease = leases.get_opt(lease).await.expect("read");
    lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_gives_each_volume_its_whole_life() {
    const COUNT: usize = 100;
    let stand = up("whole").await;
    let mut process = stand.sidecar("controller", "one", &["--leader-election"]);
    let claims = stand.claims(COUNT, "csi").await;
    wait_for("the claims to be bound", async || volumes(&claims).await.len() == COUNT).await;
    for volume in volumes(&claims).await {
        attach(&stand, &volume, "node-1").await;
    }
    let attachments: Api<VolumeAttachment> = Api::all(stand.client.clone());
    wait_for("the volumes to be attached", async || attached(&attachments).await == COUNT).await;
    let persistent: Api<PersistentVolume> = Api::all(stand.client.clone());
    grow(&claims, "2Mi").await;
    wait_for("the volumes to grow", async || of_size(&persistent, "2Mi").await == COUNT).await;
    let (delete, all) = (DeleteParams::default(), ListParams::default());
    attachments.delete_collection(&delete, &all).await.expect("deleted");
    let detached = async || attachments.list(&all).await.expect("listed").items.is_empty();
    wait_for("the volumes to be detached", detached).await;
    claims.delete_collection(&delete, &all).await.expect("deleted");
    let gone = async || persistent.list_metadata(&all).await.expect("listed").items.is_empty();
    wait_for("the volumes to go", gone).await;
    assert_eq!(stand.directories(), Vec::<String>::new());

    let page = stand.metrics("one").await;
    for method in [
        "CreateVolume",
        "ControllerPublishVolume",
        "ControllerExpandVolume",
        "ControllerUnpublishVolume",
        "DeleteVolume",
    ] {
        let sample =
            format!("grpc_status_code=\"OK\",method_name=\"/csi.v1.Controller/{method}\"}} {COUNT}\n");
        assert!(
            page.contains(&format!("count{{driver_name=\"{NAME}\",{sample}")),
            "one {method} a volume\n{page}"
        );
    }
    for lease in [PROVISIONER, ATTACHER, RESIZER] {
        assert!(page.contains(&format!("leader_election_master_status{{name=\"{lease}\"}} 1\n")), "{page}");
    }
    process.terminate(LIMIT).await.expect("it ends");
    for lease in [PROVISIONER, ATTACHER, RESIZER] {
        assert_eq!(holder(&stand, lease).await, "", "{lease} is given back");
    }
    let log = process.last_lines(10_000);
    assert!(!log.lines().any(|line| line.starts_with('E')) && !log.contains("permission missing"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn go_attacher_hands_its_lease_to_the_combined_process() {
    if !has_hosts("a Go csi-attacher beside mooring controller") {
        return;
    }
    let stand = up("roll").await;
    let mut go = Implementation::Go.start(&stand, Binary::CsiAttacher, "go", &["--leader-election"]);
    wait_for("the Go attacher to lead", async || holder(&stand, ATTACHER).await == "go").await;
    let flags = ["--leader-election", "--controllers=attacher,provisioner"];
    let mut combined = stand.replica("controller", "combined", &flags);
    let claims = stand.claim("first", "csi", "1Mi").await;
    wait_for("the claim to be bound", async || volumes(&claims).await.len() == 1).await;
    let attachments = attach(&stand, &volumes(&claims).await.concat(), "node-1").await;
    wait_for("the volume to be attached", async || attached(&attachments).await == 1).await;
    assert_eq!(holder(&stand, PROVISIONER).await, "combined");
    assert_eq!(holder(&stand, ATTACHER).await, "go", "only the leader attaches");
    assert!(!combined.last_lines(10_000).contains("ControllerPublishVolume"), "it does not lead there");

    go.kill();
    wait_for("the lease to run out", async || holder(&stand, ATTACHER).await == "combined").await;
    attachments.delete_collection(&DeleteParams::default(), &ListParams::default()).await.expect("deleted");
    let none = async || attachments.list(&ListParams::default()).await.expect("listed").items.is_empty();
    wait_for("what the Go attacher attached to be detached", none).await;
    assert!(combined.exited().is_none(), "{}", combined.last_lines(20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_one_lease_ends_the_whole_process() {
    let stand = up("lost").await;
    let mut process = stand.sidecar("controller", "one", &["--leader-election"]);
    wait_for("both leases", async || !holder(&stand, ATTACHER).await.is_empty()).await;
    let leases: Api<Lease> = Api::namespaced(stand.client.clone(), &stand.namespace);
    let taken = json!({"spec": {"holderIdentity": "another"}});
    leases.patch(ATTACHER, &PatchParams::default(), &Patch::Merge(&taken)).await.expect("taken");
    wait_for("the process to end", || std::future::ready(process.exited().is_some())).await;
    assert_eq!(process.exited().and_then(|status| status.code()), Some(1));
    assert!(process.last_lines(20).contains("Stopped leading"), "{}", process.last_lines(20));
}
