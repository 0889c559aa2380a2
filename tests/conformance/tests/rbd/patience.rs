//! A device that does not answer: the call ends in time, what it began goes on with its locks, and the next call finds it done.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use conformance::in_own_mounts;
use csi::v1::volume_capability::access_mode::Mode;
use tonic::{Code, Status};

use crate::faults::{Stopped, TIMEOUT, device, finish, in_time};
use crate::mounts::{Pod, mounted_as};
use crate::stand::{Stand, until_done};

/// XFS makes no smaller file systems.
const SIZE: i64 = 320 << 20;
/// How soon a call must succeed once the device answers.
const BACK: Duration = Duration::from_secs(60);

/// An mkfs.xfs that notes that it runs, waits until it may go on, and then is the real one.
const SLOW: &str = r#"#!/bin/sh
echo run >>"${0%/*}/runs"
while [ ! -e "${0%/*}/go" ]; do sleep 0.05; done
PATH=${PATH#*:} exec mkfs.xfs "$@"
"#;

/// An mkfs.ext4 that is killed when it has written its first parts, as the real one does, before the superblock; the next is the real
/// one.
const KILLED: &str = r#"#!/bin/sh
if [ ! -e "${0%/*}/runs" ]; then
  echo run >"${0%/*}/runs"
  for device; do :; done
  printf 'group descriptors' | dd of="$device" bs=4096 seek=1 conv=notrunc,fsync 2>/dev/null
  kill -s KILL $$
fi
PATH=${PATH#*:} exec mkfs.ext4 "$@"
"#;

/// Puts a program before the system's.
fn put(stand: &Stand, name: &str, text: &str) -> PathBuf {
    let programs = stand.programs();
    std::fs::create_dir(&programs).unwrap();
    std::fs::write(programs.join(name), text).unwrap();
    std::fs::set_permissions(programs.join(name), PermissionsExt::from_mode(0o755)).unwrap();
    programs
}

fn runs(programs: &Path) -> usize {
    std::fs::read_to_string(programs.join("runs")).unwrap_or_default().lines().count()
}

fn is<T>(code: Code, outcome: Result<T, Status>) {
    match outcome {
        Ok(_) => panic!("it succeeded, not {code:?}"),
        Err(status) => assert_eq!(status.code(), code, "{status}"),
    }
}

in_own_mounts!(a_hung_mkfs_is_answered_in_time_and_runs_once, hung_mkfs());

#[tokio::main]
async fn hung_mkfs() {
    let Some(stand) = Stand::start_with_mounts("hung-mkfs", &[TIMEOUT]).await else { return };
    let programs = put(&stand, "mkfs.xfs", SLOW);
    let volume = stand.created(stand.create("volume", SIZE)).await;
    let pod = Pod::new(&stand, "volume", volume, mounted_as("xfs", Mode::SingleNodeWriter));
    is(Code::Unavailable, in_time("stage", pod.begin()).await);
    assert_eq!(runs(&programs), 1);
    is(Code::Aborted, in_time("stage again", pod.begin()).await);
    is(Code::Aborted, in_time("unstage", pod.try_end()).await);
    // From here on it is Ceph that does not answer it.
    let stopped = Stopped::new(&stand);
    std::fs::write(programs.join("go"), "").unwrap();
    is(Code::Aborted, in_time("stage once more", pod.begin()).await);
    drop(stopped);
    until_done(BACK, async || pod.begin().await).await;
    assert_eq!(runs(&programs), 1, "there is one file system, made once");
    std::fs::write(pod.target.join("file"), "here").unwrap();
    pod.end().await;
    finish(&stand, &[&pod]).await;
}

in_own_mounts!(what_a_killed_mkfs_left_becomes_a_file_system, killed_mkfs());

#[tokio::main]
async fn killed_mkfs() {
    let Some(stand) = Stand::start_with_mounts("killed-mkfs", &[]).await else { return };
    put(&stand, "mkfs.ext4", KILLED);
    let volume = stand.created(stand.create("volume", 16 << 20)).await;
    let pod = Pod::new(&stand, "volume", volume, mounted_as("ext4", Mode::SingleNodeWriter));
    is(Code::Internal, pod.begin().await);
    until_done(BACK, async || pod.begin().await).await;
    std::fs::write(pod.target.join("file"), "here").unwrap();
    let image = &pod.volume.volume_context["imageName"];
    assert_eq!(stand.rbd(&["image-meta", "list", image, "--format", "json"]).trim(), "", "no mark is left");
    pod.end().await;
    finish(&stand, &[&pod]).await;
}

in_own_mounts!(a_daemon_that_hangs_is_answered_in_time, hung_daemon());

#[tokio::main]
async fn hung_daemon() {
    let Some(stand) = Stand::start_with_mounts("hung-daemon", &[TIMEOUT]).await else { return };
    let pod = device(&stand, "volume").await;
    pod.begin().await.unwrap();
    // As of a call that was killed before it had a device.
    pod.lose_device();
    let daemon = Frozen::new(&stand);
    is(Code::Unavailable, in_time("stage", pod.begin()).await);
    is(Code::Aborted, in_time("stage again", pod.begin()).await);
    drop(daemon);
    until_done(BACK, async || pod.begin().await).await;
    pod.end().await;
    finish(&stand, &[&pod]).await;
}

/// The daemons of a test are stopped while this is there.
struct Frozen<'a>(&'a Stand);

impl<'a> Frozen<'a> {
    fn new(stand: &'a Stand) -> Self {
        assert!(stand.signal_daemons("-STOP"), "there is a daemon");
        Self(stand)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.0.signal_daemons("-CONT");
    }
}
