//! Volumes that are attached: left alone, or converted under their pods if so told.

use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use std::collections::BTreeMap;

use cluster::node::NodeDriver;

use crate::site::{CSI, LIMIT, Site};

/// The one attachment, once it is attached.
async fn attached(site: &Site) -> VolumeAttachment {
    let attachments: Api<VolumeAttachment> = Api::all(site.stand.client.clone());
    let attached = async || {
        let attachment = attachments.list(&ListParams::default()).await.ok()?.items.pop()?;
        attachment.status.as_ref()?.attached.then_some(attachment)
    };
    site.until("the volume to be attached", attached).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attached_volume_is_left_alone_unless_told() {
    let site = Site::with_driver("in-use").await;
    let driver = NodeDriver { name: CSI.to_owned(), node_id: "node-1".to_owned(), ..NodeDriver::default() };
    site.stand.control_plane.node("node-1", &BTreeMap::new(), &[driver]).await.expect("a node");
    let accounts: Api<ServiceAccount> = Api::namespaced(site.stand.client.clone(), &site.stand.namespace);
    site.until("the default service account", async || accounts.get_opt("default").await.ok()?).await;
    let mut provisioner = site.stand.provisioner("p", &[]);
    let mut attacher = site.stand.sidecar("csi-attacher", "a", &[]);
    site.provisioned(1).await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
        "spec": {
            "nodeName": "node-1", "containers": [{"name": "main", "image": "i"}],
            "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "claim-0"}}],
        },
    });
    site.stand.control_plane.apply_object(pod, &site.stand.namespace).await.expect("a pod");
    let before = attached(&site).await;
    let (objects, phases) = (site.objects().await, site.watch_phases());
    let name = before.spec.source.persistent_volume_name.clone().expect("a volume");

    let (code, told) = site.migrate_with(&["--undo-file", &site.file()]).await;
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains(&format!("PersistentVolume {name}: not now: it is attached to node-1\n")),
        "{told}"
    );
    assert!(told.contains(&format!("not now: it is used by {}/web\n", site.stand.namespace)), "{told}");
    assert_eq!(site.objects().await, objects);

    let told = site.migrate(&["--undo-file", &site.file(), "--in-use"]).await;
    assert!(told.contains("1 volumes converted"), "{told}");
    let volume = site.volume(&name).await;
    assert_eq!(volume["spec"]["csi"]["driver"], CSI);
    let finalizer = json!("external-attacher/cinder-csi-openstack-org");
    let finalizers = volume["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    assert!(finalizers.contains(&finalizer), "{finalizers:?}");
    let after = attached(&site).await;
    assert_eq!(after.metadata.uid, before.metadata.uid, "the same attachment");
    assert_eq!(after.metadata.deletion_timestamp, None);

    let pods: Api<Pod> = Api::namespaced(site.stand.client.clone(), &site.stand.namespace);
    pods.delete("web", &DeleteParams::default().grace_period(0)).await.expect("deleted");
    let free = async || {
        let attachments = site.list("/apis/storage.k8s.io/v1/volumeattachments").await;
        attachments.is_empty().then_some(())
    };
    site.until("the volume to be detached", free).await;
    let page = site.stand.metrics("a").await;
    let detached = |line: &str| line.contains("ControllerUnpublishVolume") && line.contains("\"OK\"");
    assert!(page.lines().any(detached), "{page}");
    site.migrate(&["--undo", &site.file()]).await;
    site.settle(&objects).await;
    assert_eq!(site.objects().await, objects);
    phases.only_bound().await;
    // The finalizer of an attacher, which it once was attached by, holds nobody up.
    site.delete_claims().await;
    site.until("the volume to go", async || site.volume(&name).await.is_null().then_some(())).await;
    assert!(site.driver_volumes().is_empty());
    for sidecar in [&mut provisioner, &mut attacher] {
        sidecar.terminate(LIMIT).await.expect("it ends");
    }
}
