//! The driver is killed at random moments of every call: whoever repeats the call gets what it asked for, and once all is
//! deleted nothing is left, neither images nor objects.

use std::collections::BTreeSet;
use std::time::Duration;

use conformance::{Dice, request};
use csi::v1;

use crate::stand::{Stand, until_done, until_made};

const MIB: i64 = 1 << 20;
/// How often the driver is killed, each time with one call of every kind under way.
const KILLS: usize = 12;
/// About as long as the longest of these calls takes when all are made at once.
const LIFE: u64 = 600;
/// A killed client holds its images for some seconds, and callers try again for longer.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn repeated_calls_finish_what_kills_interrupt() {
    let Some(mut stand) = Stand::start("crash", &[]).await else { return };
    let mut dice = Dice::from_environment("rbd_kills");
    let source = stand.created(stand.create("source", 16 * MIB)).await;
    let snapshot = stand.snapshot("source", &source.volume_id).await.unwrap();
    let mut doomed = Vec::new();
    for number in 0..KILLS {
        let clone = of(&stand, &format!("doomed-{number}"), request::clone_of(&source.volume_id));
        let clone = stand.created(clone).await.volume_id;
        let cut = stand.snapshot(&format!("doomed-{number}"), &clone).await.unwrap();
        doomed.push((clone, cut.snapshot_id));
    }
    for (number, (volume, cut)) in doomed.iter().enumerate() {
        let life = Duration::from_millis(dice.below(LIFE));
        let names = Names::new(number);
        let calls = async {
            tokio::join!(
                stand.call(stand.create(&names.plain, 16 * MIB)),
                stand.call(of(&stand, &names.restored, request::restore_of(&snapshot.snapshot_id))),
                stand.call(of(&stand, &names.cloned, request::clone_of(&source.volume_id))),
                stand.snapshot(&names.cut, &source.volume_id),
                stand.delete(volume),
                stand.delete_snapshot(cut),
            )
        };
        // Whatever they answer is forgotten, as by a caller that is killed too.
        let _ = tokio::time::timeout(life, calls).await;
        stand.restart(&[]).await;
    }
    let mut volumes = vec![source.volume_id.clone()];
    let mut snapshots = vec![snapshot.snapshot_id.clone()];
    for (number, (volume, cut)) in doomed.iter().enumerate() {
        let names = Names::new(number);
        let plain =
            until_made(PATIENCE, async || stand.call(stand.create(&names.plain, 16 * MIB)).await).await;
        let restored = || of(&stand, &names.restored, request::restore_of(&snapshot.snapshot_id));
        let restored = until_made(PATIENCE, async || stand.call(restored()).await).await;
        let cloned = || of(&stand, &names.cloned, request::clone_of(&source.volume_id));
        let cloned = until_made(PATIENCE, async || stand.call(cloned()).await).await;
        for (made, size) in [(plain, 16), (restored, 32), (cloned, 32)] {
            let made = made.volume.unwrap();
            assert_eq!(made.capacity_bytes, size * MIB, "{made:?}");
            volumes.push(made.volume_id);
        }
        snapshots.push(
            until_made(PATIENCE, async || stand.snapshot(&names.cut, &source.volume_id).await)
                .await
                .snapshot_id,
        );
        until_done(PATIENCE, async || stand.delete(volume).await).await;
        until_done(PATIENCE, async || stand.delete_snapshot(cut).await).await;
    }
    let listed: BTreeSet<String> = stand.listed().await.into_keys().collect();
    assert_eq!(listed, volumes.iter().cloned().collect());
    for volume in &volumes {
        until_done(PATIENCE, async || stand.delete(volume).await).await;
    }
    for snapshot in &snapshots {
        until_done(PATIENCE, async || stand.delete_snapshot(snapshot).await).await;
    }
    stand.assert_empty();
}

/// What is made in one round.
struct Names {
    plain: String,
    restored: String,
    cloned: String,
    cut: String,
}

impl Names {
    fn new(number: usize) -> Self {
        let name = |what: &str| format!("{what}-{number}");
        Self { plain: name("plain"), restored: name("restored"), cloned: name("cloned"), cut: name("cut") }
    }
}

/// A volume twice as large as its source.
fn of(stand: &Stand, name: &str, source: Option<v1::VolumeContentSource>) -> v1::CreateVolumeRequest {
    v1::CreateVolumeRequest { volume_content_source: source, ..stand.create(name, 32 * MIB) }
}
