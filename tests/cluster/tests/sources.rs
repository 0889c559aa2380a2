//! csi-provisioner fills volumes on a real control plane: from a snapshot that was cut by hand, and from another claim.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use cluster::built::executable;
use cluster::stand::Stand;
use cluster::wait;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);
const HOLD: &str = "provisioner.storage.kubernetes.io/volumesnapshot-as-source-protection";
const CLONING: &str = "provisioner.storage.kubernetes.io/cloning-protection";

fn snapshots(stand: &Stand) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("snapshot.storage.k8s.io", "v1", "VolumeSnapshot");
    Api::namespaced_with(stand.client.clone(), &stand.namespace, &ApiResource::from_gvk(&kind))
}

fn contents(stand: &Stand) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("snapshot.storage.k8s.io", "v1", "VolumeSnapshotContent");
    Api::all_with(stand.client.clone(), &ApiResource::from_gvk(&kind))
}

/// The handle of the claim's volume, once it is bound.
async fn handle(stand: &Stand, claims: &Api<PersistentVolumeClaim>, name: &str) -> String {
    let bound = async || {
        let claim = claims.get(name).await.ok()?;
        let phase = claim.status.and_then(|status| status.phase);
        claim.spec?.volume_name.filter(|_| phase.as_deref() == Some("Bound"))
    };
    let volume = wait::until("the claim to be bound", LIMIT, bound).await.expect("bound");
    let volumes: Api<PersistentVolume> = Api::all(stand.client.clone());
    let volume = volumes.get(&volume).await.expect("a volume");
    volume.spec.and_then(|spec| spec.csi).expect("a CSI volume").volume_handle
}

/// The data of the one volume that was made since the last call.
fn data_of_new(stand: &Stand, known: &mut Vec<String>) -> PathBuf {
    let new: Vec<String> = stand.directories().into_iter().filter(|name| !known.contains(name)).collect();
    assert_eq!(new.len(), 1, "one volume is new: {new:?}");
    known.extend(new.iter().cloned());
    let folder = stand.control_plane.folder().join("volumes/drivers/hostpath.csi.k8s.io");
    folder.join(new.concat()).join("deep/data")
}

/// Cuts a snapshot at the driver; its id there.
fn cut(stand: &Stand, handle: &str) -> String {
    let mut csc = Command::new(executable("csc", "csc").expect("csc"));
    let endpoint = format!("unix://{}", stand.control_plane.folder().join("csi.sock").display());
    csc.args(["--endpoint", &endpoint, "controller", "create-snapshot", "--source-volume", handle, "cut"]);
    let output = csc.output().expect("csc runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let id = said.split('"').nth(1).filter(|id| !id.is_empty());
    assert!(id.is_some(), "no id: {said}");
    id.unwrap_or_default().to_owned()
}

/// What the snapshot controller and csi-snapshotter make of a snapshot that an administrator has brought.
async fn put_snapshot(stand: &Stand, name: &str, id: &str, finalizers: &[&str]) {
    let patch = PatchParams::default();
    let object = |value: Value| serde_json::from_value::<DynamicObject>(value).expect("an object");
    let content = format!("content-{name}");
    let snapshot = object(json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
        "metadata": {"name": name, "finalizers": finalizers},
        "spec": {"source": {"volumeSnapshotContentName": content}},
    }));
    let made = snapshots(stand).create(&PostParams::default(), &snapshot).await.expect("a snapshot");
    let bound = object(json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
        "metadata": {"name": content},
        "spec": {
            "driver": "hostpath.csi.k8s.io", "deletionPolicy": "Retain", "source": {"snapshotHandle": id},
            "sourceVolumeMode": "Filesystem",
            "volumeSnapshotRef": {"name": name, "namespace": stand.namespace, "uid": made.metadata.uid},
        },
    }));
    contents(stand).create(&PostParams::default(), &bound).await.expect("a content");
    let status = json!({"status": {"snapshotHandle": id, "readyToUse": true, "restoreSize": 1 << 20}});
    let patched = contents(stand).patch_status(&content, &patch, &Patch::Merge(&status)).await;
    patched.expect("the content's status");
    let status = json!({"status": {"boundVolumeSnapshotContentName": content, "readyToUse": true, "restoreSize": "1Mi"}});
    snapshots(stand).patch_status(name, &patch, &Patch::Merge(&status)).await.expect("the snapshot's status");
}

async fn fill(stand: &Stand, name: &str, source: Value) {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(stand.client.clone(), &stand.namespace);
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "csi", "dataSource": source,
            "resources": {"requests": {"storage": "1Mi"}},
        },
    });
    let claim = serde_json::from_value(claim).expect("a claim");
    claims.create(&PostParams::default(), &claim).await.expect("created");
}

fn of_snapshot(name: &str) -> Value {
    json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": name})
}

async fn until_not_held(stand: &Stand, name: &str) {
    let free = async || {
        let snapshot = snapshots(stand).get(name).await.ok()?;
        let finalizers = snapshot.metadata.finalizers.unwrap_or_default();
        (!finalizers.iter().any(|one| one == HOLD)).then_some(())
    };
    wait::until("the snapshot to be let go of", LIMIT, free).await.expect("in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshot_is_restored_and_claim_is_cloned_with_their_data() {
    let stand = Stand::up("sources").await;
    stand.control_plane.serve_snapshots().await.expect("snapshots");
    stand.class("csi", "Delete", "Immediate", &[]).await;
    // The Go csi-provisioner was killed while it restored this one.
    put_snapshot(&stand, "left", "gone", &[HOLD]).await;
    let mut provisioner = stand.provisioner("a", &[]);
    until_not_held(&stand, "left").await;

    let claims = stand.claim("source", "csi", "1Mi").await;
    let source = handle(&stand, &claims, "source").await;
    let data: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut known = Vec::new();
    let path = data_of_new(&stand, &mut known);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(&path, &data).expect("written");

    // The claim comes before its snapshot, and has failed more than once.
    fill(&stand, "restored", of_snapshot("snap")).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(stand.directories().len(), 1, "no volume without the snapshot");
    let id = cut(&stand, &source);
    std::fs::write(&path, "changed after the cut").expect("written");
    put_snapshot(&stand, "snap", &id, &[]).await;
    let ready = Instant::now();
    handle(&stand, &claims, "restored").await;
    // The back-off would have ended eight seconds after the last failure.
    assert!(ready.elapsed() < Duration::from_secs(5), "took {:?}", ready.elapsed());
    assert!(std::fs::read(data_of_new(&stand, &mut known)).expect("restored") == data, "other data");
    until_not_held(&stand, "snap").await;

    fill(&stand, "cloned", json!({"kind": "PersistentVolumeClaim", "name": "restored"})).await;
    handle(&stand, &claims, "cloned").await;
    assert!(std::fs::read(data_of_new(&stand, &mut known)).expect("cloned") == data, "other data");
    let held = claims.get("restored").await.expect("there").metadata.finalizers.unwrap_or_default();
    assert!(held.iter().any(|one| one == CLONING), "{held:?}");

    for name in ["restored", "cloned", "source"] {
        claims.delete(name, &DeleteParams::default()).await.expect("deleted");
    }
    let empty = async || stand.directories().is_empty().then_some(());
    wait::until("the volumes to go", LIMIT, empty).await.expect("nothing is left");
    let log = provisioner.last_lines(10_000);
    assert!(!log.contains("permission missing") && !log.contains("may not"), "{log}");
    provisioner.terminate(LIMIT).await.expect("it ends");
}
