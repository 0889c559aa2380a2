//! Images and journals are ceph-csi's: laid out by hand as it leaves them they are ours to use, and ours are as it wants them.

use cluster::ceph::POOL;
use csi::v1;
use tonic::Code;

use crate::stand::{Stand, map};

const UUID: &str = "50d53503-9da1-11ed-847e-bacf8f2f1297";
const MIB: i64 = 1 << 20;

/// Lays out a volume as ceph-csi leaves it.
fn lay_out(stand: &Stand, name: &str, uuid: &str, image: &str) {
    stand.rbd(&["create", "--size", "16M", "--image-feature", "layering", image]);
    stand.set_omap("csi.volumes.default", &[(&format!("csi.volume.{name}"), uuid)]);
    let id = stand.image_id(image);
    stand.set_omap(
        &format!("csi.volume.{uuid}"),
        &[
            ("csi.volname", name),
            ("csi.imagename", image),
            ("csi.imageid", &id),
            ("csi.volume.owner", "team"),
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_of_ceph_csi_is_used_as_ours() {
    let Some(stand) = Stand::start("theirs", &[]).await else { return };
    let image = format!("csi-vol-{UUID}");
    lay_out(&stand, "pvc-1", UUID, &image);
    let id = stand.handle(UUID);
    assert_eq!(stand.listed().await, [(id.clone(), 16 * MIB)].into());
    let again = stand.created(stand.create("pvc-1", 10 * MIB)).await;
    assert_eq!((again.volume_id.as_str(), again.capacity_bytes), (id.as_str(), 16 * MIB));
    assert_eq!(again.volume_context["imageName"], image);
    let clash = stand.call(stand.create("pvc-1", 17 * MIB)).await.unwrap_err();
    assert_eq!(clash.code(), Code::AlreadyExists, "{clash}");
    assert_eq!(stand.expand(&id, 32 * MIB).await.unwrap(), 32 * MIB);
    assert!(stand.rbd(&["info", &image]).contains("size 32 MiB"));
    // A volume whose image has the default name does not say it.
    let plain = "7c0dee1e-0f32-4a47-9a63-0a7b1c9f1c55";
    lay_out(&stand, "pvc-2", plain, &format!("csi-vol-{plain}"));
    stand.rados(&["rmomapkey", &format!("csi.volume.{plain}"), "csi.imagename"]);
    let prefixed = "0b1d0a3e-55f0-4d3c-8a8e-3a4d9a5b9b11";
    lay_out(&stand, "pvc-3", prefixed, &format!("k8s-{prefixed}"));
    let ids = [id, stand.handle(plain), stand.handle(prefixed)];
    assert_eq!(stand.listed().await.into_keys().collect::<Vec<_>>(), {
        let mut sorted = ids.to_vec();
        sorted.sort();
        sorted
    });
    for id in ids {
        stand.delete(&id).await.unwrap();
        stand.delete(&id).await.unwrap();
    }
    stand.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_ceph_csi_is_restored_and_deleted() {
    let Some(stand) = Stand::start("their-snapshot", &[]).await else { return };
    let (volume, snapshot) = (format!("csi-vol-{UUID}"), format!("csi-snap-{UUID}"));
    lay_out(&stand, "pvc-1", UUID, &volume);
    stand.rbd(&["snap", "create", &format!("{volume}@{snapshot}")]);
    let features = ["--image-feature", "layering", "--image-feature", "deep-flatten"];
    let from = format!("{volume}@{snapshot}");
    let mut clone = vec!["clone", "--rbd-default-clone-format", "2"];
    clone.extend(features);
    // Of two images `--namespace` is the first one's.
    let to = format!("{POOL}/{}/{snapshot}", stand.namespace);
    clone.extend([from.as_str(), to.as_str()]);
    stand.rbd(&clone);
    stand.rbd(&["snap", "rm", &format!("{volume}@{snapshot}")]);
    stand.rbd(&["snap", "create", &format!("{snapshot}@{snapshot}")]);
    stand.set_omap("csi.snaps.default", &[("csi.snap.snapshot-1", UUID)]);
    let id = stand.image_id(&snapshot);
    stand.set_omap(
        &format!("csi.snap.{UUID}"),
        &[
            ("csi.snapname", "snapshot-1"),
            ("csi.imagename", &snapshot),
            ("csi.imageid", &id),
            ("csi.source", &volume),
        ],
    );
    let handle = stand.handle(UUID);
    let found = stand.snapshot("snapshot-1", &handle).await.unwrap();
    assert_eq!(
        (found.snapshot_id.as_str(), found.size_bytes, found.ready_to_use),
        (handle.as_str(), 16 * MIB, true)
    );
    let restored = v1::CreateVolumeRequest {
        volume_content_source: conformance::request::restore_of(&handle),
        ..stand.create("pvc-2", 16 * MIB)
    };
    let restored = stand.created(restored).await;
    stand.delete(&handle).await.unwrap();
    stand.delete_snapshot(&handle).await.unwrap();
    assert_eq!(stand.images(), [restored.volume_context["imageName"].as_str()]);
    stand.delete(&restored.volume_id).await.unwrap();
    stand.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn our_journal_is_ceph_csis_key_by_key() {
    let Some(stand) = Stand::start("ours", &[]).await else { return };
    let mut wanted = stand.create("pvc-1", 16 * MIB);
    wanted.parameters.extend(map(&[
        ("imageFeatures", "layering"),
        ("csi.storage.k8s.io/pvc/namespace", "team"),
        ("mounter", "rbd"),
    ]));
    let volume = stand.created(wanted).await;
    let uuid = &volume.volume_id[volume.volume_id.len() - 36..];
    let image = format!("csi-vol-{uuid}");
    assert_eq!(volume.volume_id, stand.handle(uuid));
    assert_eq!(stand.images(), [image.as_str()]);
    assert!(stand.rbd(&["info", &image]).contains("features: layering\n"));
    assert_eq!(stand.omap("csi.volumes.default"), map(&[("csi.volume.pvc-1", uuid)]));
    let id = stand.image_id(&image);
    let attributes = [
        ("csi.volname", "pvc-1"),
        ("csi.imagename", &image),
        ("csi.imageid", &id),
        ("csi.volume.owner", "team"),
    ];
    assert_eq!(stand.omap(&format!("csi.volume.{uuid}")), map(&attributes));
    let context = [
        ("clusterID", "ours"),
        ("imageFeatures", "layering"),
        ("imageName", &image),
        ("journalPool", "rbd"),
        ("mounter", "rbd"),
        ("pool", "rbd"),
        ("radosNamespace", "ours"),
    ];
    assert_eq!(volume.volume_context, map(&context));
    let snapshot = stand.snapshot("snapshot-1", &volume.volume_id).await.unwrap();
    let uuid = &snapshot.snapshot_id[snapshot.snapshot_id.len() - 36..];
    let snapshot_image = format!("csi-snap-{uuid}");
    assert_eq!(stand.omap("csi.snaps.default"), map(&[("csi.snap.snapshot-1", uuid)]));
    let id = stand.image_id(&snapshot_image);
    let attributes = [
        ("csi.snapname", "snapshot-1"),
        ("csi.imagename", &snapshot_image),
        ("csi.imageid", &id),
        ("csi.source", &image),
    ];
    assert_eq!(stand.omap(&format!("csi.snap.{uuid}")), map(&attributes));
    // The volume keeps no snapshot of its own; the snapshot's image has one of its own name.
    assert_eq!(stand.rbd(&["snap", "ls", &image]), "");
    assert!(stand.rbd(&["snap", "ls", &snapshot_image]).contains(&snapshot_image));
    assert!(stand.rbd(&["info", &snapshot_image]).contains("features: layering, deep-flatten"));
    stand.delete_snapshot(&snapshot.snapshot_id).await.unwrap();
    stand.delete(&volume.volume_id).await.unwrap();
    stand.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_in_tree_volume_is_grown_and_deleted() {
    let Some(stand) = Stand::start("7982de6a23b77bce50b1ba9f2e879cce", &[]).await else { return };
    let image = format!("kubernetes-dynamic-pvc-{UUID}");
    stand.rbd(&["create", "--size", "16M", &image]);
    let id = format!("mig_mons-{}_image-{UUID}_726264", stand.namespace);
    assert_eq!(stand.expand(&id, 20 * MIB).await.unwrap(), 20 * MIB);
    assert!(stand.rbd(&["info", &image]).contains("size 20 MiB"));
    stand.delete(&id).await.unwrap();
    stand.delete(&id).await.unwrap();
    stand.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_entry_leads_to_decides_before_its_source() {
    let Some(stand) = Stand::start("entries", &[]).await else { return };
    let directory = "csi.volumes.default";
    // The image's pool was removed, and the image with it.
    stand.set_omap(directory, &[("csi.volume.lost", &format!("00000000000fffff/{UUID}"))]);
    let lost = stand.created(stand.create("lost", 16 * MIB)).await;
    assert_eq!(stand.images(), [lost.volume_context["imageName"].as_str()]);
    // A copy was begun, and its source cannot be copied any more.
    let object = format!("csi.volume.{}", &lost.volume_id[lost.volume_id.len() - 36..]);
    stand.set_omap(&object, &[("csi.volume.encryptKMS", "kms")]);
    let copy = || v1::CreateVolumeRequest {
        volume_content_source: conformance::request::clone_of(&lost.volume_id),
        ..stand.create("copy", 16 * MIB)
    };
    let status = stand.call(copy()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "nothing was begun: {status}");
    lay_out(&stand, "copy", UUID, &format!("csi-vol-{UUID}"));
    stand.rados(&["rmomapkey", &format!("csi.volume.{UUID}"), "csi.imageid"]);
    let status = stand.call(copy()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "its caller comes back: {status}");
    assert_eq!(stand.listed().await.into_keys().collect::<Vec<_>>(), [lost.volume_id.as_str()]);
    stand.rados(&["rmomapkey", &object, "csi.volume.encryptKMS"]);
    let copied = stand.created(copy()).await;
    for id in [&copied.volume_id, &lost.volume_id] {
        stand.delete(id).await.unwrap();
    }
    stand.assert_empty();
}
