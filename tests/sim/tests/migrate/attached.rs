//! A volume is attached in mid-conversion.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use kube::Client;
use kube::client::Body;
use serde_json::json;
use sim::ApiServer;

use crate::site::{RETAINED, Site, VOLUMES, volume};

/// A site with a disk of GCE whose handle lacks the project.
async fn with_disk() -> Site {
    let site = Site::new().await;
    let mut disk = volume("disk");
    disk["metadata"]["labels"] = json!({"topology.kubernetes.io/zone": "us-central1-a"});
    disk["spec"].as_object_mut().unwrap().remove("cinder");
    disk["spec"]["gcePersistentDisk"] = json!({"pdName": "d"});
    site.world.api.put(disk);
    site.rest().await;
    site
}

fn attach_disk(api: &ApiServer) {
    api.put(json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"name": "va"},
        "spec": {
            "attacher": "pd.csi.storage.gke.io", "nodeName": "node1", "source": {"persistentVolumeName": "disk"},
        },
    }));
}

/// A client before whose request of this number the disk is attached. Also: how many requests there were, and which was the last
/// that looked for attachments.
fn attaching(site: &Site, at: usize) -> (Client, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (count, look) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counter, last) = (count.clone(), look.clone());
    let (inner, api) = (site.world.client(), site.world.api.clone());
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let number = counter.fetch_add(1, SeqCst) + 1;
        if number == at {
            attach_disk(&api);
        }
        if request.uri().path().ends_with("volumeattachments") {
            last.store(number, SeqCst);
        }
        let inner = inner.clone();
        async move { inner.send(request).await }
    });
    (Client::new(service, "default"), count, look)
}

/// A node that has attached the disk without its project would fail to detach it with.
#[tokio::test(start_paused = true)]
async fn a_handle_never_changes_under_an_attachment() {
    for back in [false, true] {
        for at in 1.. {
            let site = with_disk().await;
            let mut options = site.options().in_use().in_project("p");
            options.only = Some("disk".to_owned());
            if back {
                site.run_with(&site.world.client(), &options, false).await.unwrap();
            }
            let before = site.get(VOLUMES, "disk");
            assert_eq!(before["spec"]["csi"].is_null(), !back);
            let (client, count, look) = attaching(&site, at);
            let told = site.run_with(&client, &options, back).await.unwrap();
            let after = site.get(VOLUMES, "disk");
            let is_same = after["metadata"]["uid"] == before["metadata"]["uid"];
            // What comes after the last look before the deletion is not seen.
            assert_eq!(is_same, at <= look.load(SeqCst), "{back} {at}: {told}");
            if is_same {
                assert!(after["metadata"]["annotations"][RETAINED].is_null(), "{back} {at}");
                assert_eq!(after["spec"], before["spec"], "{back} {at}: {told}");
                assert!(
                    !told.is_complete() && told.to_string().contains("in use under the handle"),
                    "{told}"
                );
            }
            if at > count.load(SeqCst) {
                break;
            }
        }
    }
}
