//! Power cuts: what was acknowledged is on the disk.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use conformance::request::{self, MIB};
use conformance::{Disk, Folder, Running, in_own_mounts};
use csi::v1;

const DEADLINE: Duration = Duration::from_secs(60);

/// A node whose disk can lose its power.
struct Node {
    driver: Option<Running>,
    disk: Disk,
    folder: Folder,
}

impl Node {
    async fn start() -> Self {
        let folder = Folder::new();
        let disk = Disk::new(folder.path());
        let driver = Some(Running::start(folder.path(), &[]).await);
        Self { driver, disk, folder }
    }

    async fn call<R: csi::Rpc>(&self, request: R) -> R::Reply {
        self.driver.as_ref().unwrap().client().call(request, DEADLINE).await.unwrap()
    }

    async fn cut_power(&mut self) {
        self.driver.take().unwrap().kill().await;
        self.disk.cut_power();
        self.driver = Some(Running::start(self.folder.path(), &[]).await);
    }

    /// Publishes a volume, lets `work` work at its target, and unpublishes it.
    async fn at<T>(&self, id: &str, block: bool, work: impl FnOnce(&Path) -> T) -> T {
        let target = self.folder.path().join("target");
        self.call(request::publish(id, target.to_str().unwrap(), block)).await;
        let result = work(&target);
        self.call(request::unpublish(id, target.to_str().unwrap())).await;
        result
    }

    async fn create(&self, name: &str, block: bool, from: Option<v1::VolumeContentSource>) -> String {
        let create =
            v1::CreateVolumeRequest { volume_content_source: from, ..request::create(name, block, 4 * MIB) };
        self.call(create).await.volume.unwrap().volume_id
    }

    async fn snapshot(&self, name: &str, of: &str) -> String {
        self.call(request::snapshot(name, of)).await.snapshot.unwrap().snapshot_id
    }

    /// Names in the driver's folder that are content.
    fn content(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(Running::state(self.folder.path())).unwrap();
        let names = entries.map(|entry| PathBuf::from(entry.unwrap().file_name()));
        names.filter(|name| name.to_str().unwrap().contains('-')).collect()
    }
}

/// Writes 64 KiB as a user does who wants it to last.
fn write(target: &Path, block: bool) {
    let path = if block { target.to_owned() } else { target.join("file") };
    let file = File::options().write(true).create(!block).open(path).unwrap();
    file.write_all_at(&[7; 65536], 0).unwrap();
    file.sync_all().unwrap();
    if !block {
        File::open(target).unwrap().sync_all().unwrap();
    }
}

fn is_there(target: &Path, block: bool) -> bool {
    let path = if block { target.to_owned() } else { target.join("file") };
    let mut bytes = vec![0; 65536];
    File::open(path).is_ok_and(|file| file.read_exact_at(&mut bytes, 0).is_ok()) && bytes == [7; 65536]
}

in_own_mounts!(copies_are_whole_after_a_power_cut, copies());

#[tokio::main]
async fn copies() {
    let mut node = Node::start().await;
    for block in [false, true] {
        let source = node.create(&format!("source {block}"), block, None).await;
        node.at(&source, block, |target| write(target, block)).await;
        let snapshot = node.snapshot(&format!("snapshot {block}"), &source).await;
        node.cut_power().await;
        let restored = node.create(&format!("restored {block}"), block, request::restore_of(&snapshot)).await;
        assert!(node.at(&restored, block, |target| is_there(target, block)).await, "snapshot, {block}");
        node.cut_power().await;
        assert!(node.at(&restored, block, |target| is_there(target, block)).await, "restored, {block}");
        let cloned = node.create(&format!("cloned {block}"), block, request::clone_of(&source)).await;
        node.cut_power().await;
        assert!(node.at(&cloned, block, |target| is_there(target, block)).await, "cloned, {block}");
    }
}

in_own_mounts!(records_and_content_agree_after_a_power_cut, agree());

#[tokio::main]
async fn agree() {
    let mut node = Node::start().await;
    let mut volumes = Vec::new();
    for block in [false, true] {
        volumes.push(node.create(&format!("{block}"), block, None).await);
        node.cut_power().await;
    }
    let device = volumes[1].clone();
    let expand = v1::ControllerExpandVolumeRequest {
        volume_id: device.clone(),
        capacity_range: Some(request::at_least(8 * MIB)),
        ..Default::default()
    };
    node.call(expand).await;
    node.cut_power().await;
    let size = node.at(&device, true, |target| {
        use std::io::Seek;
        File::open(target).unwrap().seek(std::io::SeekFrom::End(0)).unwrap()
    });
    assert_eq!(size.await, 8 << 20);
    let list = node.call(v1::ListVolumesRequest::default()).await;
    let unhealthy = node.call(v1::ControllerListVolumeHealthRequest::default()).await;
    assert_eq!((unhealthy.entries, unhealthy.next_token), (vec![], String::new()));
    assert_eq!((list.entries.len(), node.content().len()), (2, 2));
    for id in &volumes {
        node.call(request::delete(id)).await;
        node.cut_power().await;
    }
    assert_eq!(node.content(), [""; 0].map(PathBuf::from), "what is deleted is gone");
    assert_eq!(node.call(v1::ListVolumesRequest::default()).await.entries.len(), 0);
}
