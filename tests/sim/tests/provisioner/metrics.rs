//! The counters, as a scrape shows them.

use std::time::Duration;

use base::leadership::Leadership;
use kubernetes::object::Scope;
use process::Caches;
use provisioner::provision;
use serde_json::json;
use sim::World;
use tokio_util::sync::CancellationToken;

use crate::harness::{DRIVER, bound, class, config, waiting};

/// The counters of claims after `story`, without values of zero and times.
async fn counted(world: &World, story: impl Future<Output = ()>) -> Vec<String> {
    let (host, delivery) = world.host(DRIVER, CancellationToken::new());
    let mut caches =
        Caches::new(Scope { driver: DRIVER.into(), keep: provisioner::KEEP, ..Scope::default() });
    let duty = provision(host.seat(Leadership::always(), "us"), &mut caches, config()).unwrap();
    tokio::select! {
        () = host.run_duties(caches, vec![duty]) => {}
        () = delivery => {}
        () = story => {}
    }
    let page = host.metrics.render();
    let ours = |line: &&str| {
        line.starts_with("controller_persistentvolumeclaim_provision_") && line.contains("total{")
    };
    page.lines().filter(ours).map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
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
