//! What a caller can get wrong, and the code it gets for it (see `docs/upstream/csi.md`). Needs no root: nothing here gets as far as a mount.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod names;
mod values;

use std::time::Duration;

use conformance::Running;
use conformance::request::{self, MIB};
use csi::{Rpc, redacted, v1};
use tonic::Code;

const DEADLINE: Duration = Duration::from_secs(10);
const ARGS: [&str; 6] = [
    "--enable-attach",
    "--enable-controller-modify-volume",
    "--accepted-mutable-parameter-names=iops",
    "--enable-snapshot-metadata",
    "--check-volume-lifecycle",
    "--max-volume-size=1073741824",
];

struct Fixture {
    folder: tempfile::TempDir,
    driver: Running,
    volume: String,
    device: String,
    snapshot: String,
    device_snapshot: String,
    group: String,
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let driver = Running::start(folder.path(), &ARGS).await;
        let call = driver.client();
        let made = |name: &'static str, block: bool| async move {
            let reply = call.call(request::create(name, block, 4 * MIB), DEADLINE).await.unwrap();
            reply.volume.unwrap().volume_id
        };
        let (volume, device) = (made("volume", false).await, made("device", true).await);
        let cut = |name: &'static str, of: String| async move {
            let reply = call.call(request::snapshot(name, &of), DEADLINE).await.unwrap();
            reply.snapshot.unwrap().snapshot_id
        };
        let (snapshot, device_snapshot) = (cut("s", volume.clone()).await, cut("d", device.clone()).await);
        let group = v1::CreateVolumeGroupSnapshotRequest {
            name: "group".to_owned(),
            source_volume_ids: vec![volume.clone()],
            ..Default::default()
        };
        let group = call.call(group, DEADLINE).await.unwrap().group_snapshot.unwrap().group_snapshot_id;
        Self { folder, driver, volume, device, snapshot, device_snapshot, group }
    }

    async fn expect<R: Rpc>(&self, what: &str, request: R, code: Code) {
        let outcome = self.driver.client().call(request.clone(), DEADLINE).await;
        let got = outcome.as_ref().map_or_else(|status| status.code(), |_| Code::Ok);
        let message = outcome.as_ref().err().map_or("", |status| status.message());
        assert_eq!(got, code, "{} {what}: {message:?} for {}", R::METHOD, redacted(&request));
        assert!(code == Code::Ok || !message.is_empty(), "{} {what}: a refusal needs a message", R::METHOD);
    }
}
