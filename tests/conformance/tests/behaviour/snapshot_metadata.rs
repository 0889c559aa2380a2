//! Which blocks a snapshot has.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use conformance::request::{self, MIB};
use csi::{Client, StreamRpc, v1};

use super::{DEADLINE, published, unpublished, volume};

async fn runs(
    client: &Client,
    base: Option<&str>,
    target: &str,
    offset: i64,
    limit: i32,
) -> Vec<Vec<(i64, i64)>> {
    match base {
        None => {
            let request = v1::GetMetadataAllocatedRequest {
                snapshot_id: target.to_owned(),
                starting_offset: offset,
                max_results: limit,
                ..Default::default()
            };
            each(client, request, |message| {
                assert_eq!(message.volume_capacity_bytes, 64 * MIB);
                message.block_metadata
            })
            .await
        }
        Some(base) => {
            let request = v1::GetMetadataDeltaRequest {
                base_snapshot_id: base.to_owned(),
                target_snapshot_id: target.to_owned(),
                starting_offset: offset,
                max_results: limit,
                ..Default::default()
            };
            each(client, request, |message| message.block_metadata).await
        }
    }
}

/// Offset and size of the blocks of each message of a stream.
async fn each<R: StreamRpc>(
    client: &Client,
    request: R,
    blocks: impl Fn(R::Reply) -> Vec<v1::BlockMetadata>,
) -> Vec<Vec<(i64, i64)>> {
    let mut stream = client.stream(request, DEADLINE).await.unwrap();
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        messages.push(blocks(message).iter().map(|run| (run.byte_offset, run.size_bytes)).collect());
    }
    messages
}

/// Two snapshots of one device: blocks 0, 1, 2 and 4096 written before the first, 1 and 9 before the second.
async fn two_snapshots(client: &Client, folder: &Path) -> (String, String) {
    let id = volume(client, request::create("v", true, 64 * MIB)).await.volume_id;
    let target = folder.join("device");
    published(client, &id, &target, true, false).await.unwrap();
    let cut = |name: &'static str| client.call(request::snapshot(name, &id), DEADLINE);
    let write = |blocks: &[u64], byte: u8| {
        let device = File::options().write(true).open(&target).unwrap();
        for block in blocks {
            // Not synced: a snapshot has what was written before it, wherever that still is.
            device.write_all_at(&[byte; 4096], block * 4096).unwrap();
        }
    };
    write(&[0, 1, 2, 4096], 1);
    let first = cut("first").await.unwrap().snapshot.unwrap().snapshot_id;
    write(&[1, 9], 2);
    let second = cut("second").await.unwrap().snapshot.unwrap().snapshot_id;
    unpublished(client, &id, &target).await;
    (first, second)
}

with_driver!(
    snapshot_metadata_tells_blocks_of_one_length,
    ["--enable-snapshot-metadata"],
    |folder, driver| {
        let client = driver.client();
        let (first, second) = two_snapshots(client, folder).await;
        let far = 4096 * 4096;
        let all = [vec![(0, 4096), (4096, 4096), (8192, 4096), (far, 4096)]];
        assert_eq!(runs(client, None, &first, 0, 0).await, all);
        let halves = [vec![(0, 4096), (4096, 4096), (8192, 4096)], vec![(far, 4096)]];
        assert_eq!(runs(client, None, &first, 0, 3).await, halves);
        assert_eq!(runs(client, None, &first, 12288, 0).await, [vec![(far, 4096)]]);
        assert_eq!(runs(client, Some(&first), &second, 0, 0).await, [vec![(4096, 4096), (9 * 4096, 4096)]]);
        assert_eq!(runs(client, Some(&first), &first, 0, 0).await, Vec::<Vec<_>>::new(), "no empty messages");
        assert_eq!(runs(client, None, &first, 64 * MIB, 0).await, Vec::<Vec<_>>::new(), "all was read");
    }
);

with_driver!(
    snapshot_metadata_tells_runs_of_any_length,
    ["--enable-snapshot-metadata", "--snapshot-metadata-block-type=VARIABLE_LENGTH"],
    |folder, driver| {
        let client = driver.client();
        let (first, _) = two_snapshots(client, folder).await;
        let far = 4096 * 4096;
        assert_eq!(runs(client, None, &first, 0, 0).await, [vec![(0, 3 * 4096), (far, 4096)]]);
        assert_eq!(runs(client, None, &first, 0, 1).await, [vec![(0, 3 * 4096)], vec![(far, 4096)]]);
    }
);
