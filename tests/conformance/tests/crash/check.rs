//! What is there, compared with the model.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use conformance::{Running, loop_devices_below, mounts_below, request};
use csi::{Client, v1};

use super::DEADLINE;
use super::model::{At, Model, Snapshot, Volume};
use super::steps::{create, is_writable, publish, read};

async fn listed(at: At, client: &Client) -> BTreeMap<String, v1::list_volumes_response::Entry> {
    let reply = at.answer(client.call(v1::ListVolumesRequest::default(), DEADLINE).await);
    assert_eq!(reply.next_token, "");
    let id = |entry: &v1::list_volumes_response::Entry| entry.volume.as_ref().unwrap().volume_id.clone();
    reply.entries.into_iter().map(|entry| (id(&entry), entry)).collect()
}

/// Volumes, snapshots, groups, mounts, devices and files are exactly the model's.
pub(super) async fn check(at: At, client: &Client, models: &[Model], folder: &Path) {
    let volumes: Vec<(&String, &Volume)> = models.iter().flat_map(|model| &model.volumes).collect();
    let snapshots: BTreeSet<&String> =
        models.iter().flat_map(|model| model.snapshots.values()).map(|snapshot| &snapshot.id).collect();
    let inlines = || models.iter().flat_map(|model| &model.inlines);
    let listed = listed(at, client).await;
    let expected: BTreeSet<&String> =
        volumes.iter().map(|(_, volume)| &volume.id).chain(inlines().map(|(id, _)| id)).collect();
    assert_eq!(listed.keys().collect::<BTreeSet<_>>(), expected, "{at}: volumes");
    for (name, volume) in &volumes {
        let is = listed[&volume.id].volume.as_ref().unwrap();
        assert_eq!(is.capacity_bytes, volume.size, "{at}: size of {name}");
        if volume.target.is_some() {
            assert_eq!(read(volume), volume.content, "{at}: content of {name}");
            assert!(!volume.readonly || !is_writable(volume), "{at}: {name} is writable");
        }
    }
    for (id, volume) in inlines() {
        let content = std::fs::read(volume.target.join("content")).unwrap_or_default();
        assert_eq!(content, volume.content, "{at}: content of inline {id}");
    }
    let reply = at.answer(client.call(v1::ListSnapshotsRequest::default(), DEADLINE).await);
    let ids: Vec<String> =
        reply.entries.into_iter().map(|entry| entry.snapshot.unwrap().snapshot_id).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>(), snapshots, "{at}: snapshots");
    check_groups(at, client, models).await;
    let unhealthy = at.answer(client.call(v1::ControllerListVolumeHealthRequest::default(), DEADLINE).await);
    assert_eq!(unhealthy.entries, [], "{at}: health");
    for (name, volume) in &volumes {
        let get = v1::NodeGetVolumeHealthRequest { volume_id: volume.id.clone(), ..Default::default() };
        let health = at.answer(client.call(get, DEADLINE).await).volume_health.unwrap();
        assert_eq!(health.health_statuses, [], "{at}: health of {name} on the node");
    }
    check_mounts(at, models, folder);
    let devices = loop_devices_below(&Running::state(folder)).len();
    let published = volumes.iter().filter(|(_, volume)| volume.block && volume.target.is_some()).count();
    assert_eq!(devices, published, "{at}: loop devices");
    check_files(at, &Running::state(folder), expected.len() + snapshots.len()).await;
}

async fn check_groups(at: At, client: &Client, models: &[Model]) {
    for model in models {
        for (name, id) in &model.groups {
            let members = model.snapshots.values().filter(|snapshot| snapshot.group.as_ref() == Some(name));
            let get = v1::GetVolumeGroupSnapshotRequest {
                group_snapshot_id: id.clone(),
                snapshot_ids: members.map(|snapshot| snapshot.id.clone()).collect(),
                ..Default::default()
            };
            let found = at.answer(client.call(get, DEADLINE).await).group_snapshot.unwrap();
            assert_eq!(found.snapshots.len(), 2, "{at}: members of {name}");
        }
    }
}

fn check_mounts(at: At, models: &[Model], folder: &Path) {
    let volumes = models.iter().flat_map(|model| model.volumes.values());
    let inlines = models.iter().flat_map(|model| model.inlines.values());
    let targets: BTreeSet<PathBuf> = volumes
        .filter_map(|volume| volume.target.clone())
        .chain(inlines.map(|volume| volume.target.clone()))
        .collect();
    let mounted = mounts_below(&folder.join("targets"));
    assert_eq!(mounted.iter().cloned().collect::<BTreeSet<_>>(), targets, "{at}: mounts");
    assert_eq!(mounted.len(), targets.len(), "{at}: nothing is mounted twice");
    let left: BTreeSet<PathBuf> =
        std::fs::read_dir(folder.join("targets")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, targets, "{at}: target paths");
}

async fn check_files(at: At, state: &Path, content: usize) {
    let files = |folder: PathBuf| std::fs::read_dir(folder).unwrap().count();
    let own = ["state.journal", ".new", ".old"].len();
    assert_eq!(files(state.to_owned()) - own, content, "{at}: files");
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
            let volume = at.answer(create(client, model, &copy, snapshot.block, None, Some(&name)).await);
            model.volumes.insert(copy, volume);
        }
        for (name, volume) in &mut model.volumes {
            let target = folder.join("targets").join(name);
            if volume.target.is_none() {
                let stage = volume.stage.is_some();
                at.answer(publish(client, volume, &target, false, stage).await);
            }
            assert_eq!(read(volume), volume.content, "{at}: content of {name}");
            at.answer(client.call(request::unpublish(&volume.id, target.to_str().unwrap()), DEADLINE).await);
        }
    }
}
