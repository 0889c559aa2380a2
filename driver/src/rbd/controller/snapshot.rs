//! CreateSnapshot and DeleteSnapshot.
//!
//! A snapshot is an image of its own, a clone, so that it outlives its volume:
//!
//! ```text
//! volume's image @ csi-snap-<uuid> ──clone──▶ csi-snap-<uuid> @ csi-snap-<uuid>
//! ```
//! The volume's own snapshot is removed once there is the clone.

use std::sync::Arc;

use csi::v1;

use super::clone::{clone_by_snapshot, of_intermediate};
use crate::check;
use crate::controller::timestamp;
use crate::lock::Key;
use crate::rbd::ceph::{ImageOptions, Pool, is};
use crate::rbd::class;
use crate::rbd::credentials::{self, Credentials};
use crate::rbd::driver::Rbd;
use crate::rbd::error;
use crate::rbd::handle::Handle;
use crate::rbd::image;
use crate::rbd::journal::{Journal, Reservation};
use crate::rbd::names::Kind;
use crate::rbd::plan::{Entry, Found, Seen, Step, about_name};
use crate::refusal::Refusal;

/// The volume that a snapshot is of.
struct Source {
    handle: Handle,
    pool: Arc<Pool>,
    /// Its image; none if no journal knows it any more.
    image: Option<String>,
    mirrors: usize,
}

impl Source {
    /// Whether this is, or was, its image.
    fn is_called(&self, image: &str) -> bool {
        match &self.image {
            Some(own) => own == image,
            None => image.ends_with(&self.handle.uuid),
        }
    }
}

impl Rbd {
    /// Cuts a snapshot, or finds the one that an earlier call with this name cut, or finishes that one's work.
    ///
    /// Differs: a call that is repeated when its volume is gone gives the snapshot that the first one cut, or undoes what that one
    /// began; ceph-csi answers NOT_FOUND, and what it has made stays.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field; NOT_FOUND for an unknown volume; ALREADY_EXISTS when the name belongs to a snapshot of
    /// another volume; ABORTED while the name or the volume is worked on; UNAVAILABLE when Ceph does not answer.
    pub(crate) fn create_snapshot(
        &self,
        request: v1::CreateSnapshotRequest,
    ) -> Result<v1::CreateSnapshotResponse, Refusal> {
        check::required("name", &request.name)?;
        check::required("source_volume_id", &request.source_volume_id)?;
        check::map("parameters", &request.parameters)?;
        check::secrets(&request.secrets)?;
        let (cluster, prefix) = class::of_snapshots(&request.parameters)?;
        let unknown = || Refusal::no_volume(&request.source_volume_id);
        let handle = Handle::parse(&request.source_volume_id).ok_or_else(unknown)?;
        if cluster.is_some_and(|cluster| *cluster != handle.cluster) {
            let reason = format!("clusterID: the volume is in cluster {:?}", handle.cluster);
            return Err(Refusal::invalid("parameters", reason));
        }
        let who = credentials::of_secrets(&request.secrets)?;
        let _call = self.calls.take()?;
        let _name = self.locks.alone(Key::Name("snapshot", request.name.clone()))?;
        let _content = self.locks.shared(Key::Content(request.source_volume_id.clone()))?;
        let site = self.site(&handle.cluster, who.clone())?;
        let pool = site.pool(handle.pool)?.ok_or_else(unknown)?;
        let journal = self.journal(Arc::clone(&pool), Kind::Snapshot);
        let entry = journal.find(&request.name)?;
        let gone = Source { handle, pool, image: None, mirrors: site.config.rbd.mirror_daemon_count };
        let (source, is_there) = match self.source_of_snapshot(gone, who) {
            Err(refusal) if entry.is_some() => return Err(error::unfinished(refusal)),
            found => found?,
        };
        // What an earlier call cut of it is there also when the volume is gone; what that one only began goes.
        if let Some(entry) = entry
            && let Some((uuid, image)) =
                settle(&request.name, &source, &journal, entry).map_err(error::unfinished)?
        {
            return answer(&request, &source, &journal, &uuid, &image).map_err(error::unfinished);
        }
        if is_there { self.cut(&request, &source, &journal, &prefix) } else { Err(unknown()) }
    }

    /// Completes what is known of a volume whose snapshot is asked for; and whether it is there. The image of one that no journal knows
    /// any more had a name that ended with its UUID.
    fn source_of_snapshot(&self, gone: Source, who: Credentials) -> Result<(Source, bool), Refusal> {
        match self.known(gone.handle.clone(), Kind::Volume, who)? {
            Some(volume) if volume.attributes.is_encrypted => {
                Err(Refusal::invalid("source_volume_id", "is encrypted, which this driver cannot copy"))
            }
            Some(volume) => {
                let is_there = image::look(volume.pool(), &volume.attributes.image)?.is_some();
                Ok((Source { image: Some(volume.attributes.image), ..gone }, is_there))
            }
            None => Ok((gone, false)),
        }
    }

    fn cut(
        &self,
        request: &v1::CreateSnapshotRequest,
        volume: &Source,
        journal: &Journal,
        prefix: &str,
    ) -> Result<v1::CreateSnapshotResponse, Refusal> {
        let source = volume.image.as_deref().unwrap_or_default();
        self.check_chain(&volume.pool, source, 1)?;
        let wanted =
            Reservation { name: &request.name, prefix: Some(prefix), owner: None, source: Some(source) };
        let (uuid, image) = journal.reserve(&wanted)?;
        let made = make(journal, source, &image).and_then(|seen| journal.record(&uuid, &seen.id));
        match made {
            Ok(()) => answer(request, volume, journal, &uuid, &image).map_err(error::unfinished),
            Err(refusal) => Err(error::undone(refusal, || {
                journal.begin_undo(&uuid, None)?;
                image::remove_snapshot_image(&journal.pool, &image, Some(source), volume.mirrors)?;
                journal.forget(Some(&request.name), &uuid, false)
            })),
        }
    }

    /// Removes a snapshot. One that is unknown is fine. A removal that ended half-way is finished.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field; FAILED_PRECONDITION while it is in use; ABORTED while it is worked on; UNAVAILABLE when
    /// Ceph does not answer.
    pub(crate) fn delete_snapshot(
        &self,
        request: v1::DeleteSnapshotRequest,
    ) -> Result<v1::DeleteSnapshotResponse, Refusal> {
        check::required("snapshot_id", &request.snapshot_id)?;
        check::secrets(&request.secrets)?;
        let gone = Ok(v1::DeleteSnapshotResponse {});
        let Some(handle) = Handle::parse(&request.snapshot_id) else { return gone };
        let who = credentials::of_secrets(&request.secrets)?;
        let _call = self.calls.take()?;
        let _content = self.locks.alone(Key::Content(request.snapshot_id.clone()))?;
        let Some(known) = self.known(handle, Kind::Snapshot, who)? else { return gone };
        let attributes = &known.attributes;
        let mirrors = known.site.config.rbd.mirror_daemon_count;
        let source = attributes.source.as_deref();
        image::remove_snapshot_image(known.pool(), &attributes.image, source, mirrors)?;
        known.journal.forget(attributes.name.as_deref(), &known.handle.uuid, true)?;
        gone
    }
}

/// Answers about, finishes or undoes what the journal has.
fn settle(
    name: &str,
    volume: &Source,
    journal: &Journal,
    entry: Entry,
) -> Result<Option<(String, String)>, Refusal> {
    let attributes = journal.attributes(&entry.uuid)?;
    let source = attributes.as_ref().and_then(|attributes| attributes.source.clone());
    if source.as_ref().is_some_and(|source| !volume.is_called(source)) {
        return Err(Refusal::Clash(format!("snapshot {name:?} exists already, of another volume")));
    }
    let image_name = attributes.as_ref().map_or_else(
        || format!("{}{}", Kind::Snapshot.image_prefix(), entry.uuid),
        |attributes| attributes.image.clone(),
    );
    let seen = image::seen(&journal.pool, &image_name, Kind::Snapshot)?;
    // Its own snapshot, the last part, says that it has what it was made of.
    let found = Found { name, attributes: attributes.as_ref(), image: seen.as_ref(), is_copy: false };
    match about_name(found) {
        Step::Answer => {}
        Step::Record => journal.record(&entry.uuid, &seen.map(|seen| seen.id).unwrap_or_default())?,
        Step::Complete => {
            let source = source.unwrap_or_default();
            let whole = complete(journal, volume.image.as_ref().unwrap_or(&source), &image_name)?;
            journal.record(&entry.uuid, &whole.id)?;
        }
        Step::Refuse => {
            let what = format!("the journal's entry of snapshot {name:?} belongs to another name");
            return Err(Refusal::System { what, source: std::io::ErrorKind::InvalidData.into() });
        }
        Step::Undo => {
            base::warn!("Undoing what an earlier call began"; "snapshot" => name, "uuid" => entry.uuid);
            let source = volume.image.as_deref().or(source.as_deref());
            journal.begin_undo(&entry.uuid, attributes.and_then(|known| known.image_id).as_deref())?;
            image::remove_snapshot_image(&journal.pool, &image_name, source, volume.mirrors)?;
            journal.forget(Some(name), &entry.uuid, false)?;
            return Ok(None);
        }
    }
    Ok(Some((entry.uuid, image_name)))
}

/// Makes the image of a snapshot.
fn make(journal: &Journal, source: &str, image: &str) -> Result<Seen, Refusal> {
    let options = of_intermediate(&ImageOptions::default());
    clone_by_snapshot((&journal.pool, source), image, (&journal.pool, image), &options)?;
    complete(journal, source, image)
}

/// Gives the image its own snapshot, by which it is restored.
fn complete(journal: &Journal, source: &str, name: &str) -> Result<Seen, Refusal> {
    let failed = || error::ceph(format!("cannot finish snapshot image {name:?}"));
    // An earlier call may have ended before it removed this one.
    image::remove_snapshot(&journal.pool, source, name)?;
    let missing = || failed()(rustix::io::Errno::NOENT.into());
    let opened = image::open(&journal.pool, name)?.ok_or_else(missing)?;
    match opened.snapshot(name) {
        Err(error) if is(&error, rustix::io::Errno::EXIST) => {}
        outcome => outcome.map_err(failed())?,
    }
    drop(opened);
    image::seen(&journal.pool, name, Kind::Snapshot)?.ok_or_else(missing)
}

fn answer(
    request: &v1::CreateSnapshotRequest,
    volume: &Source,
    journal: &Journal,
    uuid: &str,
    name: &str,
) -> Result<v1::CreateSnapshotResponse, Refusal> {
    let failed = || error::ceph(format!("cannot look at image {name:?}"));
    let image = image::look(&journal.pool, name)?;
    let image = image.ok_or_else(|| failed()(rustix::io::Errno::NOENT.into()))?;
    let id = Handle { cluster: volume.handle.cluster.clone(), pool: journal.pool.id, uuid: uuid.to_owned() };
    Ok(v1::CreateSnapshotResponse {
        snapshot: Some(v1::Snapshot {
            size_bytes: i64::try_from(image.size().map_err(failed())?).unwrap_or(i64::MAX),
            snapshot_id: id.to_string(),
            source_volume_id: request.source_volume_id.clone(),
            creation_time: Some(timestamp(image.created().map_err(failed())?)),
            ready_to_use: true,
            group_snapshot_id: String::new(),
            accessible_topology: Vec::new(),
        }),
    })
}
