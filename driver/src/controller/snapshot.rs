//! CreateSnapshot, DeleteSnapshot, and the three group snapshot operations.

use std::collections::BTreeSet;
use std::sync::Arc;

use csi::v1;

use super::timestamp;
use crate::backend::{Content, Item, Kind};
use crate::check;
use crate::lock::{Guard, Key};
use crate::plugin::{Plugin, new_name, now};
use crate::refusal::Refusal;
use crate::store::{Change, Group, Snapshot, Volume};

/// The snapshot class parameter that made the Go driver's tar go on after unreadable files. Ours reads
/// as root and has no use for it, but a bad value is refused all the same.
const IGNORE_FAILED_READ: &str = "ignoreFailedRead";

impl Plugin {
    /// Cuts a snapshot, or finds the one that an earlier call with this name cut. It is ready at once.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field; ALREADY_EXISTS when the name belongs to another volume's
    /// snapshot; NOT_FOUND for an unknown volume; ABORTED while the volume's content changes,
    /// or too many copies are under way;
    /// RESOURCE_EXHAUSTED when the disk is full, or the snapshot is wanted at another place.
    pub fn create_snapshot(
        &self,
        request: v1::CreateSnapshotRequest,
    ) -> Result<v1::CreateSnapshotResponse, Refusal> {
        self.has_controller("CreateSnapshot")?;
        check::required("name", &request.name)?;
        check::required("source_volume_id", &request.source_volume_id)?;
        check::secrets(&request.secrets)?;
        check_parameters(&request.parameters)?;
        check::requirement(request.accessibility_requirements.as_ref())?;
        let _name = self.locks.alone(Key::Name("snapshot", request.name.clone()))?;
        self.check_usable(request.accessibility_requirements.as_ref())?;
        let existing = self.store.read().snapshot_named(&request.name);
        if let Some(snapshot) = existing {
            if snapshot.volume != request.source_volume_id {
                let message =
                    format!("snapshot {:?} exists already, of volume {:?}", request.name, snapshot.volume);
                return Err(Refusal::Clash(message));
            }
            self.confirm(&snapshot.id, &Item::from(&*snapshot))?;
            return Ok(self.cut(&snapshot));
        }
        let _slot = self.copies.take()?;
        let _content = self.locks.shared(Key::Content(request.source_volume_id.clone()))?;
        let volume = self.store.volume(&request.source_volume_id)?;
        let snapshot = of_volume(&volume, request.name, now(), "");
        self.copy(&volume, &snapshot)?;
        let item = Item::from(&snapshot);
        self.commit_and_keep(&[item], vec![Change::Snapshot(Box::new(snapshot.clone()))])?;
        Ok(self.cut(&snapshot))
    }

    fn cut(&self, snapshot: &Snapshot) -> v1::CreateSnapshotResponse {
        v1::CreateSnapshotResponse { snapshot: Some(self.describe_snapshot(snapshot)) }
    }

    /// Snapshots are usable from this node. Who is not told so cannot ask for it.
    fn check_usable(&self, wanted: Option<&v1::TopologyRequirement>) -> Result<(), Refusal> {
        let wanted = wanted.filter(|_| self.options.snapshot_topology().is_some());
        self.check_place("snapshots", wanted)
    }

    fn copy(&self, volume: &Volume, snapshot: &Snapshot) -> Result<(), Refusal> {
        self.backend
            .prepare(&Item::from(snapshot), 0, Content::CopyOf(&Item::from(volume)))
            .map_err(Refusal::system(format!("cannot copy volume {:?}", volume.id)))
    }

    /// Removes a snapshot. An unknown one is gone already.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field or a member of a group; ABORTED while it is being restored.
    pub fn delete_snapshot(
        &self,
        request: v1::DeleteSnapshotRequest,
    ) -> Result<v1::DeleteSnapshotResponse, Refusal> {
        self.has_controller("DeleteSnapshot")?;
        check::required("snapshot_id", &request.snapshot_id)?;
        check::secrets(&request.secrets)?;
        let _content = self.locks.alone(Key::Content(request.snapshot_id.clone()))?;
        let found = self.store.read().snapshots.get(&request.snapshot_id).cloned();
        let Some(snapshot) = found else { return Ok(v1::DeleteSnapshotResponse {}) };
        if !snapshot.group.is_empty() {
            let reason = format!("it belongs to group snapshot {:?}: delete that one", snapshot.group);
            return Err(Refusal::invalid("snapshot_id", reason));
        }
        self.retire_and_commit(&[Item::from(&*snapshot)], vec![Change::NoSnapshot(snapshot.id.clone())])?;
        Ok(v1::DeleteSnapshotResponse {})
    }

    /// Cuts a snapshot of each volume, all or none, recorded in one step.
    ///
    /// Differs: the Go driver leaves members behind when a later one fails.
    ///
    /// # Errors
    /// As [`Self::create_snapshot`].
    pub fn create_group(
        &self,
        request: v1::CreateVolumeGroupSnapshotRequest,
    ) -> Result<v1::CreateVolumeGroupSnapshotResponse, Refusal> {
        self.has_controller("CreateVolumeGroupSnapshot")?;
        check::required("name", &request.name)?;
        if request.source_volume_ids.is_empty() {
            return Err(Refusal::Missing("source_volume_ids"));
        }
        for id in &request.source_volume_ids {
            check::required("source_volume_ids", id)?;
        }
        check::secrets(&request.secrets)?;
        check_parameters(&request.parameters)?;
        let sources: BTreeSet<&String> = request.source_volume_ids.iter().collect();
        let _name = self.locks.alone(Key::Name("group snapshot", request.name.clone()))?;
        let existing = self.store.read().group_named(&request.name);
        if let Some(group) = existing {
            if group.volumes.iter().collect::<BTreeSet<_>>() != sources {
                let message = format!("group snapshot {:?} exists already, of other volumes", request.name);
                return Err(Refusal::Clash(message));
            }
            self.confirm_group(&group)?;
            return Ok(v1::CreateVolumeGroupSnapshotResponse {
                group_snapshot: Some(self.describe_group(&group)),
            });
        }
        let _slot = self.copies.take()?;
        let (volumes, _guards) = self.hold(&sources)?;
        let group = self.cut_group(request.name, &volumes)?;
        Ok(v1::CreateVolumeGroupSnapshotResponse { group_snapshot: Some(self.describe_group(&group)) })
    }

    /// As [`Plugin::confirm`], for a group and its members.
    fn confirm_group(&self, group: &Group) -> Result<(), Refusal> {
        let key = Key::Group(group.id.clone());
        let busy = Refusal::Busy(key.text());
        let _group = self.locks.shared(key)?;
        if !self.store.read().groups.contains_key(&group.id) {
            return Err(busy);
        }
        self.members(group).iter().try_for_each(|member| self.confirm(&member.id, &Item::from(&**member)))
    }

    /// All the volumes, held so that nobody changes them meanwhile.
    fn hold(&self, ids: &BTreeSet<&String>) -> Result<(Vec<Arc<Volume>>, Vec<Guard>), Refusal> {
        let guards = ids.iter().map(|id| self.locks.shared(Key::Content((*id).clone())));
        let guards = guards.collect::<Result<Vec<_>, _>>()?;
        let volumes = ids.iter().map(|id| self.store.volume(id)).collect::<Result<Vec<_>, _>>()?;
        Ok((volumes, guards))
    }

    fn cut_group(&self, name: String, volumes: &[Arc<Volume>]) -> Result<Group, Refusal> {
        let (id, created) = (new_name(), now());
        let members: Vec<Snapshot> = volumes
            .iter()
            .map(|volume| of_volume(volume, format!("{id}-{}", volume.id), created, &id))
            .collect();
        let items: Vec<Item> = members.iter().map(Item::from).collect();
        let copied = volumes.iter().zip(&members).try_for_each(|(volume, member)| self.copy(volume, member));
        if let Err(refusal) = copied {
            self.discard(&items);
            return Err(refusal);
        }
        let group = Group {
            id,
            name,
            snapshots: members.iter().map(|member| member.id.clone()).collect(),
            volumes: volumes.iter().map(|volume| volume.id.clone()).collect(),
            created,
        };
        let mut changes: Vec<Change> =
            members.into_iter().map(|member| Change::Snapshot(Box::new(member))).collect();
        changes.push(Change::Group(Box::new(group.clone())));
        self.commit_and_keep(&items, changes)?;
        Ok(group)
    }

    /// Removes a group with its members. An unknown one is gone already.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field or when members are named that are not its own; ABORTED while a
    /// member is being restored.
    pub fn delete_group(
        &self,
        request: v1::DeleteVolumeGroupSnapshotRequest,
    ) -> Result<v1::DeleteVolumeGroupSnapshotResponse, Refusal> {
        self.has_controller("DeleteVolumeGroupSnapshot")?;
        check::required("group_snapshot_id", &request.group_snapshot_id)?;
        check_ids(&request.snapshot_ids)?;
        check::secrets(&request.secrets)?;
        let _group = self.locks.alone(Key::Group(request.group_snapshot_id.clone()))?;
        let found = self.store.read().groups.get(&request.group_snapshot_id).cloned();
        let Some(group) = found else { return Ok(v1::DeleteVolumeGroupSnapshotResponse {}) };
        // The snapshots that the caller names must be the group's. `Differs:` the Go driver does not look at the ids; a caller that names none means all.
        if !request.snapshot_ids.is_empty() {
            check_members(&group, &request.snapshot_ids)?;
        }
        let guards = group.snapshots.iter().map(|id| self.locks.alone(Key::Content(id.clone())));
        let _guards = guards.collect::<Result<Vec<_>, _>>()?;
        let members = self.members(&group);
        let items: Vec<Item> = members.iter().map(|member| Item::from(&**member)).collect();
        let mut changes: Vec<Change> =
            members.iter().map(|member| Change::NoSnapshot(member.id.clone())).collect();
        changes.push(Change::NoGroup(group.id.clone()));
        self.retire_and_commit(&items, changes)?;
        Ok(v1::DeleteVolumeGroupSnapshotResponse {})
    }

    /// One group.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field or members that are not its own, NOT_FOUND.
    pub fn get_group(
        &self,
        request: v1::GetVolumeGroupSnapshotRequest,
    ) -> Result<v1::GetVolumeGroupSnapshotResponse, Refusal> {
        self.has_controller("GetVolumeGroupSnapshot")?;
        check::required("group_snapshot_id", &request.group_snapshot_id)?;
        check_ids(&request.snapshot_ids)?;
        check::secrets(&request.secrets)?;
        let found = self.store.read().groups.get(&request.group_snapshot_id).cloned();
        let group = found.ok_or_else(|| Refusal::Unknown {
            kind: "group snapshot",
            id: request.group_snapshot_id.clone(),
        })?;
        check_members(&group, &request.snapshot_ids)?;
        Ok(v1::GetVolumeGroupSnapshotResponse { group_snapshot: Some(self.describe_group(&group)) })
    }

    fn members(&self, group: &Group) -> Vec<Arc<Snapshot>> {
        let tables = self.store.read();
        group.snapshots.iter().filter_map(|id| tables.snapshots.get(id).cloned()).collect()
    }

    fn describe_group(&self, group: &Group) -> v1::VolumeGroupSnapshot {
        v1::VolumeGroupSnapshot {
            group_snapshot_id: group.id.clone(),
            snapshots: self.members(group).iter().map(|member| self.describe_snapshot(member)).collect(),
            creation_time: Some(timestamp(group.created)),
            ready_to_use: true,
        }
    }

    /// A device's snapshot, for reading its metadata.
    pub(crate) fn device_snapshot(&self, field: &'static str, id: &str) -> Result<Arc<Snapshot>, Refusal> {
        check::required(field, id)?;
        let snapshot = self.store.snapshot(id)?;
        let item = Item::from(&*snapshot);
        if item.access != crate::store::Access::Block || item.kind != Kind::Snapshot {
            return Err(Refusal::invalid(field, format!("snapshot {id:?} is not of a block volume")));
        }
        Ok(snapshot)
    }
}

fn of_volume(volume: &Volume, name: String, created: (i64, i32), group: &str) -> Snapshot {
    Snapshot {
        id: new_name(),
        name,
        data: new_name(),
        volume: volume.id.clone(),
        access: volume.access,
        size: volume.size,
        created,
        group: group.to_owned(),
        archive: false,
    }
}

fn check_parameters(parameters: &std::collections::BTreeMap<String, String>) -> Result<(), Refusal> {
    check::map("parameters", parameters)?;
    let value = parameters.get(IGNORE_FAILED_READ);
    if value.is_some_and(|value| base::flag::value::parse_go_bool(value).is_none()) {
        return Err(Refusal::invalid("parameters", format!("{IGNORE_FAILED_READ} is true or false")));
    }
    Ok(())
}

fn check_ids(ids: &[String]) -> Result<(), Refusal> {
    ids.iter().try_for_each(|id| check::required("snapshot_ids", id))
}

fn check_members(group: &Group, ids: &[String]) -> Result<(), Refusal> {
    let asked: BTreeSet<&String> = ids.iter().collect();
    if asked == group.snapshots.iter().collect() {
        return Ok(());
    }
    Err(Refusal::invalid(
        "snapshot_ids",
        format!("they are not the members of group snapshot {:?}", group.id),
    ))
}
