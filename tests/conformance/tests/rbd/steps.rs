//! The driver is killed at its messages to Ceph, one call at a time: at every third of a short call to every fortieth of a long one,
//! beginning anywhere. The call repeated gives what it would have given, content and all, and once that is deleted nothing is left.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cluster::Process;
use cluster::skip::{Lack, left_out};
use conformance::{Dice, request};
use csi::v1;

use crate::stand::{Stand, until_done, until_made};

const MIB: i64 = 1 << 20;
/// A killed client holds its images for some seconds, and callers try again for longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a tracer may take to attach.
const ATTACHING: Duration = Duration::from_secs(20);

/// What is killed, and at which messages: one of so many that follow each other, chosen by chance.
#[derive(Debug, Clone, Copy)]
struct Plan {
    call: Call,
    stride: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Create,
    Restore,
    Clone,
    Snapshot,
    Delete,
    DeleteSnapshot,
}

/// All at once, each in a namespace with a driver of its own: most of the time they wait for Ceph to let go of what killed drivers
/// had open.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_killed_at_any_message_is_finished_by_the_next() {
    if Command::new("strace").arg("-V").output().is_err() {
        return left_out("a driver killed at each message to Ceph", Lack::Tool("strace"));
    }
    let plan = |call, stride| run(Plan { call, stride });
    tokio::join!(
        plan(Call::Create, 3),
        plan(Call::Restore, 20),
        plan(Call::Clone, 40),
        plan(Call::Snapshot, 25),
        plan(Call::Delete, 20),
        plan(Call::DeleteSnapshot, 20),
    );
}

async fn run(plan: Plan) {
    let name = format!("steps-{:?}", plan.call).to_lowercase();
    let Some(mut stand) = Stand::start(&name, &[]).await else { return };
    let mut dice = Dice::from_environment(&name);
    let source = stand.created(stand.create("source", 16 * MIB)).await;
    let image = source.volume_context["imageName"].clone();
    stand.rbd(&["bench", "--io-type", "write", "--io-size", "64K", "--io-total", "256K", &image]);
    let written = content(&stand, &image);
    let snapshot = stand.snapshot("source", &source.volume_id).await.unwrap().snapshot_id;
    let (mut kills, mut at) = (0, 1 + dice.below(plan.stride));
    loop {
        let made = Made::before(&stand, plan.call, &source.volume_id).await;
        // Connected, so that what is counted is the call's.
        stand.listed().await;
        let killer = Killer::new(stand.driver.id(), at, stand.folder.path());
        let outcome = stand.call_of(plan.call, &source.volume_id, &snapshot, &made).await;
        drop(killer);
        let was_killed = outcome.is_err();
        if was_killed {
            // Whatever else fails is no kill of ours.
            assert!(stand.driver.was_killed().await, "{name}: at message {at} the call failed: {outcome:?}");
            kills += 1;
            stand.restart(&[]).await;
        }
        let made = match outcome {
            Ok(made) => made,
            Err(_) => {
                let call = async || stand.call_of(plan.call, &source.volume_id, &snapshot, &made).await;
                match plan.call {
                    Call::Delete | Call::DeleteSnapshot => until_done(PATIENCE, call).await,
                    Call::Create | Call::Restore | Call::Clone | Call::Snapshot => {
                        until_made(PATIENCE, call).await
                    }
                }
            }
        };
        made.check_and_end(&stand, plan.call, &written, at).await;
        assert_eq!(stand.listed().await.into_keys().collect::<Vec<_>>(), [source.volume_id.as_str()], "{at}");
        if !was_killed {
            break;
        }
        at += plan.stride;
    }
    until_done(PATIENCE, async || stand.delete_snapshot(&snapshot).await).await;
    until_done(PATIENCE, async || stand.delete(&source.volume_id).await).await;
    stand.assert_empty();
    eprintln!("{name}: {kills} kills, fewer than {at} messages");
    assert!(kills >= 3, "{name}: {kills} kills prove nothing");
}

/// What a round makes.
#[derive(Debug, Clone, Default)]
struct Made {
    volume: Option<v1::Volume>,
    snapshot: Option<String>,
}

impl Made {
    /// What a call deletes is there before it.
    async fn before(stand: &Stand, call: Call, source: &str) -> Self {
        match call {
            Call::Delete => {
                let clone = v1::CreateVolumeRequest {
                    volume_content_source: request::clone_of(source),
                    ..stand.create("round", 16 * MIB)
                };
                // With a snapshot it goes to the trash first, and for good with that one.
                let volume = stand.created(clone).await;
                let cut = stand.snapshot("round-cut", &volume.volume_id).await.unwrap();
                Self { volume: Some(volume), snapshot: Some(cut.snapshot_id) }
            }
            Call::DeleteSnapshot => Self {
                volume: None,
                snapshot: Some(stand.snapshot("round", source).await.unwrap().snapshot_id),
            },
            Call::Create | Call::Restore | Call::Clone | Call::Snapshot => Self::default(),
        }
    }

    /// Has the content of the source, or none, and goes.
    async fn check_and_end(self, stand: &Stand, call: Call, written: &[u8], at: u64) {
        if call == Call::Snapshot {
            let snapshot = self.snapshot.clone().unwrap();
            let restored = v1::CreateVolumeRequest {
                volume_content_source: request::restore_of(&snapshot),
                ..stand.create("check", 16 * MIB)
            };
            let restored = stand.created(restored).await;
            let found = content(stand, &restored.volume_context["imageName"]);
            assert!(found == written, "{call:?} killed at message {at}: the snapshot has other content");
            stand.delete(&restored.volume_id).await.unwrap();
        }
        if let Some(volume) = &self.volume
            && call != Call::Delete
        {
            let found = content(stand, &volume.volume_context["imageName"]);
            let (expected, size) = match call {
                Call::Create => (vec![0; written.len()], 16 * MIB),
                _ => (written.to_vec(), 32 * MIB),
            };
            assert_eq!(volume.capacity_bytes, size);
            assert!(found[..written.len()] == expected, "{call:?} killed at message {at}: other content");
            until_done(PATIENCE, async || stand.delete(&volume.volume_id).await).await;
        }
        if let Some(snapshot) = &self.snapshot
            && call != Call::DeleteSnapshot
        {
            until_done(PATIENCE, async || stand.delete_snapshot(snapshot).await).await;
        }
    }
}

impl Stand {
    /// Makes the call of a round.
    async fn call_of(
        &self,
        call: Call,
        source: &str,
        snapshot: &str,
        made: &Made,
    ) -> Result<Made, tonic::Status> {
        let create = |content| v1::CreateVolumeRequest {
            volume_content_source: content,
            ..self.create("round", 32 * MIB)
        };
        let wanted = match call {
            Call::Create => self.create("round", 16 * MIB),
            Call::Restore => create(request::restore_of(snapshot)),
            Call::Clone => create(request::clone_of(source)),
            Call::Snapshot => {
                let cut = self.snapshot("round", source).await?;
                return Ok(Made { volume: None, snapshot: Some(cut.snapshot_id) });
            }
            Call::Delete => {
                let volume = made.volume.as_ref().map(|volume| volume.volume_id.as_str());
                self.delete(volume.unwrap_or_default()).await?;
                return Ok(Made { volume: None, snapshot: made.snapshot.clone() });
            }
            Call::DeleteSnapshot => {
                let snapshot = made.snapshot.as_deref().unwrap_or_default();
                return self.delete_snapshot(snapshot).await.map(|()| Made::default());
            }
        };
        Ok(Made { volume: self.call(wanted).await?.volume, snapshot: None })
    }
}

/// What an image has.
fn content(stand: &Stand, image: &str) -> Vec<u8> {
    let out = stand.folder.path().join("out");
    let _ = std::fs::remove_file(&out);
    stand.rbd(&["export", "--no-progress", image, &out.display().to_string()]);
    std::fs::read(&out).unwrap()
}

/// Kills a process at the nth message that one of its threads sends from now on. All to one OSD go through one thread.
struct Killer(#[expect(dead_code, reason = "ends when it is dropped")] Process);

impl Killer {
    fn new(pid: u32, nth: u64, folder: &Path) -> Self {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-e", "trace=sendmsg", "-e", "signal=none"]);
        strace.arg("-e").arg(format!("inject=sendmsg:signal=KILL:when={nth}"));
        strace.arg("-o").arg(folder.join("strace")).arg("-p").arg(pid.to_string());
        // Killed by force when it is dropped: one that is told to end may wait for ever for a process that it has just killed. The
        // kernel lets go of what it traced.
        let tracer = Process::start("strace", strace, &folder.join("strace.log")).unwrap();
        let end = Instant::now() + ATTACHING;
        while !is_traced(pid) {
            assert!(Instant::now() < end, "strace does not attach");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self(tracer)
    }
}

/// Whether somebody traces all threads of a process.
fn is_traced(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let status =
        |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
    threads.map(status).all(|status| !status.contains("TracerPid:\t0\n"))
}
