//! Requests with the topology terms of many nodes.
//!
//! Two hundred claims wait for volumes in a cluster of a thousand nodes; `MOORING_CLAIMS=1000` makes them a thousand.

use base::leadership::Leadership;
use csi::v1::CreateVolumeRequest;
use provisioner::Config;
use serde_json::{Value, json};
use sim::objects::with;
use sim::{Reply, World};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::{SECOND, lease_writes};
use crate::harness::{
    INTENTS, PROVISIONER, bound, calls, class, events, intents, no_volumes, waiting, with_intents,
};
use crate::topology::{late, placed, put_node, selected};

/// Bytes of the annotations of one Lease that many requests may need.
const BOUND: usize = 64_000;

fn config() -> Config {
    Config { intents: with_intents().intents, workers: 1000, ..placed() }
}

fn claims() -> usize {
    std::env::var("MOORING_CLAIMS").map_or(200, |count| count.parse().expect("a number"))
}

/// A world with so many nodes, each a segment of its own.
fn hosts(count: usize) -> World {
    let world = World::default();
    for number in 0..count {
        put_node(&world, &format!("ip-10-0-{number}.eu-west-1.compute.internal"), "z1", &["host"]);
    }
    world.api.put(late());
    world
}

fn claim(number: usize) -> Value {
    selected(&format!("data-{number}"), &format!("ip-10-0-{number}.eu-west-1.compute.internal"))
}

/// Bytes of the annotations of each Lease.
fn sizes(world: &World) -> Vec<usize> {
    let leases = world.api.list("leases");
    let size = |lease: &Value| {
        let annotations = lease["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
        annotations.iter().map(|(name, text)| name.len() + text.as_str().unwrap_or_default().len()).sum()
    };
    leases.iter().map(size).collect()
}

#[tokio::test(start_paused = true)]
async fn claims_of_thousand_nodes_share_few_writes() {
    let (world, count) = (hosts(1000), claims());
    // As in each cluster that had a claim before.
    let first = json!({"name": format!("{INTENTS}-0"), "namespace": "default"});
    world.api.put(json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": first}));
    world.driver.script("CreateVolume", (0..count).map(|_| Reply::Ok.after(5 * SECOND)));
    for number in 0..count {
        world.api.put(claim(number));
    }
    let _running = world.run(3600 * SECOND, |world| async move {
        PROVISIONER.live(world, config(), Leadership::always(), CancellationToken::new()).await;
    });
    sleep(4 * SECOND).await;
    assert_eq!(world.driver.calls_of("CreateVolume").len(), count, "all are in flight");
    let (sizes, written) = (sizes(&world), lease_writes(&world).len());
    assert!(sizes.iter().all(|size| *size <= BOUND), "{sizes:?}");
    assert!(intents(&world).len() > count, "all are written down");
    sleep(120 * SECOND).await;
    assert_eq!(world.api.count("persistentvolumes"), count);
    let in_all = lease_writes(&world).len();
    println!("{count} claims: {in_all} writes, {written} of them before the calls; bytes: {sizes:?}");
    assert!(in_all <= count / 10, "{in_all} writes, {written} of them before the calls");
    assert_eq!(intents(&world), Vec::<String>::new(), "the terms go with the last request that needs them");
}

/// The next process needs the terms, in the order in which they were sent.
#[tokio::test(start_paused = true)]
async fn next_process_sends_the_same_terms() {
    let world = hosts(9);
    let _binder = world.binder();
    world.driver.script("CreateVolume", [Reply::Ok.after(5 * SECOND)]);
    world.api.put(claim(4));
    let running = world.run(20 * SECOND, |world| async move {
        PROVISIONER.live(world, config(), Leadership::always(), CancellationToken::new()).await;
    });
    sleep(2 * SECOND).await;
    assert_eq!(intents(&world).len(), 2, "the request and its terms");
    running.kill();
    world.api.delete("persistentvolumeclaims", "data-4");
    world.api.delete("nodes", "ip-10-0-7.eu-west-1.compute.internal");
    sleep(600 * SECOND).await;
    no_volumes(&world).await;
    let sent = world.driver.calls_of("CreateVolume");
    let terms = sent.iter().map(|call| {
        call.request::<CreateVolumeRequest>().and_then(|request| request.accessibility_requirements.clone())
    });
    let terms: Vec<_> = terms.collect();
    assert_eq!((terms.len(), &terms[0]), (2, &terms[1]));
    assert_eq!(terms[0].as_ref().map(|terms| terms.preferred.len()), Some(9));
    assert_eq!((world.driver.volumes().len(), intents(&world)), (0, vec![]));
}

#[tokio::test(start_paused = true)]
async fn request_too_large_is_sent_all_the_same_and_told_once() {
    let (world, mut random) = (World::default(), fastrand::Rng::with_seed(7));
    let values: Vec<String> = (0..3500).map(|_| (0..63).map(|_| random.alphanumeric()).collect()).collect();
    let terms = json!([{"matchLabelExpressions": [{"key": "host", "values": values}]}]);
    world.api.put(with(class(), json!({"allowedTopologies": terms})));
    world.driver.script("CreateVolume", [Reply::error(Code::DeadlineExceeded, "slow"), Reply::Ok]);
    let _binder = world.binder();
    world.api.put(waiting("data"));
    let _running = world.run(20 * SECOND, |world| async move {
        PROVISIONER.live(world, config(), Leadership::always(), CancellationToken::new()).await;
    });
    bound(&world, "data").await;
    assert_eq!((calls(&world).len(), lease_writes(&world)), (2, vec![]));
    let told = events(&world).into_iter().filter(|event| event.starts_with("RequestNotWrittenDown: "));
    let told: Vec<String> = told.collect();
    assert_eq!(told.len(), 1, "{:?}", events(&world));
    assert!(
        told[0].contains("Delete StorageClass fast and create it again with fewer allowedTopologies"),
        "{told:?}"
    );
}
