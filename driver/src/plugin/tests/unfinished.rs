//! Calls that end half-way: what the next one finds.

use csi::v1::node_server::Node;

use super::*;
use crate::store::{Fault, Publication, Volume};

fn strike(f: &Fixture, fault: Option<Fault>) {
    *f.service.0.store.fault.lock().unwrap() = fault;
}

async fn made(f: &Fixture, name: &str) -> Arc<Volume> {
    let volume = f.service.create_volume(create(name)).await.unwrap().into_inner().volume.unwrap();
    f.service.0.store.volume(&volume.volume_id).unwrap()
}

fn delete(id: &str) -> Request<v1::DeleteVolumeRequest> {
    Request::new(v1::DeleteVolumeRequest { volume_id: id.to_owned(), ..Default::default() })
}

fn is_there(f: &Fixture, volume: &Volume) -> bool {
    f.service.0.backend.is_there(&Item::from(volume)).unwrap()
}

/// How many things are in this folder of the driver's.
fn count(f: &Fixture, place: &str) -> usize {
    let own = f.service.0.options.state_folder.join("drivers/hostpath.csi.k8s.io");
    std::fs::read_dir(own.join(place)).unwrap().count()
}

#[tokio::test]
async fn content_whose_record_may_come_back_is_not_discarded() {
    let f = fixture();
    strike(&f, Some(Fault::Unfinished));
    let status = f.service.create_volume(create("v")).await.unwrap_err();
    assert_eq!((status.code(), count(&f, ".new")), (Code::Unavailable, 1), "{status}");
    made(&f, "v").await;
}

#[tokio::test]
async fn a_removal_whose_record_may_be_gone_stays_hidden() {
    let f = fixture();
    let volume = made(&f, "v").await;
    strike(&f, Some(Fault::Unfinished));
    let status = f.service.delete_volume(delete(&volume.id)).await.unwrap_err();
    assert_eq!((status.code(), count(&f, ".old")), (Code::Unavailable, 1), "{status}");
    assert!(!is_there(&f, &volume));
    let waiting = (v1::VolumeHealthErrorType::Inaccessible, "ContentUnreadable".to_owned());
    assert_eq!(unhealthy(&f).await, [waiting], "it is not lost");
    f.service.delete_volume(delete(&volume.id)).await.unwrap();
    assert_eq!((count(&f, ".old"), f.service.0.store.read().volumes.len()), (0, 0));
}

#[tokio::test]
async fn a_repeated_create_brings_back_what_was_half_removed() {
    let f = fixture();
    let volume = made(&f, "v").await;
    strike(&f, Some(Fault::Unfinished));
    f.service.delete_volume(delete(&volume.id)).await.unwrap_err();
    assert_eq!(made(&f, "v").await.id, volume.id);
    assert!(is_there(&f, &volume) && unhealthy(&f).await.is_empty());
}

#[tokio::test]
async fn a_repeated_create_does_not_answer_for_what_is_being_removed() {
    let f = fixture();
    let volume = made(&f, "v").await;
    let cut = v1::CreateSnapshotRequest {
        name: "s".to_owned(),
        source_volume_id: volume.id.clone(),
        ..Default::default()
    };
    let snapshot = f.service.create_snapshot(Request::new(cut.clone())).await.unwrap().into_inner().snapshot;
    let locks = &f.service.0.locks;
    let removing =
        [volume.id.clone(), snapshot.unwrap().snapshot_id].map(|id| locks.alone(Key::Content(id)).unwrap());
    let refused = [
        f.service.create_volume(create("v")).await.unwrap_err(),
        f.service.create_snapshot(Request::new(cut.clone())).await.unwrap_err(),
    ];
    assert!(refused.iter().all(|status| status.code() == Code::Aborted), "{refused:?}");
    drop(removing);
    f.service.create_snapshot(Request::new(cut)).await.unwrap();
    made(&f, "v").await;
    // Hidden, and nobody works on it.
    f.service.0.backend.retire(&Item::from(&*volume)).unwrap();
    let status = f.service.create_volume(create("v")).await.unwrap_err();
    assert_eq!(status.code(), Code::Aborted, "{status}");
}

#[tokio::test]
async fn a_repeated_group_does_not_answer_for_what_is_being_removed() {
    let f = fixture();
    let volume = made(&f, "v").await;
    let group = v1::CreateVolumeGroupSnapshotRequest {
        name: "g".to_owned(),
        source_volume_ids: vec![volume.id.clone()],
        ..Default::default()
    };
    let create = async || f.service.create_volume_group_snapshot(Request::new(group.clone())).await;
    let made = create().await.unwrap().into_inner().group_snapshot.unwrap();
    let removing = f.service.0.locks.alone(Key::Group(made.group_snapshot_id)).unwrap();
    assert_eq!(create().await.unwrap_err().code(), Code::Aborted);
    drop(removing);
    create().await.unwrap();
}

fn unpublish(volume: &Volume) -> Request<v1::NodeUnpublishVolumeRequest> {
    let target_path = "/nowhere/target".to_owned();
    Request::new(v1::NodeUnpublishVolumeRequest { volume_id: volume.id.clone(), target_path })
}

fn record_publication(f: &Fixture, volume: &Volume) {
    let publication = Publication { readonly: false, mode: 1, boot: None };
    let record = |volume: &mut Volume| _ = volume.published.insert("/nowhere/target".to_owned(), publication);
    f.service.0.store.update(&volume.id, record).unwrap();
}

#[tokio::test]
async fn a_device_that_was_not_let_go_of_goes_with_the_next_call() {
    let f = fixture();
    let volume = made(&f, "v").await;
    record_publication(&f, &volume);
    f.faults.detach.store(1, Ordering::SeqCst);
    f.service.node_unpublish_volume(unpublish(&volume)).await.unwrap_err();
    assert_eq!(f.faults.detached.load(Ordering::SeqCst), 0);
    f.service.node_unpublish_volume(unpublish(&volume)).await.unwrap();
    assert_eq!(f.faults.detached.load(Ordering::SeqCst), 2, "both kinds of devices");
}

#[tokio::test]
async fn a_full_disk_lets_volumes_be_unpublished_and_deleted() {
    let f = fixture();
    let volume = made(&f, "v").await;
    record_publication(&f, &volume);
    strike(&f, Some(Fault::Full));
    assert_eq!(f.service.create_volume(create("w")).await.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(count(&f, ".new"), 0);
    f.service.node_unpublish_volume(unpublish(&volume)).await.unwrap();
    assert!(f.service.0.store.volume(&volume.id).unwrap().published.is_empty());
    f.service.delete_volume(delete(&volume.id)).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_forgotten_at_a_start_is_forgotten_later() {
    let f = fixture();
    let volume = made(&f, "v").await;
    let (plugin, other) = (&f.service.0, Some("another boot".to_owned()));
    let record = |volume: &mut Volume| {
        let publication = Publication { readonly: false, mode: 1, boot: other.clone() };
        volume.published.insert("/nowhere/target".to_owned(), publication);
        volume.staged.insert("/nowhere/stage".to_owned());
        volume.staged_in = other.clone();
    };
    plugin.store.update(&volume.id, record).unwrap();
    let left = || {
        let volume = plugin.store.volume(&volume.id).unwrap();
        (volume.published.len(), volume.staged.len())
    };
    strike(&f, Some(Fault::Unfinished));
    plugin.forget_lost();
    assert_eq!(left(), (1, 1), "and the start goes on");
    plugin.forget_lost();
    assert_eq!(left(), (0, 0));
    // Of an unknown boot, at a place that cannot be seen.
    record_publication(&f, &volume);
    plugin.forget_lost();
    assert_eq!(left(), (1, 0));
}

fn inline(parent: &Path) -> Request<v1::NodePublishVolumeRequest> {
    Request::new(v1::NodePublishVolumeRequest {
        volume_id: "inline".to_owned(),
        target_path: parent.join("target").to_str().unwrap().to_owned(),
        volume_capability: create("").into_inner().volume_capabilities.pop(),
        volume_context: [("csi.storage.k8s.io/ephemeral".to_owned(), "true".to_owned())].into(),
        ..Default::default()
    })
}

#[tokio::test]
async fn an_inline_volume_that_somebody_reads_is_not_taken_back() {
    let f = fixture();
    let absent = f.service.0.options.state_folder.join("absent");
    let reading = f.service.0.locks.shared(Key::Content("inline".to_owned())).unwrap();
    let status = f.service.node_publish_volume(inline(&absent)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "not final: {status}");
    assert_eq!(f.service.0.store.read().volumes.len(), 1);
    drop(reading);
    let status = f.service.node_publish_volume(inline(&absent)).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");
    assert_eq!((f.service.0.store.read().volumes.len(), count(&f, ".old")), (0, 0));
}
