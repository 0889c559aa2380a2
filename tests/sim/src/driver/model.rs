//! An honest storage system: volumes by name and id, publications by volume and node, snapshots; no I/O.
//!
//! The first volume or snapshot of a name has the id `id-of-NAME`, so that runs can be compared; the next one, made after
//! that was deleted, `id-of-NAME-2`, and so on: an id is never given twice, so a stale one finds nothing. Codes are those of
//! the CSI specification.

use std::collections::BTreeMap;

use csi::v1::{
    CapacityRange, Topology, TopologyRequirement, VolumeCapability, VolumeContentSource, volume_capability,
};
use tonic::Status;

/// A volume.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Volume {
    /// `id-of-NAME`, or that and a number.
    pub id: String,
    /// The name it was created with.
    pub name: String,
    /// Bytes.
    pub capacity: i64,
    /// Parameters of its creation.
    pub parameters: BTreeMap<String, String>,
    /// Mutable parameters, as created and modified.
    pub mutable_parameters: BTreeMap<String, String>,
    /// What it was made from.
    pub source: Option<VolumeContentSource>,
    /// Where it can be reached from.
    pub topology: Vec<Topology>,
    /// Node to how it is published there.
    pub published: BTreeMap<String, Publication>,
}

/// How a volume is published to a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Publication {
    /// Read-only.
    pub readonly: bool,
    /// With this capability.
    pub capability: Option<VolumeCapability>,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// `id-of-NAME`, or that and a number.
    pub id: String,
    /// The name it was created with.
    pub name: String,
    /// The volume it was cut from.
    pub source: String,
    /// Bytes.
    pub size: i64,
}

/// What the driver has.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Model {
    /// Volumes by id.
    pub volumes: BTreeMap<String, Volume>,
    /// Snapshots by id.
    pub snapshots: BTreeMap<String, Snapshot>,
    /// Bytes that volumes may still take, new ones and growing ones; `None` is no limit.
    pub free: Option<i64>,
    /// The same for volumes of one topology segment.
    pub room: BTreeMap<BTreeMap<String, String>, i64>,
    /// Where volumes are made when no topology is asked for.
    pub home: Vec<Topology>,
    /// How many ids of this form were given, by the first of them.
    given: BTreeMap<String, usize>,
}

/// The id that the model gives to the first that is called `name`.
pub fn id_of(name: &str) -> String {
    format!("id-of-{name}")
}

/// The size to make for `range`: the required bytes, else 1 GiB or the limit.
pub(super) fn size_for(range: Option<&CapacityRange>) -> Result<i64, Status> {
    const DEFAULT: i64 = 1 << 30;
    let Some(range) = range else { return Ok(DEFAULT) };
    let (required, limit) = (range.required_bytes, range.limit_bytes);
    if required < 0 || limit < 0 || (limit > 0 && required > limit) {
        return Err(Status::out_of_range(format!("no size is at least {required} and at most {limit}")));
    }
    Ok(match (required, limit) {
        (0, 0) => DEFAULT,
        (0, limit) => limit.min(DEFAULT),
        (required, _) => required,
    })
}

/// Whether a volume with `capability` may be on several nodes at once.
fn is_multi_node(capability: Option<&VolumeCapability>) -> bool {
    use volume_capability::access_mode::Mode;
    let mode = capability.and_then(|capability| capability.access_mode.as_ref()).map(|mode| mode.mode());
    matches!(mode, Some(Mode::MultiNodeReaderOnly | Mode::MultiNodeSingleWriter | Mode::MultiNodeMultiWriter))
}

pub(super) fn missing(what: &str) -> Status {
    Status::invalid_argument(format!("{what} is missing"))
}

fn no_volume(id: &str) -> Status {
    Status::not_found(format!("volume {id} does not exist"))
}

impl Model {
    /// The id of the volume of this name, or the one that it will get.
    pub(super) fn volume_id(&self, name: &str) -> String {
        let present = self.volumes.values().find(|volume| volume.name == name);
        present.map_or_else(|| self.next_id(name), |volume| volume.id.clone())
    }

    /// As [`Model::volume_id`], for a snapshot.
    pub(super) fn snapshot_id(&self, name: &str) -> String {
        let present = self.snapshots.values().find(|snapshot| snapshot.name == name);
        present.map_or_else(|| self.next_id(name), |snapshot| snapshot.id.clone())
    }

    fn next_id(&self, name: &str) -> String {
        let first = id_of(name);
        match self.given.get(&first) {
            None => first,
            Some(given) => format!("{first}-{}", given + 1),
        }
    }

    /// Gives an id that was never given.
    pub(super) fn give(&mut self, name: &str) -> String {
        let id = self.next_id(name);
        *self.given.entry(id_of(name)).or_default() += 1;
        id
    }

    pub(super) fn volume(&self, id: &str) -> Result<&Volume, Status> {
        if id.is_empty() {
            return Err(missing("volume id"));
        }
        self.volumes.get(id).ok_or_else(|| no_volume(id))
    }

    pub(super) fn volume_mut(&mut self, id: &str) -> Result<&mut Volume, Status> {
        if id.is_empty() {
            return Err(missing("volume id"));
        }
        self.volumes.get_mut(id).ok_or_else(|| no_volume(id))
    }

    /// Creates `wanted`, or gives the volume of that name if it is compatible.
    pub(super) fn create(&mut self, wanted: Volume, range: Option<&CapacityRange>) -> Result<Volume, Status> {
        if let Some(present) = self.volumes.values().find(|volume| volume.name == wanted.name) {
            let limit = range.map_or(0, |range| range.limit_bytes);
            let fits = present.capacity >= range.map_or(0, |range| range.required_bytes)
                && (limit == 0 || present.capacity <= limit);
            if !fits || present.parameters != wanted.parameters || present.source != wanted.source {
                return Err(Status::already_exists(format!("volume {} exists and is another", wanted.name)));
            }
            return Ok(present.clone());
        }
        if self.free.is_some_and(|free| free < wanted.capacity) {
            return Err(Status::resource_exhausted(format!("no room for {} bytes", wanted.capacity)));
        }
        if let Some(room) = self.room_of(&wanted) {
            if *room < wanted.capacity {
                return Err(Status::resource_exhausted(format!(
                    "no room for {} bytes there",
                    wanted.capacity
                )));
            }
            *room -= wanted.capacity;
        }
        if let Some(free) = &mut self.free {
            *free -= wanted.capacity;
        }
        let volume = Volume { id: self.give(&wanted.name), ..wanted };
        self.volumes.insert(volume.id.clone(), volume.clone());
        Ok(volume)
    }

    /// Makes a volume this large, if it is smaller, and gives its size.
    pub(super) fn expand(&mut self, id: &str, wanted: i64) -> Result<i64, Status> {
        let present = self.volume(id)?.capacity;
        let more = wanted.saturating_sub(present).max(0);
        if self.free.is_some_and(|free| free < more) {
            return Err(Status::out_of_range(format!("no room for {more} bytes more")));
        }
        if let Some(free) = &mut self.free {
            *free -= more;
        }
        let volume = self.volume_mut(id)?;
        volume.capacity = present + more;
        Ok(volume.capacity)
    }

    /// What is free where the volume is or is to be, if that is limited.
    fn room_of(&mut self, volume: &Volume) -> Option<&mut i64> {
        self.room.get_mut(&volume.topology.first()?.segments)
    }

    /// Deletes; an absent volume is fine, a published one is in use.
    pub(super) fn delete(&mut self, id: &str) -> Result<(), Status> {
        if id.is_empty() {
            return Err(missing("volume id"));
        }
        if let Some(volume) = self.volumes.get(id)
            && let Some(node) = volume.published.keys().next()
        {
            return Err(Status::failed_precondition(format!("volume {id} is published to node {node}")));
        }
        if let Some(volume) = self.volumes.remove(id) {
            if let Some(room) = self.room_of(&volume) {
                *room += volume.capacity;
            }
            if let Some(free) = &mut self.free {
                *free += volume.capacity;
            }
        }
        Ok(())
    }

    pub(super) fn publish(&mut self, id: &str, node: &str, publication: Publication) -> Result<(), Status> {
        if node.is_empty() {
            return Err(missing("node id"));
        }
        if publication.capability.is_none() {
            return Err(missing("volume capability"));
        }
        let volume = self.volume_mut(id)?;
        if let Some(present) = volume.published.get(node) {
            if *present != publication {
                return Err(Status::already_exists(format!(
                    "volume {id} is published to {node} in another way"
                )));
            }
            return Ok(());
        }
        let multi = is_multi_node(publication.capability.as_ref());
        if let (false, Some(other)) = (multi, volume.published.keys().next()) {
            return Err(Status::failed_precondition(format!("volume {id} is published to node {other}")));
        }
        volume.published.insert(node.to_owned(), publication);
        Ok(())
    }

    /// Unpublishes from `node`, from all nodes if that is empty; absent things are fine.
    pub(super) fn unpublish(&mut self, id: &str, node: &str) -> Result<(), Status> {
        if id.is_empty() {
            return Err(missing("volume id"));
        }
        if let Some(volume) = self.volumes.get_mut(id) {
            volume.published.retain(|at, _| !node.is_empty() && at != node);
        }
        Ok(())
    }

    /// The first preferred topology, else the first requisite one, else home.
    pub(super) fn place(&self, requirement: Option<&TopologyRequirement>) -> Vec<Topology> {
        let wanted =
            requirement.and_then(|wanted| wanted.preferred.first().or_else(|| wanted.requisite.first()));
        wanted.map_or_else(|| self.home.clone(), |topology| vec![topology.clone()])
    }
}
