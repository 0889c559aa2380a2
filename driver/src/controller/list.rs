//! ListVolumes, ListSnapshots, the Get RPCs and GetCapacity.
//!
//! A page token is a mark and the id of the next object, so a listing stays right while objects come and go: what
//! was there all the time is listed exactly once.
//!
//! Differs: the Go driver never ends a page of volumes, takes a token past the end, and lists only the
//! first snapshot of a volume.

use csi::v1;
use prost::Message;

use crate::check;
use crate::controller::create::POOL;
use crate::plugin::Plugin;
use crate::refusal::Refusal;

/// The most bytes in one answer; callers take 4 MiB.
pub(super) const MAX_PAGE_BYTES: usize = 3 * 1024 * 1024;
/// The most entries looked at for one answer.
pub(super) const MAX_PAGE_ENTRIES: usize = 20_000;

impl Plugin {
    /// A page of volumes, by id.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a negative count, ABORTED for a token that is not ours.
    pub fn list_volumes(&self, request: v1::ListVolumesRequest) -> Result<v1::ListVolumesResponse, Refusal> {
        self.has_controller("ListVolumes")?;
        let limit = check::max_entries(request.max_entries)?.unwrap_or(MAX_PAGE_ENTRIES);
        let from = token_id(&request.starting_token)?;
        let page = self.store.read().volume_page(from, limit.min(MAX_PAGE_ENTRIES));
        let entries = page.entries.iter().map(|volume| v1::list_volumes_response::Entry {
            volume: Some(self.describe(volume)),
            status: Some(v1::list_volumes_response::VolumeStatus {
                published_node_ids: self.published_nodes(volume),
            }),
        });
        let (entries, cut) = fitting(entries);
        let next = cut.and_then(|cut| page.entries.get(cut).map(|volume| volume.id.clone())).or(page.next);
        Ok(v1::ListVolumesResponse { entries, next_token: token(next) })
    }

    /// A page of snapshots, by id; or the snapshots of one volume; or one snapshot.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a negative count or when listing is off, ABORTED for a token that is not ours.
    pub fn list_snapshots(
        &self,
        request: v1::ListSnapshotsRequest,
    ) -> Result<v1::ListSnapshotsResponse, Refusal> {
        self.has_controller("ListSnapshots")?;
        if !self.options.list_snapshots {
            return Err(Refusal::Unsupported("ListSnapshots"));
        }
        let limit = check::max_entries(request.max_entries)?.unwrap_or(MAX_PAGE_ENTRIES);
        let from = token_id(&request.starting_token)?;
        check::optional("source_volume_id", &request.source_volume_id)?;
        check::optional("snapshot_id", &request.snapshot_id)?;
        check::secrets(&request.secrets)?;
        let entry = |snapshot: &_| v1::list_snapshots_response::Entry {
            snapshot: Some(self.describe_snapshot(snapshot)),
        };
        let volume = &request.source_volume_id;
        if !request.snapshot_id.is_empty() {
            let found = self.store.read().snapshots.get(&request.snapshot_id).cloned();
            let found = found.filter(|snapshot| volume.is_empty() || snapshot.volume == *volume);
            let entries = found.iter().map(|snapshot| entry(snapshot)).collect();
            return Ok(v1::ListSnapshotsResponse { entries, next_token: String::new() });
        }
        let limit = limit.min(MAX_PAGE_ENTRIES);
        let page = self.store.read().snapshot_page(from, limit, volume);
        let (entries, cut) = fitting(page.entries.iter().map(|snapshot| entry(snapshot)));
        let next =
            cut.and_then(|cut| page.entries.get(cut).map(|snapshot| snapshot.id.clone())).or(page.next);
        Ok(v1::ListSnapshotsResponse { entries, next_token: token(next) })
    }

    /// One volume and where it is published.
    ///
    /// Differs: the Go driver v1.18 answers OK with a bad condition for an unknown volume.
    ///
    /// # Errors
    /// INVALID_ARGUMENT without an id, NOT_FOUND for an unknown one.
    pub fn get_volume(
        &self,
        request: v1::ControllerGetVolumeRequest,
    ) -> Result<v1::ControllerGetVolumeResponse, Refusal> {
        check::required("volume_id", &request.volume_id)?;
        let volume = self.store.volume(&request.volume_id)?;
        let status = v1::controller_get_volume_response::VolumeStatus {
            published_node_ids: self.published_nodes(&volume),
        };
        Ok(v1::ControllerGetVolumeResponse { volume: Some(self.describe(&volume)), status: Some(status) })
    }

    /// One snapshot.
    ///
    /// # Errors
    /// NOT_FOUND for an unknown or missing id, as the Go driver.
    pub fn get_snapshot(&self, request: v1::GetSnapshotRequest) -> Result<v1::GetSnapshotResponse, Refusal> {
        check::optional("snapshot_id", &request.snapshot_id)?;
        check::secrets(&request.secrets)?;
        let snapshot = self.store.snapshot(&request.snapshot_id)?;
        Ok(v1::GetSnapshotResponse { snapshot: Some(self.describe_snapshot(&snapshot)) })
    }

    /// Room for new volumes: what is left of a pool, or without pools the largest volume.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field.
    pub fn capacity(&self, request: v1::GetCapacityRequest) -> Result<v1::GetCapacityResponse, Refusal> {
        self.has_controller("GetCapacity")?;
        check::map("parameters", &request.parameters)?;
        for capability in &request.volume_capabilities {
            check::capability("volume_capabilities", capability)?;
        }
        let is_here = request.accessible_topology.as_ref().is_none_or(|topology| self.is_here(topology));
        let available = if !is_here {
            0
        } else if self.options.capacity.is_empty() {
            self.options.max_size
        } else {
            request.parameters.get(POOL).map_or(0, |pool| self.left(pool))
        };
        Ok(v1::GetCapacityResponse {
            available_capacity: available,
            maximum_volume_size: Some(self.options.max_size.min(available)),
            minimum_volume_size: Some(0),
        })
    }

    fn left(&self, pool: &str) -> i64 {
        let capacity = self.options.capacity.get(pool).copied().unwrap_or(0);
        (capacity - self.store.read().used(pool)).max(0)
    }
}

/// The entries that fit into one answer, and how many that were if some did not.
fn fitting<M: Message>(entries: impl Iterator<Item = M>) -> (Vec<M>, Option<usize>) {
    let mut kept = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        bytes += entry.encoded_len() + 8;
        if bytes > MAX_PAGE_BYTES {
            let count = kept.len();
            return (kept, Some(count));
        }
        kept.push(entry);
    }
    (kept, None)
}

/// Begins each token; callers that make tokens up are told so.
const TOKEN_MARK: char = '@';

/// The token of the page that begins with this id; empty if there is none.
pub(super) fn token(next: Option<String>) -> String {
    next.map_or_else(String::new, |id| format!("{TOKEN_MARK}{id}"))
}

/// The id where the page of a token begins. The object may be gone: the page begins behind it then.
pub(super) fn token_id(token: &str) -> Result<&str, Refusal> {
    if token.is_empty() {
        return Ok("");
    }
    let shown = || token.chars().take(check::MAX_STRING).collect();
    token.strip_prefix(TOKEN_MARK).ok_or_else(|| Refusal::BadToken(shown()))
}
