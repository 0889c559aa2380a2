//! csi-provisioner is killed while a volume is being made for a claim that is deleted: nothing is left at the driver.
//!
//! It happens five times; `MOORING_KILLS=100` makes a hundred.

use std::time::Duration;

use cluster::stand::Stand;
use cluster::wait;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use tokio::time::sleep;

const LIMIT: Duration = Duration::from_secs(60);

/// How many requests are written down.
async fn intents(stand: &Stand) -> usize {
    let leases: Api<Lease> = Api::namespaced(stand.client.clone(), &stand.namespace);
    let all = leases.list(&ListParams::default()).await.expect("listed");
    let names = all.items.into_iter().flat_map(|lease| lease.metadata.annotations.unwrap_or_default());
    names.filter(|(name, _)| name.starts_with("intent.mooring.dev/")).count()
}

async fn wait_for<F: Future<Output = bool>>(what: &str, holds: impl FnMut() -> F) {
    wait::until_true(what, LIMIT, holds).await.expect("in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_a_deleted_claim_s_volume_is_made_leaks_none() {
    let kills: u64 = std::env::var("MOORING_KILLS").map_or(5, |count| count.parse().expect("a number"));
    let stand = Stand::up("intents").await;
    stand.class("csi", "Delete", "Immediate", &[]).await;
    let volumes: Api<PersistentVolume> = Api::all(stand.client.clone());
    let mut random = fastrand::Rng::with_seed(12);
    let mut made = 0;
    for kill in 0..kills {
        let mut provisioner = stand.provisioner(&format!("kill-{kill}"), &[]);
        let ready = || std::future::ready(provisioner.last_lines(100).contains("\"Provisioning\""));
        wait_for("the provisioner to work", ready).await;
        let claims = stand.claim(&format!("claim-{kill}"), "csi", "1Mi").await;
        // The moments that matter: before the call, in it, after it.
        if kill % 4 == 0 {
            sleep(Duration::from_millis(random.u64(0..40))).await;
        } else {
            while stand.directories().is_empty() {
                sleep(Duration::from_millis(1)).await;
            }
        }
        provisioner.kill();
        claims.delete(&format!("claim-{kill}"), &DeleteParams::default()).await.expect("deleted");
        let gone = async || claims.list(&ListParams::default()).await.expect("listed").items.is_empty();
        wait_for("the claim to go", gone).await;
        // What the driver has made now belongs to nobody, unless its object came first.
        let objects = volumes.list_metadata(&ListParams::default()).await.expect("listed").items.len();
        made += stand.directories().len().saturating_sub(objects);
        let mut next = stand.provisioner(&format!("next-{kill}"), &[]);
        let works = || std::future::ready(next.last_lines(10_000).contains("\"Provisioning\""));
        wait_for("the next process to work", works).await;
        // Three looks: what was sent again may be under way at the first.
        for _ in 0..3 {
            let nothing = async || {
                let left = volumes.list_metadata(&ListParams::default()).await.expect("listed").items.len();
                left == 0 && stand.directories().is_empty()
            };
            wait_for("nothing to be left", nothing).await;
            sleep(Duration::from_millis(200)).await;
        }
        next.terminate(LIMIT).await.expect("it ends");
        assert_eq!(intents(&stand).await, 0, "a process that stops in order leaves nothing written");
    }
    println!("{made} of {kills} kills came when the driver had made a volume that no object showed");
    assert!(made > 0, "no kill came in the middle");
}
