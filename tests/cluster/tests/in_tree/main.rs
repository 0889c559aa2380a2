//! The driver that has replaced an in-tree plugin, on a real control plane: our hostpath driver under the name of cinder's.
//!
//! `against_go` compares what the Go sidecars make of such volumes with what ours do.
//!
//! What kube-controller-manager does for such a class is upstream's own: the annotations of claim and volume, and the
//! VolumeAttachment of an in-tree volume.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

mod against_go;
mod ids;

use std::collections::BTreeMap;
use std::time::Duration;

use cluster::node::NodeDriver;
use cluster::stand::Stand;
use cluster::wait;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, ServiceAccount};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(120);
const DRIVER: &str = "cinder.csi.openstack.org";
const PLUGIN: &str = "kubernetes.io/cinder";

/// A control plane with the driver, a node that has it, and a class of the plugin.
async fn stand() -> Stand {
    let rbac = concat!(
        include_str!("../../../../manifests/rbac/provisioner.yaml"),
        "\n---\n",
        include_str!("../../../../manifests/rbac/attacher.yaml")
    );
    let flags = ["--enable-attach", &format!("--drivername={DRIVER}")];
    let stand = Stand::with("in-tree", &flags, "csi-sidecars", rbac).await;
    let driver =
        NodeDriver { name: DRIVER.to_owned(), node_id: "node-1".to_owned(), ..NodeDriver::default() };
    stand.control_plane.node("node-1", &BTreeMap::new(), &[driver]).await.expect("a node");
    for object in [
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER},
            "spec": {"attachRequired": true},
        }),
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "standard"},
            "provisioner": PLUGIN, "parameters": {"fsType": "xfs"}, "reclaimPolicy": "Delete",
        }),
    ] {
        stand.control_plane.apply_object(object, "").await.expect("applied");
    }
    let accounts: Api<ServiceAccount> = Api::namespaced(stand.client.clone(), &stand.namespace);
    let account = async || accounts.get_opt("default").await.ok()?;
    wait::until("the default service account", LIMIT, account).await.expect("an account");
    stand
}

/// The claim's volume, once it is bound and says where it is migrated to.
async fn bound(stand: &Stand, claims: &Api<PersistentVolumeClaim>) -> PersistentVolume {
    let volumes: Api<PersistentVolume> = Api::all(stand.client.clone());
    let volume = async || {
        let claim = claims.get("data").await.ok()?;
        (claim.status?.phase? == "Bound").then_some(())?;
        let volume = volumes.get(&claim.spec?.volume_name?).await.ok()?;
        volume.metadata.annotations.as_ref()?.get("pv.kubernetes.io/migrated-to")?;
        Some(volume)
    };
    wait::until("the claim to be bound", LIMIT, volume).await.expect("bound")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_in_tree_claim_lives_and_dies_with_the_driver() {
    let stand = stand().await;
    let mut provisioner = stand.sidecar("csi-provisioner", "p", &[]);
    let mut attacher = stand.sidecar("csi-attacher", "a", &[]);
    let claims = stand.claim("data", "standard", "1Mi").await;
    let volume = bound(&stand, &claims).await;
    let (name, annotations) =
        (volume.metadata.name.expect("a name"), volume.metadata.annotations.expect("some"));
    let annotation = |key: &str| annotations.get(key).map(String::as_str);
    assert_eq!(annotation("pv.kubernetes.io/provisioned-by"), Some(PLUGIN));
    assert_eq!(annotation("pv.kubernetes.io/migrated-to"), Some(DRIVER));
    let spec = volume.spec.expect("a spec");
    let cinder = spec.cinder.expect("a volume of the plugin");
    assert_eq!((spec.csi, cinder.fs_type.as_deref()), (None, Some("xfs")));
    assert!(!cinder.volume_id.is_empty());

    // The attach-detach controller asks for the attachment of a translated volume.
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
        "spec": {
            "nodeName": "node-1", "containers": [{"name": "main", "image": "i"}],
            "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}],
        },
    });
    stand.control_plane.apply_object(pod, &stand.namespace).await.expect("a pod");
    let attachments: Api<VolumeAttachment> = Api::all(stand.client.clone());
    let attached = async || {
        let attachment = attachments.list(&ListParams::default()).await.ok()?.items.pop()?;
        attachment.status.as_ref()?.attached.then_some(attachment)
    };
    let attachment = wait::until("the volume to be attached", LIMIT, attached).await.expect("attached");
    assert_eq!(attachment.spec.attacher, DRIVER);
    assert_eq!(attachment.spec.source.persistent_volume_name.as_ref(), Some(&name));

    let pods: Api<Pod> = Api::namespaced(stand.client.clone(), &stand.namespace);
    pods.delete("web", &DeleteParams::default().grace_period(0)).await.expect("deleted");
    let none = async || attachments.list(&ListParams::default()).await.ok()?.items.is_empty().then_some(());
    wait::until("the attachment to go", LIMIT, none).await.expect("detached");
    claims.delete("data", &DeleteParams::default()).await.expect("deleted");
    let volumes: Api<PersistentVolume> = Api::all(stand.client.clone());
    let none = async || volumes.list(&ListParams::default()).await.ok()?.items.is_empty().then_some(());
    wait::until("the volume to go", LIMIT, none).await.expect("deleted");

    for (sidecar, method) in [("p", "CreateVolume"), ("p", "DeleteVolume"), ("a", "ControllerPublishVolume")]
    {
        let page = stand.metrics(sidecar).await;
        let counted = |line: &str| {
            line.contains("_count") && line.contains(method) && line.contains("migrated=\"true\"")
        };
        assert!(page.lines().any(counted), "{method}: {page}");
    }
    for sidecar in [&mut provisioner, &mut attacher] {
        let log = sidecar.last_lines(10_000);
        assert!(!log.lines().any(|line| line.starts_with('E')), "{log}");
        sidecar.terminate(LIMIT).await.expect("it ends");
    }
}
