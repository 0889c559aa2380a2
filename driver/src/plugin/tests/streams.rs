//! Streams of snapshot metadata and what others do meanwhile.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use csi::v1::volume_capability::BlockVolume;
use tokio::sync::mpsc;

use super::*;
use crate::metadata::{Runs, Walk};
use crate::service::hand_on;

/// A snapshot of a block volume of this many bytes, each second block of which has data, and the last byte.
async fn snapshot(f: &Fixture, bytes: i64) -> String {
    let mut request = create("v").into_inner();
    request.capacity_range = Some(v1::CapacityRange { required_bytes: bytes, limit_bytes: bytes });
    request.volume_capabilities[0].access_type = Some(AccessType::Block(BlockVolume {}));
    let volume = f.service.create_volume(Request::new(request)).await.unwrap().into_inner().volume.unwrap();
    let plugin = &f.service.0;
    let data = plugin.store.volume(&volume.volume_id).unwrap().data.clone();
    let file = plugin.options.state_folder.join("drivers/hostpath.csi.k8s.io").join(data);
    let file = File::options().write(true).open(file).unwrap();
    for at in (0..u64::try_from(bytes).unwrap()).step_by(8192) {
        file.write_all_at(b"x", at).unwrap();
    }
    file.write_all_at(b"x", u64::try_from(bytes).unwrap() - 1).unwrap();
    let request = v1::CreateSnapshotRequest {
        name: "s".to_owned(),
        source_volume_id: volume.volume_id,
        ..Default::default()
    };
    let reply = f.service.create_snapshot(Request::new(request)).await.unwrap();
    reply.into_inner().snapshot.unwrap().snapshot_id
}

fn walk(f: &Fixture, snapshot: &str) -> Walk {
    let snapshot_id = snapshot.to_owned();
    let request = v1::GetMetadataAllocatedRequest { snapshot_id, max_results: 1, ..Default::default() };
    f.service.0.allocated(&request).unwrap()
}

fn runs(walk: &Walk) -> Vec<(i64, i64)> {
    let mut all = Vec::new();
    let note = |found: Runs| {
        all.extend(found.runs.iter().map(|run| (run.byte_offset, run.size_bytes)));
        true
    };
    walk.run(note).unwrap();
    all
}

#[tokio::test]
async fn a_snapshot_that_is_being_read_can_be_deleted() {
    let f = fixture();
    let id = snapshot(&f, 1 << 20).await;
    let walk = walk(&f, &id);
    let delete = v1::DeleteSnapshotRequest { snapshot_id: id.clone(), ..Default::default() };
    f.service.delete_snapshot(Request::new(delete)).await.unwrap();
    assert_eq!(runs(&walk).len(), 129, "and the reader goes on");
}

#[tokio::test]
async fn a_reader_that_stops_is_refused_and_gives_its_place_back() {
    let f = fixture();
    let id = snapshot(&f, 1 << 20).await;
    let walk = walk(&f, &id);
    let (sender, mut receiver) = mpsc::channel(1);
    let stall = Duration::from_millis(10);
    let handed = tokio::task::spawn_blocking(move || hand_on(&walk, &sender, drop, stall)).await.unwrap();
    assert_eq!(handed.unwrap_err().code(), Code::Unavailable);
    receiver.recv().await.unwrap().unwrap();
    assert!(receiver.recv().await.is_none());
    let all: Vec<_> = std::iter::from_fn(|| f.service.0.streams.take().ok()).collect();
    assert_eq!(all.len(), 32);
}

#[tokio::test]
async fn blocks_of_fixed_length_end_with_their_volume() {
    for (bytes, block) in [(65536, 4096), (65536 + 512, 512)] {
        let f = fixture();
        let id = snapshot(&f, bytes).await;
        let runs = runs(&walk(&f, &id));
        assert!(runs.iter().all(|(_, size)| *size == block), "{runs:?}");
        assert_eq!(runs.last(), Some(&(bytes - block, block)));
        assert!(runs.iter().any(|(offset, _)| *offset == 8192) && runs.len() < 16, "{runs:?}");
    }
}
