use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use csi::v1::controller_server::Controller;
use csi::v1::group_controller_server::GroupController;
use csi::v1::identity_server::Identity;
use csi::v1::{self, volume_capability};
use tonic::{Code, Request};
use volume_capability::access_mode::Mode;
use volume_capability::{AccessMode, AccessType, MountVolume};

use super::*;
use crate::backend::hostpath::{Hostpath, Space};
use crate::backend::{Content, Disk, Occupant};
use crate::service::Service;

mod leftovers;
mod streams;
mod unfinished;

/// Storage whose next calls fail.
#[derive(Debug, Default)]
struct Faults {
    /// So many calls of `keep` fail.
    keep: AtomicUsize,
    /// So many calls of `prepare` panic.
    prepare: AtomicUsize,
    /// So many calls of `detach` fail.
    detach: AtomicUsize,
    /// How many did not.
    detached: AtomicUsize,
    /// Holds up the next call of `clean`.
    clean: Mutex<Option<leftovers::Gate>>,
}

fn counts_down(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

struct Faulty(Hostpath, Arc<Faults>);

impl Backend for Faulty {
    fn keep(&self, item: &Item) -> io::Result<()> {
        if counts_down(&self.1.keep) { Err(io::Error::other("no luck")) } else { self.0.keep(item) }
    }

    fn prepare(&self, item: &Item, size: u64, content: Content<'_>) -> io::Result<()> {
        assert!(!counts_down(&self.1.prepare), "no luck");
        self.0.prepare(item, size, content)
    }

    fn recover(&self, recorded: &[Item], in_use: &[Item]) -> Vec<Item> {
        self.0.recover(recorded, in_use)
    }

    fn clean(&self) -> io::Result<()> {
        let gate = self.1.clean.lock().unwrap().take();
        match gate {
            Some(gate) => gate.pass(|| self.0.clean()),
            None => self.0.clean(),
        }
    }

    fn retire(&self, item: &Item) -> io::Result<()> {
        self.0.retire(item)
    }

    fn remove(&self, item: &Item) -> io::Result<()> {
        self.0.remove(item)
    }

    fn grow(&self, volume: &Item, size: u64) -> io::Result<()> {
        self.0.grow(volume, size)
    }

    fn refresh(&self, volume: &Item) -> io::Result<()> {
        self.0.refresh(volume)
    }

    fn attach(&self, volume: &Item, readonly: bool) -> io::Result<PathBuf> {
        self.0.attach(volume, readonly)
    }

    fn detach(&self, volume: &Item, readonly: bool) -> io::Result<()> {
        if counts_down(&self.1.detach) {
            return Err(io::Error::other("no luck"));
        }
        self.1.detached.fetch_add(1, Ordering::SeqCst);
        self.0.detach(volume, readonly)
    }

    fn occupant(&self, volume: &Item, target: &Path) -> io::Result<Occupant> {
        self.0.occupant(volume, target)
    }

    fn open(&self, item: &Item) -> io::Result<File> {
        self.0.open(item)
    }

    fn is_there(&self, volume: &Item) -> io::Result<bool> {
        self.0.is_there(volume)
    }

    fn disk(&self) -> io::Result<Disk> {
        self.0.disk()
    }
}

struct Fixture {
    service: Service<Plugin>,
    faults: Arc<Faults>,
    _folder: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let capacity = [("fast".to_owned(), 1 << 40)].into();
    let options = Options { capacity, ..Options::for_tests(folder.path().to_owned()) };
    let plugin = open(options, faults.clone());
    Fixture { service: Service(Arc::new(plugin.unwrap())), faults, _folder: folder }
}

fn open(options: Options, faults: Arc<Faults>) -> Result<Plugin, StartError> {
    Plugin::start(options, |own, former| {
        Ok(Box::new(Faulty(Hostpath::open(own, former, Space::AtOnce)?, faults)))
    })
}

fn create(name: &str) -> Request<v1::CreateVolumeRequest> {
    let capability = v1::VolumeCapability {
        access_type: Some(AccessType::Mount(MountVolume::default())),
        access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter as i32 }),
    };
    Request::new(v1::CreateVolumeRequest {
        name: name.to_owned(),
        volume_capabilities: vec![capability],
        ..Default::default()
    })
}

#[tokio::test]
async fn a_recorded_volume_without_a_place_is_finished_next_time() {
    let f = fixture();
    f.faults.keep.store(2, Ordering::SeqCst);
    for _ in 0..2 {
        let status = f.service.create_volume(create("v")).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
    }
    let volume = f.service.create_volume(create("v")).await.unwrap().into_inner().volume.unwrap();
    let record = f.service.0.store.volume(&volume.volume_id).unwrap();
    assert!(f.service.0.backend.is_there(&Item::from(&*record)).unwrap());
    assert_eq!(f.service.0.store.read().volumes.len(), 1);
}

#[tokio::test]
async fn a_snapshot_without_a_place_is_finished_by_the_next_call() {
    let f = fixture();
    let volume = f.service.create_volume(create("v")).await.unwrap().into_inner().volume.unwrap();
    let cut = || {
        Request::new(v1::CreateSnapshotRequest {
            name: "s".to_owned(),
            source_volume_id: volume.volume_id.clone(),
            ..Default::default()
        })
    };
    f.faults.keep.store(2, Ordering::SeqCst);
    for _ in 0..2 {
        let status = f.service.create_snapshot(cut()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
    }
    f.service.create_snapshot(cut()).await.unwrap();
    assert_eq!(f.service.0.store.read().snapshots.len(), 1);
}

/// What the list of unhealthy volumes says: status and reason.
async fn unhealthy(f: &Fixture) -> Vec<(v1::VolumeHealthErrorType, String)> {
    let list = Request::new(v1::ControllerListVolumeHealthRequest::default());
    let reply = f.service.controller_list_volume_health(list).await.unwrap().into_inner();
    let entries = reply.entries.iter().flat_map(|volume| &volume.health_statuses);
    entries.map(|entry| (entry.status(), entry.reason.clone())).collect()
}

#[tokio::test]
async fn content_that_waits_for_its_place_is_not_told_as_lost() {
    let f = fixture();
    f.faults.keep.store(1, Ordering::SeqCst);
    f.service.create_volume(create("v")).await.unwrap_err();
    let waiting = (v1::VolumeHealthErrorType::Inaccessible, "ContentUnreadable".to_owned());
    assert_eq!(unhealthy(&f).await, [waiting]);
    f.service.create_volume(create("v")).await.unwrap();
    assert_eq!(unhealthy(&f).await, []);
}

#[tokio::test]
async fn content_that_a_call_hides_is_lost_only_if_it_stays_away() {
    let f = fixture();
    let volume = f.service.create_volume(create("v")).await.unwrap().into_inner().volume.unwrap();
    let plugin = &f.service.0;
    let record = plugin.store.volume(&volume.volume_id).unwrap();
    plugin.backend.retire(&Item::from(&*record)).unwrap();
    for key in [Key::Content(volume.volume_id.clone()), Key::Name("volume", "v".to_owned())] {
        let at_work = plugin.locks.alone(key).unwrap();
        assert_eq!(unhealthy(&f).await, []);
        drop(at_work);
        let lost = (v1::VolumeHealthErrorType::DataLoss, "ContentMissing".to_owned());
        assert_eq!(unhealthy(&f).await, [lost]);
    }
    plugin.backend.keep(&Item::from(&*record)).unwrap();
    assert_eq!(unhealthy(&f).await, []);
}

#[tokio::test]
async fn a_panic_is_not_a_final_answer() {
    let f = fixture();
    f.faults.prepare.store(1, Ordering::SeqCst);
    let status = f.service.create_volume(create("v")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(f.service.0.store.read().used("fast"), 0, "its room is free again");
    // And so are its locks.
    f.service.create_volume(create("v")).await.unwrap();
}

#[tokio::test]
async fn copies_beyond_their_bound_are_aborted_and_nothing_else_is() {
    let f = fixture();
    let volume = f.service.create_volume(create("v")).await.unwrap().into_inner().volume.unwrap();
    let snapshot = |name: &str| v1::CreateSnapshotRequest {
        name: name.to_owned(),
        source_volume_id: volume.volume_id.clone(),
        ..Default::default()
    };
    f.service.create_snapshot(Request::new(snapshot("made"))).await.unwrap();
    let taken: Vec<_> = std::iter::from_fn(|| f.service.0.copies.take().ok()).collect();
    let mut clone = create("clone");
    let source = v1::volume_content_source::VolumeSource { volume_id: volume.volume_id.clone() };
    let r#type = Some(v1::volume_content_source::Type::Volume(source));
    clone.get_mut().volume_content_source = Some(v1::VolumeContentSource { r#type });
    let group = v1::CreateVolumeGroupSnapshotRequest {
        name: "g".to_owned(),
        source_volume_ids: vec![volume.volume_id.clone()],
        ..Default::default()
    };
    let refused = [
        f.service.create_snapshot(Request::new(snapshot("s"))).await.unwrap_err(),
        f.service.create_volume(clone).await.unwrap_err(),
        f.service.create_volume_group_snapshot(Request::new(group)).await.unwrap_err(),
    ];
    assert!(refused.iter().all(|status| status.code() == Code::Aborted), "{refused:?}");
    f.service.create_snapshot(Request::new(snapshot("made"))).await.unwrap();
    f.service.create_volume(create("empty")).await.unwrap();
    drop(taken);
    f.service.create_snapshot(Request::new(snapshot("s"))).await.unwrap();
}

#[test]
fn identity_answers_while_all_threads_are_busy() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let f = fixture();
    runtime.enable_all().max_blocking_threads(1).build().unwrap().block_on(async {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || held.recv());
        let probe = f.service.probe(Request::new(v1::ProbeRequest::default()));
        let answer = tokio::time::timeout(std::time::Duration::from_secs(5), probe).await;
        drop(release);
        let _ = busy.await;
        answer.unwrap().unwrap();
    });
}
