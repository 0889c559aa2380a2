//! CreateVolume.

use csi::v1;

use super::{DEFAULT_SIZE, common_access, describe_source};
use crate::backend::{Content, Item};
use crate::check;
use crate::lock::{Guard, Key};
use crate::plugin::{Plugin, new_name};
use crate::refusal::Refusal;
use crate::store::{Access, Change, Source, Store, Volume};

/// The parameter that names a capacity pool.
pub(crate) const POOL: &str = "kind";
/// Devices consist of whole sectors.
const SECTOR: i64 = 512;
/// Devices are rounded up to this where the limit allows.
const MEBIBYTE: i64 = 1 << 20;

/// What a request asks for, after the checks that need nothing else.
struct Wanted {
    access: Access,
    required: i64,
    limit: i64,
    source: Option<Source>,
}

impl Plugin {
    /// Makes a volume, or finds the one that an earlier call with this name made.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field; ALREADY_EXISTS when the name belongs to another volume;
    /// NOT_FOUND for an unknown source; OUT_OF_RANGE for an impossible size; RESOURCE_EXHAUSTED without
    /// room, here or at the wanted place; ABORTED when the name or the source is being worked on, the volume is
    /// being removed or has lost its content, or too many copies are under way; UNAVAILABLE
    /// when the volume is recorded and a repeated call must finish it.
    pub fn create_volume(
        &self,
        request: v1::CreateVolumeRequest,
    ) -> Result<v1::CreateVolumeResponse, Refusal> {
        self.has_controller("CreateVolume")?;
        let wanted = self.wanted(&request)?;
        let _name = self.locks.alone(Key::Name("volume", request.name.clone()))?;
        let existing = self.store.read().volume_named(&request.name);
        if let Some(volume) = existing {
            compatible(&volume, &request, &wanted)?;
            self.confirm(&volume.id, &Item::from(&*volume))?;
            return Ok(self.created(&volume));
        }
        let _slot = wanted.source.is_some().then(|| self.copies.take()).transpose()?;
        self.check_place("volumes", request.accessibility_requirements.as_ref())?;
        let size = self.size(&wanted)?;
        let (origin, _guard) = self.origin(&wanted, size)?;
        let room = self.reserve(request.parameters.get(POOL), size)?;
        let volume = Volume {
            id: new_name(),
            name: request.name,
            data: new_name(),
            size,
            access: wanted.access,
            pool: room.pool.clone(),
            parameters: request.parameters,
            mutable: request.mutable_parameters,
            source: wanted.source,
            legacy: false,
            ephemeral: false,
            attached: None,
            staged: Default::default(),
            staged_in: None,
            published: Default::default(),
        };
        self.make(&volume, origin.as_ref())?;
        Ok(self.created(&volume))
    }

    fn created(&self, volume: &Volume) -> v1::CreateVolumeResponse {
        v1::CreateVolumeResponse { volume: Some(self.describe(volume)) }
    }

    /// Makes the content and the record.
    pub(crate) fn make(&self, volume: &Volume, origin: Option<&Item>) -> Result<(), Refusal> {
        let item = Item::from(volume);
        let content = origin.map_or(Content::Empty, Content::CopyOf);
        let bytes = u64::try_from(volume.size).unwrap_or(0);
        self.backend
            .prepare(&item, bytes, content)
            .map_err(Refusal::system(format!("cannot make volume {:?}", volume.name)))?;
        self.commit_and_keep(&[item], vec![Change::Volume(Box::new(volume.clone()))])
    }

    fn wanted(&self, request: &v1::CreateVolumeRequest) -> Result<Wanted, Refusal> {
        check::required("name", &request.name)?;
        check::capabilities(&request.volume_capabilities)?;
        check::map("parameters", &request.parameters)?;
        check::secrets(&request.secrets)?;
        self.check_mutable(&request.mutable_parameters)?;
        let range = request.capacity_range.unwrap_or_default();
        if request.capacity_range.is_some() {
            check::range(&range)?;
        }
        let source = match &request.volume_content_source {
            None => None,
            Some(source) => Some(checked_source(source)?),
        };
        check::requirement(request.accessibility_requirements.as_ref())?;
        Ok(Wanted {
            access: common_access(&request.volume_capabilities)?,
            required: range.required_bytes,
            limit: range.limit_bytes,
            source,
        })
    }

    /// Mutable parameters of a request, in CreateVolume and ControllerModifyVolume.
    pub(crate) fn check_mutable(
        &self,
        parameters: &std::collections::BTreeMap<String, String>,
    ) -> Result<(), Refusal> {
        check::map("mutable_parameters", parameters)?;
        if parameters.is_empty() {
            return Ok(());
        }
        if !self.options.modify {
            return Err(Refusal::Unsupported("mutable_parameters"));
        }
        let names = &self.options.mutable_names;
        match parameters.keys().find(|name| !names.is_empty() && !names.contains(*name)) {
            Some(name) => Err(Refusal::invalid("mutable_parameters", format!("{name:?} cannot be set"))),
            None => Ok(()),
        }
    }

    /// Refuses what is wanted at other places than this node.
    ///
    /// Differs: the Go driver ignores where a volume is wanted.
    pub(super) fn check_place(
        &self,
        what: &str,
        wanted: Option<&v1::TopologyRequirement>,
    ) -> Result<(), Refusal> {
        let requisite = wanted.map(|wanted| wanted.requisite.as_slice()).unwrap_or_default();
        if requisite.is_empty() || requisite.iter().any(|topology| self.is_here(topology)) {
            return Ok(());
        }
        let here = &self.options.node_id;
        Err(Refusal::Full(format!(
            "{what} of this driver are on node {here:?}, none of the places asked for"
        )))
    }

    /// The size that a new volume gets.
    fn size(&self, wanted: &Wanted) -> Result<i64, Refusal> {
        let Wanted { required, limit, .. } = *wanted;
        let size = match (required, limit) {
            (0, 0) => DEFAULT_SIZE.max(self.source_size(wanted.source.as_ref())),
            (0, limit) => limit,
            (required, _) => required,
        };
        let size = match wanted.access {
            Access::Mount => size,
            Access::Block => whole_sectors(size, if required == 0 { size } else { limit })?,
        };
        if size > self.options.max_size {
            let max = self.options.max_size;
            return Err(Refusal::Size(format!("{size} bytes are asked for, the largest volume has {max}")));
        }
        Ok(size)
    }

    fn source_size(&self, source: Option<&Source>) -> i64 {
        let tables = self.store.read();
        let size = match source {
            None => None,
            Some(Source::Snapshot(id)) => tables.snapshots.get(id).map(|snapshot| snapshot.size),
            Some(Source::Volume(id)) => tables.volumes.get(id).map(|volume| volume.size),
        };
        size.unwrap_or(0)
    }

    /// The content to copy, held so that nobody changes it meanwhile.
    fn origin(&self, wanted: &Wanted, size: i64) -> Result<(Option<Item>, Option<Guard>), Refusal> {
        let (id, what) = match &wanted.source {
            None => return Ok((None, None)),
            Some(Source::Snapshot(id)) => (id, "snapshot"),
            Some(Source::Volume(id)) => (id, "volume"),
        };
        let guard = self.locks.shared(Key::Content(id.clone()))?;
        let (item, source_size) = match &wanted.source {
            Some(Source::Snapshot(id)) => {
                let snapshot = self.store.snapshot(id)?;
                (Item::from(&*snapshot), snapshot.size)
            }
            _ => {
                let volume = self.store.volume(id)?;
                (Item::from(&*volume), volume.size)
            }
        };
        if item.access != wanted.access {
            let reason = format!(
                "{what} {id:?} is a {} volume, a {} volume is asked for",
                item.access.word(),
                wanted.access.word()
            );
            return Err(Refusal::invalid("volume_content_source", reason));
        }
        if size < source_size {
            // A copy that is smaller than its source is refused. `Differs:` the Go driver says INVALID_ARGUMENT, the specification OUT_OF_RANGE.
            return Err(Refusal::Size(format!(
                "{what} {id:?} has {source_size} bytes, only {size} are asked for"
            )));
        }
        Ok((Some(item), Some(guard)))
    }

    /// Sets room aside in a pool, until the record counts.
    pub(crate) fn reserve(&self, pool: Option<&String>, size: i64) -> Result<Room<'_>, Refusal> {
        let room = |pool: &str, size| Room { store: &self.store, pool: pool.to_owned(), size };
        let pools = &self.options.capacity;
        if pools.is_empty() {
            return match pool {
                None => Ok(room("", 0)),
                Some(_) => Err(Refusal::invalid(
                    "parameters",
                    "kind names a capacity pool, but there are none: start the driver with --capacity",
                )),
            };
        }
        let mut tables = self.store.read();
        if let Some(pool) = pool {
            let Some(capacity) = pools.get(pool) else {
                return Err(Refusal::Full(format!("there is no capacity pool {pool:?}")));
            };
            tables.reserve(pool, size, *capacity)?;
            return Ok(room(pool, size));
        }
        let roomy = pools.iter().find(|(pool, capacity)| tables.reserve(pool, size, **capacity).is_ok());
        match roomy {
            Some((pool, _)) => Ok(room(pool, size)),
            None => Err(Refusal::Full(format!("no capacity pool has {size} bytes left"))),
        }
    }
}

/// Room that is set aside in a pool. It is given back in any case, even by a panic: by then the record counts,
/// or nothing was made.
pub(crate) struct Room<'a> {
    store: &'a Store,
    /// The pool's name; empty without pools.
    pub(crate) pool: String,
    size: i64,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.store.read().release(&self.pool, self.size);
    }
}

/// A source as a record keeps it.
pub(crate) fn checked_source(source: &v1::VolumeContentSource) -> Result<Source, Refusal> {
    use v1::volume_content_source::Type;
    match &source.r#type {
        None => Err(Refusal::invalid("volume_content_source", "neither a snapshot nor a volume is named")),
        Some(Type::Snapshot(snapshot)) => {
            check::required("snapshot_id", &snapshot.snapshot_id)?;
            Ok(Source::Snapshot(snapshot.snapshot_id.clone()))
        }
        Some(Type::Volume(volume)) => {
            check::required("volume_id", &volume.volume_id)?;
            Ok(Source::Volume(volume.volume_id.clone()))
        }
    }
}

/// Whether an existing volume is what a repeated request asks for.
///
/// Mutable parameters are not compared: they may have been modified since.
///
/// Differs: the Go driver compares neither access type nor parameters, and forgets the source of what it
/// made, so that a repeated clone request clashes with its own volume.
fn compatible(volume: &Volume, request: &v1::CreateVolumeRequest, wanted: &Wanted) -> Result<(), Refusal> {
    let clash =
        |what: String| Err(Refusal::Clash(format!("volume {:?} exists already {what}", request.name)));
    if volume.size < wanted.required {
        return clash(format!("with {} bytes, {} are asked for", volume.size, wanted.required));
    }
    if wanted.limit > 0 && volume.size > wanted.limit {
        return clash(format!("with {} bytes, at most {} are asked for", volume.size, wanted.limit));
    }
    if volume.source != wanted.source {
        let text = |source: Option<&Source>| {
            source.map_or("nothing".to_owned(), |source| csi::redacted(&describe_source(source)))
        };
        let (is, asked) = (text(volume.source.as_ref()), text(wanted.source.as_ref()));
        return clash(format!("made from {is}, not from {asked}"));
    }
    if volume.access != wanted.access {
        return clash(format!("as a {} volume", volume.access.word()));
    }
    if !volume.legacy && volume.parameters != request.parameters {
        return clash("with other parameters".to_owned());
    }
    Ok(())
}

/// Rounds a device's size up: to whole MiB if `limit` (0: none) allows, else to whole sectors.
pub(crate) fn whole_sectors(size: i64, limit: i64) -> Result<i64, Refusal> {
    let fits = |unit: i64| {
        let rounded = size.checked_add(unit - 1)? / unit * unit;
        (limit == 0 || rounded <= limit).then_some(rounded)
    };
    fits(MEBIBYTE).or_else(|| fits(SECTOR)).or_else(|| (size % SECTOR == 0).then_some(size)).ok_or_else(
        || {
            Refusal::Size(format!(
                "a block volume cannot have {size} bytes: it consists of whole sectors of {SECTOR}"
            ))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_rounded_up_within_the_limit() {
        for (size, limit, expected) in [
            (1, 0, Some(1 << 20)),
            (1 << 20, 0, Some(1 << 20)),
            ((1 << 20) + 1, 0, Some(2 << 20)),
            (1000, 2000, Some(1024)),
            (1024, 1024, Some(1024)),
            (1000, 1000, None),
            (i64::MAX, 0, None),
        ] {
            assert_eq!(whole_sectors(size, limit).ok(), expected, "{size} {limit}");
        }
    }
}
