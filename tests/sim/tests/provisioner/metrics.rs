//! The counters, as a scrape shows them.

use std::time::Duration;

use base::leadership::Leadership;
use kubernetes::object::Scope;
use process::Caches;
use provisioner::{Config, provision};
use serde_json::json;
use sim::objects::{attachment, secret, with};
use sim::{Reply, World};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::harness::{DRIVER, bound, class, config, released, waiting, with_intents};

/// The page after `story`.
async fn page(world: &World, config: Config, story: impl Future<Output = ()>) -> String {
    let (host, delivery) = world.host(DRIVER, CancellationToken::new());
    let mut caches =
        Caches::new(Scope { driver: DRIVER.into(), keep: provisioner::KEEP, ..Scope::default() });
    let duty = provision(host.seat(Leadership::always(), "us"), &mut caches, config).unwrap();
    tokio::select! {
        () = host.run_duties(caches, vec![duty]) => {}
        () = delivery => {}
        () = story => {}
    }
    host.metrics.render()
}

/// The counters of claims after `story`, without values of zero and times.
async fn counted(world: &World, story: impl Future<Output = ()>) -> Vec<String> {
    let page = page(world, config(), story).await;
    let ours = |line: &&str| {
        line.starts_with("controller_persistentvolumeclaim_provision_") && line.contains("total{")
    };
    page.lines().filter(ours).map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

/// What is counted of deletions after a while in which there is one released volume.
async fn deletions(world: &World) -> Vec<String> {
    world.api.put(class());
    world.api.put(released("pv"));
    let page = page(world, config(), tokio::time::sleep(Duration::from_secs(10))).await;
    let ours =
        |line: &&str| line.starts_with("controller_persistentvolume_delete_") && line.contains("total{");
    page.lines().filter(ours).map(str::to_owned).collect()
}

/// Upstream's TestDeleteVolumeErrorHandling: what each end of a deletion is counted as.
#[tokio::test(start_paused = true)]
async fn volume_in_use_is_counted_neither_as_deleted_nor_as_failed() {
    let world = World::default();
    world.api.put(attachment("va", "pv", "node-1"));
    assert_eq!(deletions(&world).await, Vec::<String>::new(), "in use");
    let world = World::default();
    world.driver.script("DeleteVolume", [Reply::error(Code::Internal, "no")]);
    assert_eq!(
        deletions(&world).await,
        [
            r#"controller_persistentvolume_delete_failed_total{class="fast"} 1"#,
            r#"controller_persistentvolume_delete_total{class="fast"} 1"#,
        ],
        "plain error"
    );
}

#[tokio::test(start_paused = true)]
async fn names_that_tenants_invent_make_no_series() {
    let world = World::default();
    world.api.put(class());
    for number in 0..20 {
        let mut claim = waiting(&format!("data-{number}"));
        claim["spec"]["storageClassName"] = json!(format!("invented-{number}"));
        let kind = format!("Kind{number}");
        claim["spec"]["dataSource"] = json!({"apiGroup": "example.com", "kind": kind, "name": "d"});
        world.api.put(claim);
    }
    world.api.put(waiting("good"));
    let binder = world.binder();
    let story = async {
        bound(&world, "good").await;
        tokio::time::sleep(Duration::from_secs(600)).await;
    };
    let counted = counted(&world, story).await;
    assert_eq!(
        counted,
        [
            r#"controller_persistentvolumeclaim_provision_failed_total{class="",source=""}"#,
            r#"controller_persistentvolumeclaim_provision_total{class="fast",source=""}"#,
        ]
    );
    drop(binder);
}

/// A dashboard for upstream's queues finds them all, and no other.
#[tokio::test(start_paused = true)]
async fn queues_are_called_as_upstream_s() {
    let world = World::default();
    let mut config = config();
    config.can.clones = true;
    let page = page(&world, config, tokio::time::sleep(Duration::from_secs(1))).await;
    let name =
        |line: &str| line.strip_prefix("workqueue_depth{name=\"")?.split('"').next().map(str::to_owned);
    let names: Vec<String> = page.lines().filter_map(name).collect();
    assert_eq!(names, ["claims", "unsavedpvs", "volumes"]);
}

/// Its claim and its Secret are gone: nobody waits for the volume, and nothing can be sent for it.
#[tokio::test(start_paused = true)]
async fn request_that_waits_for_its_secret_counts_no_failures() {
    let world = World::default();
    let _binder = world.binder();
    let key = json!({"csi.storage.k8s.io/provisioner-secret-name": "key", "csi.storage.k8s.io/provisioner-secret-namespace": "default"});
    world.api.put(with(class(), json!({"parameters": key})));
    world.api.put(secret("default", "key", json!({"token": "aHVzaA=="})));
    world.api.put(waiting("data"));
    world.driver.script("CreateVolume", [Reply::error(Code::DeadlineExceeded, "slow")]);
    let page = page(&world, with_intents(), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.api.delete("secrets", "key");
        world.api.delete("persistentvolumeclaims", "data");
        tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    });
    let page = page.await;
    let failed = page.lines().find(|line| line.contains("provision_failed_total{")).unwrap();
    assert!(
        failed.ends_with(" 2"),
        "the call that had no answer, and a try while the claim was there: {failed}"
    );
}
