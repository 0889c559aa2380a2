//! kill -9 at random moments: 40 volumes and 6 kills each way; `MOORING_VOLUMES=1000 MOORING_KILLS=40` makes more,
//! `MOORING_SEED` others.

use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use crate::site::{CSI, LIMIT, Site};

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// A volume is the one or the other at any moment, with the id that it was given, and it is kept as long as it is on its way.
fn check(volume: &Value, moment: &str) {
    let spec = &volume["spec"];
    let (in_tree, csi) = (&spec["cinder"]["volumeID"], &spec["csi"]["volumeHandle"]);
    assert!(in_tree.is_string() != csi.is_string(), "{moment}: {volume:#}");
    assert!(csi.is_null() || spec["csi"]["driver"] == CSI, "{moment}: {volume:#}");
    let before = &volume["metadata"]["annotations"]["mooring.dev/policy-before"];
    let policy = &spec["persistentVolumeReclaimPolicy"];
    let is_kept = policy == "Retain" && before == "Delete";
    assert!(is_kept || (policy == "Delete" && before.is_null()), "{moment}: {volume:#}");
}

/// How many volumes are not there, and how many have a source of this name.
async fn counted(site: &Site, all: usize, source: &str) -> (usize, usize) {
    let volumes = site.list("/api/v1/persistentvolumes").await;
    volumes.iter().for_each(|volume| check(volume, source));
    let claims = format!("/api/v1/namespaces/{}/persistentvolumeclaims", site.stand.namespace);
    let claims = site.list(&claims).await;
    assert_eq!(claims.iter().filter(|claim| claim["status"]["phase"] == "Bound").count(), all, "{source}");
    let has = |volume: &&Value| !volume["spec"][source].is_null();
    (all.saturating_sub(volumes.len()), volumes.iter().filter(has).count())
}

/// Runs the command, kills it so often, and lets it come to its end. Gives how often a kill left a volume away.
async fn killed(site: &Site, args: &[&str], source: &str, (volumes, kills): (usize, usize)) -> usize {
    let seed = number("MOORING_SEED", 7);
    println!("MOORING_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed as u64);
    let mut away = 0;
    for kill in 0..kills {
        let name = format!("migrate-{source}-{kill}");
        let mut process = site.stand.control_plane.spawn(&name, site.command(args)).expect("started");
        let enough = volumes / (kills + 1);
        let begun = std::time::Instant::now();
        while process.last_lines(usize::MAX).lines().count() < enough && process.exited().is_none() {
            assert!(begun.elapsed() < LIMIT, "{}", process.last_lines(5));
            sleep(Duration::from_millis(5)).await;
        }
        // Somewhere in the life of one volume.
        sleep(Duration::from_micros(random.u64(0..100_000))).await;
        assert!(process.exited().is_none(), "it ended before kill {kill}: {}", process.last_lines(3));
        process.kill();
        let (gone, _) = counted(site, volumes, source).await;
        assert!(gone <= 1, "{gone} volumes are away");
        away += gone;
        if gone > 0 {
            // kube-controller-manager has time to say what it thinks of that.
            sleep(Duration::from_secs(1)).await;
            assert_eq!(counted(site, volumes, source).await.0, 1, "nobody else creates it");
        }
    }
    let told = site.migrate(args).await;
    assert!(told.contains(" volumes "), "{told}");
    assert_eq!(counted(site, volumes, source).await, (0, volumes), "{told}");
    away
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_every_volume_is_there_and_bound() {
    let counts = (number("MOORING_VOLUMES", 40), number("MOORING_KILLS", 6));
    let site = Site::with_driver("killed").await;
    let mut provisioner = site.stand.provisioner("p", &["--worker-threads=20"]);
    site.provisioned(counts.0).await;
    let (before, made) = (site.objects().await, site.driver_volumes());
    assert_eq!(made.len(), counts.0);
    let phases = site.watch_phases();
    let (file, begun) = (site.file(), std::time::Instant::now());
    let mut away = killed(&site, &["--undo-file", &file, "--policy-lag=0s"], "csi", counts).await;
    println!("{} volumes converted after {} s", counts.0, begun.elapsed().as_secs());
    assert_eq!(site.driver_volumes(), made, "no volume was deleted");
    site.no_policy_is_left().await;
    away += killed(&site, &["--undo", &file, "--policy-lag=0s"], "cinder", counts).await;
    println!("{away} of {} kills came when a volume was away", 2 * counts.1);
    site.settle(&before).await;
    let after = site.objects().await;
    for (name, object) in &before {
        assert_eq!(after.get(name), Some(object), "{name}");
    }
    assert_eq!(site.driver_volumes(), made, "no volume was deleted");
    phases.only_bound().await;
    assert!(!site.claim_events().await.contains(&"ClaimLost".to_owned()));
    site.delete_claims().await;
    site.until("the volumes to go with their claims", async || {
        site.driver_volumes().is_empty().then_some(())
    })
    .await;
    provisioner.terminate(LIMIT).await.expect("it ends");
}
