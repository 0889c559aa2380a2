//! What is there, compared with the model.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use conformance::{Running, loop_devices_below, mounts_below, request};
use csi::{Client, v1};

use super::{At, DEADLINE, Model, Snapshot, Volume, attach, create, read};

async fn listed(at: At, client: &Client) -> BTreeMap<String, v1::list_volumes_response::Entry> {
    let reply = at.answer(client.call(v1::ListVolumesRequest::default(), DEADLINE).await);
    assert_eq!(reply.next_token, "");
    let id = |entry: &v1::list_volumes_response::Entry| entry.volume.as_ref().unwrap().volume_id.clone();
    reply.entries.into_iter().map(|entry| (id(&entry), entry)).collect()
}

/// Volumes, snapshots, mounts, devices and files are exactly the model's.
pub(super) async fn check(at: At, client: &Client, models: &[Model], folder: &Path) {
    let volumes: Vec<(&String, &Volume)> = models.iter().flat_map(|model| &model.volumes).collect();
    let snapshots: BTreeSet<&String> =
        models.iter().flat_map(|model| model.snapshots.values()).map(|snapshot| &snapshot.id).collect();
    let listed = listed(at, client).await;
    assert_eq!(
        listed.keys().collect::<BTreeSet<_>>(),
        volumes.iter().map(|(_, volume)| &volume.id).collect(),
        "{at}: volumes"
    );
    for (name, volume) in &volumes {
        let is = listed[&volume.id].volume.as_ref().unwrap();
        assert_eq!(is.capacity_bytes, volume.size, "{at}: size of {name}");
        if volume.target.is_some() {
            assert_eq!(read(volume), volume.content, "{at}: content of {name}");
        }
    }
    let reply = at.answer(client.call(v1::ListSnapshotsRequest::default(), DEADLINE).await);
    let ids: Vec<String> =
        reply.entries.into_iter().map(|entry| entry.snapshot.unwrap().snapshot_id).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>(), snapshots, "{at}: snapshots");
    let targets: BTreeSet<PathBuf> = volumes.iter().filter_map(|(_, volume)| volume.target.clone()).collect();
    let mounted: Vec<PathBuf> = mounts_below(folder);
    assert_eq!(mounted.iter().cloned().collect::<BTreeSet<_>>(), targets, "{at}: mounts");
    assert_eq!(mounted.len(), targets.len(), "{at}: nothing is mounted twice");
    let left: BTreeSet<PathBuf> =
        std::fs::read_dir(folder.join("targets")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, targets, "{at}: target paths");
    let devices = loop_devices_below(folder).len();
    let published = volumes.iter().filter(|(_, volume)| volume.block && volume.target.is_some()).count();
    assert_eq!(devices, published, "{at}: loop devices");
    let state = Running::state(folder);
    let files = |folder: PathBuf| std::fs::read_dir(folder).unwrap().count();
    let own = ["state.journal", ".new", ".old"].len();
    assert_eq!(files(state.clone()) - own, volumes.len() + snapshots.len(), "{at}: files");
    // Rests are removed beside the calls.
    let deadline = Instant::now() + DEADLINE;
    while files(state.join(".new")) + files(state.join(".old")) > 0 {
        assert!(Instant::now() < deadline, "{at}: rests");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Publishes every volume and restores every snapshot, and compares what they hold.
pub(super) async fn check_all_content(at: At, client: &Client, models: &mut [Model], folder: &Path) {
    for model in models {
        let restored: Vec<(String, Snapshot)> = model.snapshots.clone().into_iter().collect();
        for (name, snapshot) in restored {
            let copy = format!("restored-{name}");
            let volume = create(client, model, &copy, snapshot.block, None, Some(&name)).await;
            let volume = at.answer(volume);
            model.volumes.insert(copy, volume);
        }
        for (name, volume) in &mut model.volumes {
            if volume.target.is_none() {
                let target = folder.join("targets").join(name);
                at.answer(attach(client, &volume.id).await);
                let publish = request::publish(&volume.id, target.to_str().unwrap(), volume.block);
                at.answer(client.call(publish, DEADLINE).await);
                volume.target = Some(target);
            }
            assert_eq!(read(volume), volume.content, "{at}: content of {name}");
            let target = volume.target.take().unwrap();
            at.answer(client.call(request::unpublish(&volume.id, target.to_str().unwrap()), DEADLINE).await);
        }
    }
}
