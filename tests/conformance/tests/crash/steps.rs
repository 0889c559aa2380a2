//! The calls of a step, and what they leave in the model.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use conformance::Dice;
use conformance::request::{self, MIB};
use csi::{Client, v1};
use tonic::{Code, Status};

use super::DEADLINE;
use super::model::{At, Inline, Model, Snapshot, Step, Volume, target};

/// So large a record that the journal is rewritten every few rounds.
const FILLER: usize = 3000;

/// Takes a step.
///
/// # Errors
/// The driver's refusal.
pub(super) async fn run(
    client: &Client,
    model: &mut Model,
    step: &Step,
    targets: &Path,
    dice: &mut Dice,
) -> Result<(), Status> {
    match step {
        Step::Create { name, block, from, restore } => {
            let volume = create(client, model, name, *block, from.as_ref(), restore.as_ref()).await?;
            model.volumes.insert(name.clone(), volume);
        }
        Step::Delete { name } => {
            client.call(request::delete(&model.volumes[name].id), DEADLINE).await?;
            model.volumes.remove(name);
        }
        Step::Publish { name, readonly, stage } => {
            let volume = model.volumes.get_mut(name).unwrap();
            publish(client, volume, &target(targets, name), *readonly, *stage).await?;
            use_volume(volume, name, dice);
        }
        Step::Unpublish { name } => {
            unpublish(client, model.volumes.get_mut(name).unwrap(), targets, name).await?
        }
        Step::Expand { name } => {
            let volume = model.volumes.get_mut(name).unwrap();
            let size = volume.size + MIB;
            client.call(expand(&volume.id, size), DEADLINE).await?;
            volume.size = size;
        }
        Step::Snapshot { name, of } => {
            let reply = client.call(request::snapshot(name, &model.volumes[of].id), DEADLINE).await?;
            let snapshot = cut_of(&model.volumes[of], reply.snapshot.unwrap().snapshot_id, None);
            model.snapshots.insert(name.clone(), snapshot);
        }
        Step::DeleteSnapshot { name } => {
            client.call(request::delete_snapshot(&model.snapshots[name].id), DEADLINE).await?;
            model.snapshots.remove(name);
        }
        Step::Group { name, of } => group(client, model, name, of).await?,
        Step::DeleteGroup { name } => delete_group(client, model, name).await?,
        Step::PublishInline { id } => {
            let target = target(targets, id);
            client.call(inline(id, &target), DEADLINE).await?;
            let content = dice.next_number().to_le_bytes().repeat(600);
            write_file(&target, &content);
            model.inlines.insert(id.clone(), Inline { target, content });
        }
        Step::UnpublishInline { id } => {
            let unpublish = request::unpublish(id, target(targets, id).to_str().unwrap());
            client.call(unpublish, DEADLINE).await?;
            model.inlines.remove(id);
        }
    }
    Ok(())
}

pub(super) async fn create(
    client: &Client,
    model: &Model,
    name: &str,
    block: bool,
    from: Option<&String>,
    restore: Option<&String>,
) -> Result<Volume, Status> {
    let (size, content, source) = match (from, restore) {
        (Some(from), _) => {
            let origin = &model.volumes[from];
            (origin.size, origin.content.clone(), request::clone_of(&origin.id))
        }
        (None, Some(restore)) => {
            let origin = &model.snapshots[restore];
            (origin.size, origin.content.clone(), request::restore_of(&origin.id))
        }
        (None, None) => (4 * MIB, Vec::new(), None),
    };
    let wanted = v1::CreateVolumeRequest {
        volume_content_source: source,
        parameters: BTreeMap::from([("filler".to_owned(), "x".repeat(FILLER))]),
        ..request::create(name, block, size)
    };
    let id = client.call(wanted, DEADLINE).await?.volume.unwrap().volume_id;
    Ok(Volume { id, block, size, content, target: None, stage: None, readonly: false })
}

/// Attaches, stages if wanted, and publishes.
pub(super) async fn publish(
    client: &Client,
    volume: &mut Volume,
    target: &Path,
    readonly: bool,
    stage: bool,
) -> Result<(), Status> {
    let wanted = request::publish(&volume.id, target.to_str().unwrap(), volume.block);
    let attach = v1::ControllerPublishVolumeRequest {
        volume_id: volume.id.clone(),
        node_id: "node-1".to_owned(),
        volume_capability: wanted.volume_capability.clone(),
        ..Default::default()
    };
    client.call(attach, DEADLINE).await?;
    let mut staging_target_path = String::new();
    if stage {
        let path = target.with_extension("stage");
        staging_target_path = path.to_str().unwrap().to_owned();
        let stage = v1::NodeStageVolumeRequest {
            volume_id: volume.id.clone(),
            staging_target_path: staging_target_path.clone(),
            volume_capability: wanted.volume_capability.clone(),
            ..Default::default()
        };
        client.call(stage, DEADLINE).await?;
        volume.stage = Some(path);
    }
    let wanted = v1::NodePublishVolumeRequest { readonly, staging_target_path, ..wanted };
    client.call(wanted, DEADLINE).await?;
    volume.target = Some(target.to_owned());
    volume.readonly = readonly;
    Ok(())
}

/// Unpublishes and unstages, whether it is published and staged or not.
pub(super) async fn unpublish(
    client: &Client,
    volume: &mut Volume,
    targets: &Path,
    name: &str,
) -> Result<(), Status> {
    let target = target(targets, name);
    client.call(request::unpublish(&volume.id, target.to_str().unwrap()), DEADLINE).await?;
    volume.target = None;
    let unstage = v1::NodeUnstageVolumeRequest {
        volume_id: volume.id.clone(),
        staging_target_path: target.with_extension("stage").to_str().unwrap().to_owned(),
    };
    client.call(unstage, DEADLINE).await?;
    volume.stage = None;
    Ok(())
}

pub(super) fn inline(id: &str, target: &Path) -> v1::NodePublishVolumeRequest {
    let ephemeral = ("csi.storage.k8s.io/ephemeral".to_owned(), "true".to_owned());
    v1::NodePublishVolumeRequest {
        volume_context: [ephemeral].into(),
        ..request::publish(id, target.to_str().unwrap(), false)
    }
}

async fn group(client: &Client, model: &mut Model, name: &str, of: &[String; 2]) -> Result<(), Status> {
    let create = v1::CreateVolumeGroupSnapshotRequest {
        name: name.to_owned(),
        source_volume_ids: of.iter().map(|of| model.volumes[of].id.clone()).collect(),
        ..Default::default()
    };
    let made = client.call(create, DEADLINE).await?.group_snapshot.unwrap();
    for member in made.snapshots {
        let (of, volume) = model.volumes.iter().find(|(_, it)| it.id == member.source_volume_id).unwrap();
        let snapshot = cut_of(volume, member.snapshot_id, Some(name));
        model.snapshots.insert(format!("{name}-{of}"), snapshot);
    }
    model.groups.insert(name.to_owned(), made.group_snapshot_id);
    Ok(())
}

async fn delete_group(client: &Client, model: &mut Model, name: &str) -> Result<(), Status> {
    let group_snapshot_id = model.groups[name].clone();
    let delete = v1::DeleteVolumeGroupSnapshotRequest { group_snapshot_id, ..Default::default() };
    client.call(delete, DEADLINE).await?;
    model.groups.remove(name);
    model.snapshots.retain(|_, snapshot| snapshot.group.as_deref() != Some(name));
    Ok(())
}

/// What a user does with a volume that was just published: read what is there, and write if that is allowed.
fn use_volume(volume: &mut Volume, name: &str, dice: &mut Dice) {
    assert_eq!(read(volume), volume.content, "{name} after its publish");
    if volume.readonly {
        assert!(!is_writable(volume), "{name} is published read-only");
    } else {
        volume.content = dice.next_number().to_le_bytes().repeat(600);
        write(volume);
    }
}

fn cut_of(volume: &Volume, id: String, group: Option<&str>) -> Snapshot {
    let Volume { block, size, content, .. } = volume.clone();
    Snapshot { id, block, size, content, group: group.map(str::to_owned) }
}

fn expand(id: &str, size: i64) -> v1::ControllerExpandVolumeRequest {
    v1::ControllerExpandVolumeRequest {
        volume_id: id.to_owned(),
        capacity_range: Some(request::at_least(size)),
        ..Default::default()
    }
}

/// Reads what the model wrote: a file, or the first bytes of the device. Nothing written: nothing.
pub(super) fn read(volume: &Volume) -> Vec<u8> {
    let target = volume.target.as_ref().unwrap();
    if !volume.block {
        return std::fs::read(target.join("content")).unwrap_or_default();
    }
    let mut bytes = vec![0; 4800];
    File::open(target).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    if volume.content.is_empty() && bytes.iter().all(|byte| *byte == 0) { Vec::new() } else { bytes }
}

/// Whether a user can write to it where it is published.
pub(super) fn is_writable(volume: &Volume) -> bool {
    let target = volume.target.as_ref().unwrap();
    if !volume.block {
        return File::create(target.join("test")).is_ok();
    }
    // The byte behind what the model reads.
    let device = File::options().write(true).open(target);
    device.and_then(|device| device.write_all_at(&[0], 8192).and_then(|()| device.sync_all())).is_ok()
}

/// Writes so that it lasts: a snapshot and a power cut leave what a user synced.
fn write(volume: &Volume) {
    let target = volume.target.as_ref().unwrap();
    if !volume.block {
        return write_file(target, &volume.content);
    }
    let device = File::options().write(true).open(target).unwrap();
    device.write_all_at(&volume.content, 0).unwrap();
    device.sync_all().unwrap();
}

fn write_file(target: &Path, content: &[u8]) {
    std::fs::write(target.join("content"), content).unwrap();
    for path in [target.join("content"), target.to_owned()] {
        File::open(path).unwrap().sync_all().unwrap();
    }
}

/// Finds out what became of the steps that were under way, by repeating them as a caller would.
pub(super) async fn settle(at: At, client: &Client, models: &mut [Model], targets: &Path, dice: &mut Dice) {
    for model in models {
        match model.open.take() {
            None => {}
            // Whether it is published or not, it is not afterwards.
            Some(Step::Publish { name, .. } | Step::Unpublish { name }) => {
                let volume = model.volumes.get_mut(&name).unwrap();
                at.answer(unpublish(client, volume, targets, &name).await);
            }
            Some(Step::PublishInline { id } | Step::UnpublishInline { id }) => {
                let step = Step::UnpublishInline { id };
                at.answer(run(client, model, &step, targets, dice).await);
            }
            Some(step) => at.answer(run(client, model, &step, targets, dice).await),
        }
    }
}

/// Publishes inline volumes again, as the kubelet does after a reboot. All other publications are forgotten.
pub(super) async fn reboot(at: At, client: &Client, models: &mut [Model]) {
    for model in models {
        for volume in model.volumes.values_mut() {
            volume.target = None;
        }
        for (id, volume) in &model.inlines {
            at.answer(client.call(inline(id, &volume.target), DEADLINE).await);
        }
    }
}

/// Whether the driver died before it answered.
pub(super) fn is_gone(status: &Status) -> bool {
    status.code() == Code::Unavailable
}
