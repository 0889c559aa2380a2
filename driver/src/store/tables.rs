//! The state in memory: by id, by name, and how much each pool holds.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use super::record::{Change, Group, Snapshot, Volume};
use crate::refusal::Refusal;

/// All objects. Built by applying [`Change`]s, so that memory and journal cannot differ.
#[derive(Debug, Default)]
pub struct Tables {
    /// Volumes by id.
    pub volumes: BTreeMap<String, Arc<Volume>>,
    /// Snapshots by id.
    pub snapshots: BTreeMap<String, Arc<Snapshot>>,
    /// Groups by id.
    pub groups: BTreeMap<String, Arc<Group>>,
    volume_names: HashMap<String, String>,
    snapshot_names: HashMap<String, String>,
    group_names: HashMap<String, String>,
    /// Bytes of the volumes in each pool, plus what is reserved for volumes being made.
    used: HashMap<String, i64>,
    attached: usize,
}

/// Part of a listing.
#[derive(Debug)]
pub struct Page<T> {
    /// The objects, by id.
    pub entries: Vec<Arc<T>>,
    /// The id where the next page begins.
    pub next: Option<String>,
}

impl Tables {
    /// Takes one change into the tables.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Volume(volume) => {
                self.forget_volume(&volume.id.clone());
                *self.used.entry(volume.pool.clone()).or_default() += volume.size;
                self.attached += usize::from(volume.attached.is_some());
                self.volume_names.insert(volume.name.clone(), volume.id.clone());
                self.volumes.insert(volume.id.clone(), Arc::from(volume));
            }
            Change::NoVolume(id) => self.forget_volume(&id),
            Change::Snapshot(snapshot) => {
                self.snapshot_names.insert(snapshot.name.clone(), snapshot.id.clone());
                self.snapshots.insert(snapshot.id.clone(), Arc::from(snapshot));
            }
            Change::NoSnapshot(id) => {
                if let Some(snapshot) = self.snapshots.remove(&id) {
                    self.snapshot_names.remove(&snapshot.name);
                }
            }
            Change::Group(group) => {
                self.group_names.insert(group.name.clone(), group.id.clone());
                self.groups.insert(group.id.clone(), Arc::from(group));
            }
            Change::NoGroup(id) => {
                if let Some(group) = self.groups.remove(&id) {
                    self.group_names.remove(&group.name);
                }
            }
        }
    }

    fn forget_volume(&mut self, id: &str) {
        if let Some(volume) = self.volumes.remove(id) {
            self.volume_names.remove(&volume.name);
            self.release(&volume.pool, volume.size);
            self.attached -= usize::from(volume.attached.is_some());
        }
    }

    /// Whether there is a volume or a snapshot with this id.
    pub fn has_content(&self, id: &str) -> bool {
        self.volumes.contains_key(id) || self.snapshots.contains_key(id)
    }

    /// The whole state as changes from nothing.
    pub fn all(&self) -> Vec<Change> {
        let volumes = self.volumes.values().map(|volume| Change::Volume(Box::new(Volume::clone(volume))));
        let snapshots =
            self.snapshots.values().map(|snapshot| Change::Snapshot(Box::new(Snapshot::clone(snapshot))));
        let groups = self.groups.values().map(|group| Change::Group(Box::new(Group::clone(group))));
        volumes.chain(snapshots).chain(groups).collect()
    }

    /// A volume by the name it was made under.
    pub fn volume_named(&self, name: &str) -> Option<Arc<Volume>> {
        self.volumes.get(self.volume_names.get(name)?).cloned()
    }

    /// A snapshot by the name it was made under.
    pub fn snapshot_named(&self, name: &str) -> Option<Arc<Snapshot>> {
        self.snapshots.get(self.snapshot_names.get(name)?).cloned()
    }

    /// A group by the name it was made under.
    pub fn group_named(&self, name: &str) -> Option<Arc<Group>> {
        self.groups.get(self.group_names.get(name)?).cloned()
    }

    /// How many volumes are attached.
    pub fn attached(&self) -> usize {
        self.attached
    }

    /// Bytes in use or reserved in a pool.
    pub fn used(&self, pool: &str) -> i64 {
        self.used.get(pool).copied().unwrap_or(0)
    }

    /// Sets bytes aside in a pool for a volume that is being made or grown.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED when less than `size` is left of `capacity`.
    pub fn reserve(&mut self, pool: &str, size: i64, capacity: i64) -> Result<(), Refusal> {
        let left = capacity.saturating_sub(self.used(pool));
        if size > left {
            let message =
                format!("capacity pool {pool:?} has {left} of {capacity} bytes left, {size} are needed");
            return Err(Refusal::Full(message));
        }
        *self.used.entry(pool.to_owned()).or_default() += size;
        Ok(())
    }

    /// Gives back what [`Self::reserve`] set aside, or what a volume held.
    pub fn release(&mut self, pool: &str, size: i64) {
        if let Some(used) = self.used.get_mut(pool) {
            *used -= size;
        }
    }

    /// Volumes from the id `from` on that `wanted` picks, at most `limit`.
    pub fn volume_page(&self, from: &str, limit: usize) -> Page<Volume> {
        page(&self.volumes, from, limit, |_| true)
    }

    /// Snapshots from the id `from` on, of one volume unless `volume` is empty, at most `limit`.
    pub fn snapshot_page(&self, from: &str, limit: usize, volume: &str) -> Page<Snapshot> {
        page(&self.snapshots, from, limit, |snapshot| volume.is_empty() || snapshot.volume == volume)
    }
}

fn page<T>(all: &BTreeMap<String, Arc<T>>, from: &str, limit: usize, wanted: impl Fn(&T) -> bool) -> Page<T> {
    let range = all.range::<str, _>((Bound::Included(from), Bound::Unbounded));
    let mut wanted = range.filter(|(_, object)| wanted(object));
    let entries = wanted.by_ref().take(limit).map(|(_, object)| object.clone()).collect();
    Page { entries, next: wanted.next().map(|(id, _)| id.clone()) }
}
