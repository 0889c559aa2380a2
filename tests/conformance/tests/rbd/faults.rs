//! What serves a device stops or dies under I/O: nothing is lost, calls end in time, and nothing is left.
//!
//! The devices are used without file systems. One that loses its device while it is mounted is in `mounts`; what hangs, in `patience`.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use conformance::{in_own_mounts, request};
use csi::v1;
use tonic::{Code, Status};
use v1::volume_capability::access_mode::Mode;

use crate::mounts::Pod;
use crate::stand::{Stand, until_done};

const MIB: i64 = 1 << 20;
const SIZE: i64 = 16 * MIB;
/// The longest that one request to Ceph may take.
pub(crate) const TIMEOUT: &str = "--ceph-timeout=1s";
/// A call may map or unmap, which takes some requests.
const LIMIT: Duration = Duration::from_secs(15);
/// How long something is stopped: longer than a request may take.
const STOP: Duration = Duration::from_secs(4);
/// How soon afterwards a call must succeed.
const BACK: Duration = Duration::from_secs(60);

/// A pod with a device; nothing of it is there yet.
pub(crate) async fn device<'a>(stand: &'a Stand, name: &str) -> Pod<'a> {
    let volume = stand.created(stand.create(name, SIZE)).await;
    Pod::new(stand, name, volume, request::capability(true, Mode::SingleNodeWriter))
}

/// A device that is written through.
fn open(target: &Path) -> File {
    OpenOptions::new().read(true).write(true).custom_flags(0o4_010_000).open(target).unwrap()
}

/// Asserts that a call ends in time.
pub(crate) async fn in_time<T>(
    what: &str,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let begun = Instant::now();
    let outcome = call.await;
    assert!(begun.elapsed() < LIMIT, "{what} took {:?}", begun.elapsed());
    outcome
}

/// While this is there, the OSD is stopped: also a test that fails must let it go on, for nothing of it could end.
pub(crate) struct Stopped<'a>(&'a Stand);

impl<'a> Stopped<'a> {
    pub(crate) fn new(stand: &'a Stand) -> Self {
        stand.ceph.pause_osd();
        Self(stand)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.ceph.resume_osd();
    }
}

in_own_mounts!(io_waits_for_a_stopped_osd_and_loses_nothing, stopped_osd());

#[tokio::main]
async fn stopped_osd() {
    let Some(stand) = Stand::start_with_mounts("stopped-osd", &[TIMEOUT]).await else { return };
    let (used, idle, late) =
        (device(&stand, "used").await, device(&stand, "idle").await, device(&stand, "late").await);
    used.begin().await.unwrap();
    idle.begin().await.unwrap();
    let writer = open(&used.target);
    let stopped = Stopped::new(&stand);
    let writing = std::thread::spawn(move || {
        let block = [42; 1 << 20];
        (0..8).try_for_each(|number| writer.write_all_at(&block, number << 20))
    });
    let begun = Instant::now();
    let status = in_time("stage", late.begin()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    // Whether a daemon can let go of its image now is Ceph's affair; that the call ends is ours.
    let ended = in_time("unstage", idle.try_end()).await;
    if let Err(status) = &ended {
        assert!([Code::Internal, Code::Unavailable].contains(&status.code()), "{status}");
    }
    let status = in_time("expand", stand.expand(&used.volume.volume_id, 2 * SIZE)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(used.total().await, SIZE);
    tokio::time::sleep(STOP.saturating_sub(begun.elapsed())).await;
    assert!(!writing.is_finished(), "what is written waits");
    drop(stopped);
    let written = tokio::task::spawn_blocking(move || writing.join().unwrap()).await.unwrap();
    written.unwrap();
    until_done(BACK, async || idle.try_end().await).await;
    until_done(BACK, async || late.begin().await).await;
    late.end().await;
    used.end().await;
    stand.assert_nothing_mounted();
    until_done(BACK, async || used.begin().await).await;
    let mut read = vec![0; 8 << 20];
    open(&used.target).read_exact_at(&mut read, 0).unwrap();
    assert!(read.iter().all(|byte| *byte == 42), "what was written is there");
    used.end().await;
    finish(&stand, &[&used, &idle, &late]).await;
}

in_own_mounts!(staging_ends_in_time_while_the_monitor_is_stopped, stopped_monitor());

#[tokio::main]
async fn stopped_monitor() {
    let Some(mut stand) = Stand::start_with_mounts("stopped-mon", &[TIMEOUT]).await else { return };
    let volume = stand.created(stand.create("volume", SIZE)).await;
    let fuse = format!("--fuse-folder={}", stand.folder.path().join("fuse").display());
    // A driver that is not connected yet.
    stand.ceph.pause_monitor();
    stand.restart(&[TIMEOUT, "--mapper=fuse", &fuse]).await;
    let pod = Pod::new(&stand, "volume", volume, request::capability(true, Mode::SingleNodeWriter));
    let status = in_time("stage", pod.begin()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    in_time("unstage", pod.try_end()).await.unwrap();
    stand.assert_nothing_mounted();
    stand.ceph.resume_monitor();
    until_done(BACK, async || pod.begin().await).await;
    pod.end().await;
    finish(&stand, &[&pod]).await;
}

in_own_mounts!(a_killed_mapper_is_replaced_and_nothing_is_lost, killed_mapper());

#[tokio::main]
async fn killed_mapper() {
    let Some(stand) = Stand::start_with_mounts("dead-mapper", &[TIMEOUT]).await else { return };
    let pod = device(&stand, "volume").await;
    pod.begin().await.unwrap();
    open(&pod.target).write_all_at(&[42; 1 << 20], 0).unwrap();
    assert!(stand.signal_daemons("-KILL"), "there was a daemon");
    let lost = open(&pod.target).write_all_at(&[43; 1 << 20], 4 << 20);
    assert!(lost.is_err(), "nothing is written any more");
    // The pod's end is seen through all the same.
    in_time("unpublish and unstage", pod.try_end()).await.unwrap();
    stand.assert_nothing_mounted();
    // Ceph holds the image for the dead daemon for some seconds.
    until_done(BACK, async || {
        in_time("stage", pod.begin()).await.inspect_err(|status| {
            assert_eq!(status.code(), Code::Aborted, "{status}");
        })
    })
    .await;
    let mut read = vec![0; 1 << 20];
    open(&pod.target).read_exact_at(&mut read, 0).unwrap();
    assert!(read.iter().all(|byte| *byte == 42), "what was written is there");
    pod.end().await;
    finish(&stand, &[&pod]).await;
}

/// Removes the pods' volumes, and asserts that nothing is left.
pub(crate) async fn finish(stand: &Stand, pods: &[&Pod<'_>]) {
    stand.assert_nothing_mounted();
    for pod in pods {
        until_done(BACK, async || stand.delete(&pod.volume.volume_id).await).await;
    }
    stand.assert_empty();
}
