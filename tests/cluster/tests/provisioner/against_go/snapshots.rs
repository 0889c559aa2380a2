//! Snapshots that claims are filled from: there is no snapshot controller.

use std::time::Duration;

use cluster::stand::Stand;
use cluster::wait;
use csi::v1;
use serde_json::{Value, json};

use super::driver;
use super::mix::DRIVER;
use super::seen::Names;

const LIMIT: Duration = Duration::from_secs(120);
const SNAPSHOTS: &str = "snapshot.storage.k8s.io/v1";

/// A snapshot at the driver, and its two objects, bound to each other.
pub(super) async fn take_snapshot(stand: &Stand, name: &str, claim: &str, mode: &str, names: &mut Names) {
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
    let cut = Cut { handle: &taken.snapshot_id, size: taken.size_bytes, mode, driver: DRIVER, ready: true };
    put_snapshot(stand, name, &cut).await;
}

/// What the objects of a snapshot say of it.
pub(super) struct Cut<'a> {
    pub(super) handle: &'a str,
    pub(super) size: i64,
    pub(super) mode: &'a str,
    pub(super) driver: &'a str,
    pub(super) ready: bool,
}

/// The two objects of a snapshot, bound to each other.
pub(super) async fn put_snapshot(stand: &Stand, name: &str, cut: &Cut<'_>) {
    let namespace = &stand.namespace;
    let snapshot = json!({
        "apiVersion": SNAPSHOTS, "kind": "VolumeSnapshot", "metadata": {"name": name},
        "spec": {"source": {"volumeSnapshotContentName": name}},
    });
    let snapshot = stand.control_plane.apply_object(snapshot, namespace).await.expect("a snapshot");
    let content = json!({
        "apiVersion": SNAPSHOTS, "kind": "VolumeSnapshotContent", "metadata": {"name": name},
        "spec": {
            "driver": cut.driver, "deletionPolicy": "Retain", "source": {"snapshotHandle": cut.handle},
            "sourceVolumeMode": cut.mode,
            "volumeSnapshotRef": {"name": name, "namespace": namespace, "uid": snapshot.metadata.uid},
        },
    });
    stand.control_plane.apply_object(content, "").await.expect("a content");
    let ready = json!({
        "readyToUse": cut.ready, "restoreSize": cut.size.to_string(), "boundVolumeSnapshotContentName": name,
    });
    patch_status(stand, &format!("namespaces/{namespace}/volumesnapshots/{name}"), ready).await;
    let ready = json!({"readyToUse": cut.ready, "restoreSize": cut.size, "snapshotHandle": cut.handle});
    patch_status(stand, &format!("volumesnapshotcontents/{name}"), ready).await;
}

async fn patch_status(stand: &Stand, path: &str, status: Value) {
    let request = http::Request::patch(format!("/apis/{SNAPSHOTS}/{path}/status"))
        .header("content-type", "application/merge-patch+json")
        .body(json!({"status": status}).to_string().into_bytes())
        .expect("a request");
    let _: Value = stand.client.request(request).await.expect("patched");
}

pub(super) async fn delete_all(stand: &Stand, kind: &str) {
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
