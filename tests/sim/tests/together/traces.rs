//! The spans of a process with the three controllers.

use std::sync::Arc;
use std::time::Duration;

use base::metrics::Metrics;
use base::trace::Sampler;
use process::Exporter;
use serde_json::{Value, json};
use sim::objects::{attachment, claim, class, csi_node, secret, with};
use sim::{Collector, Health, Reply, World};
use tokio::time::{Instant, sleep};
use tonic::Code;

use crate::monitoring::process::{during, world};

const SECOND: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(10);

/// Sends the spans of this process to the collector.
fn export(metrics: &Metrics, collector: &Collector) -> Exporter {
    let spans = metrics.trace(Sampler::default()).expect("one tracer");
    let connect = collector.clone();
    let resource = vec![("service.name".to_owned(), "csi-provisioner".to_owned())];
    let origin = http::Uri::from_static("http://collector:4317");
    Exporter::over(Box::new(move || connect.connection()), origin, resource, spans)
}

/// A story of a process whose spans go to the collector.
async fn traced(world: &World, collector: &Collector, story: impl Future<Output = ()>) {
    during(world, 10, async |metrics: Arc<Metrics>| {
        let exporter = export(&metrics, collector);
        story.await;
        exporter.finish(SECOND).await;
    })
    .await;
}

fn put_claim(world: &World) {
    let ours = json!({"metadata": {"annotations": {"volume.kubernetes.io/storage-provisioner": sim::objects::DRIVER}}});
    world.api.put(with(claim("data"), ours));
}

/// The name of the claim's volume, once it is bound to it.
async fn bound_volume(world: &World) -> String {
    loop {
        let claims = world.api.list("persistentvolumeclaims");
        let bound = claims.iter().find(|claim| claim.pointer("/status/phase") == Some(&json!("Bound")));
        if let Some(name) = bound.and_then(|claim| claim.pointer("/spec/volumeName")).and_then(Value::as_str)
        {
            return name.to_owned();
        }
        sleep(TICK).await;
    }
}

#[tokio::test(start_paused = true)]
async fn life_of_a_claim_gives_exactly_these_spans() {
    let (world, collector) = (world(), Collector::default());
    let _binder = world.binder();
    world.api.put(class());
    world.api.put(csi_node("node-1"));
    traced(&world, &collector, async {
        sleep(SECOND).await;
        put_claim(&world);
        let volume = bound_volume(&world).await;
        sleep(SECOND).await;
        world.api.put(attachment("va", &volume, "node-1"));
        sleep(SECOND).await;
        world.api.delete("volumeattachments", "va");
        sleep(SECOND).await;
        world.api.delete("persistentvolumeclaims", "default/data");
        sleep(9 * SECOND).await;
    })
    .await;
    let tree = collector.tree();
    // A pass without children found nothing to do.
    let expected = [
        "provision PersistentVolumeClaim",
        "  csi.v1.Controller/CreateVolume",
        "  POST persistentvolumes",
        "provision PersistentVolumeClaim",
        "attach VolumeAttachment",
        "  PATCH persistentvolumes",
        "  PATCH volumeattachments",
        "  csi.v1.Controller/ControllerPublishVolume",
        "  PATCH volumeattachments/status",
        "detach VolumeAttachment",
        "  csi.v1.Controller/ControllerUnpublishVolume",
        "  PATCH volumeattachments",
        "delete PersistentVolume",
        "release PersistentVolume",
        "delete PersistentVolume",
        "  csi.v1.Controller/DeleteVolume",
        "  DELETE persistentvolumes",
        "  PATCH persistentvolumes",
        "release PersistentVolume",
        "  PATCH persistentvolumes",
        "delete PersistentVolume",
    ];
    assert_eq!(tree, expected, "{tree:#?}");
    let spans = collector.spans();
    let create = spans.iter().find(|span| span.span.name.ends_with("/CreateVolume")).expect("the call");
    assert_eq!(world.driver.traceparents("CreateVolume"), [create.traceparent()]);
    let expected = [("rpc.grpc.status_code", "0"), ("rpc.method", "CreateVolume"), ("rpc.system", "grpc")];
    for (name, value) in expected {
        assert_eq!(create.attributes[name], value);
    }
    let turn = spans.iter().find(|span| span.span.span_id == create.span.parent_span_id).expect("the turn");
    let expected = [
        ("k8s.namespace.name", "default"),
        ("k8s.persistentvolumeclaim.name", "data"),
        ("mooring.outcome", "done"),
    ];
    for (name, value) in expected {
        assert_eq!(turn.attributes[name], value);
    }
    assert!(spans.iter().all(|span| span.error().is_none()), "{spans:#?}");
    assert_eq!(collector.resource()["service.name"], "csi-provisioner");
}

/// How long a claim takes to be bound.
async fn time_to_bind(health: Option<Health>) -> (Duration, Collector) {
    let (world, collector) = (world(), Collector::default());
    let _binder = world.binder();
    world.api.put(class());
    let took = during(&world, 10, async |metrics: Arc<Metrics>| {
        let exporter = health.map(|health| {
            collector.fares(health);
            export(&metrics, &collector)
        });
        sleep(20 * SECOND).await;
        put_claim(&world);
        let start = Instant::now();
        bound_volume(&world).await;
        let took = start.elapsed();
        let start = Instant::now();
        if let Some(exporter) = exporter {
            exporter.finish(SECOND).await;
        }
        assert!(start.elapsed() <= SECOND, "the process ends in time");
        took
    });
    (took.await, collector)
}

#[tokio::test(start_paused = true)]
async fn collector_that_is_away_or_silent_delays_no_claim() {
    let (usual, _) = time_to_bind(None).await;
    for health in [Health::Fine, Health::Silent, Health::Away] {
        let (took, collector) = time_to_bind(Some(health)).await;
        assert_eq!(took, usual, "{health:?}");
        assert_eq!(collector.spans().is_empty(), health != Health::Fine, "{health:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn spans_wait_for_a_collector_that_comes_back() {
    let (world, collector) = (world(), Collector::default());
    let _binder = world.binder();
    world.api.put(class());
    collector.fares(Health::Away);
    traced(&world, &collector, async {
        put_claim(&world);
        bound_volume(&world).await;
        sleep(60 * SECOND).await;
        collector.fares(Health::Fine);
        sleep(60 * SECOND).await;
        assert!(collector.tree().contains(&"  csi.v1.Controller/CreateVolume".to_owned()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn secret_in_a_driver_s_error_is_not_in_a_span() {
    let (world, collector) = (world(), Collector::default());
    let key = json!({"csi.storage.k8s.io/provisioner-secret-name": "key", "csi.storage.k8s.io/provisioner-secret-namespace": "default"});
    world.api.put(with(class(), json!({"parameters": key})));
    world.api.put(secret("default", "key", json!({"token": "aHVzaC1odXNoLWh1c2g="})));
    world.driver.always("CreateVolume", Reply::error(Code::Internal, "login with hush-hush-hush failed"));
    traced(&world, &collector, async {
        put_claim(&world);
        sleep(6 * SECOND).await;
    })
    .await;
    let spans = collector.spans();
    let errors: Vec<&str> = spans.iter().filter_map(|span| span.error()).collect();
    let call = "rpc error: code = Internal desc = login with ***stripped*** failed";
    assert!(errors.contains(&call), "{errors:#?}");
    assert!(errors.iter().any(|error| error.len() > call.len() && error.contains(call)), "{errors:#?}");
    let all = format!("{spans:?}");
    assert!(!all.contains("hush-hush") && !all.contains("aHVzaC"), "{all}");
    let failed = spans.iter().find(|span| span.error() == Some(call)).expect("the call");
    assert_eq!(failed.attributes["rpc.grpc.status_code"], "13");
}

#[tokio::test(start_paused = true)]
async fn quiet_process_asks_the_collector_nothing() {
    let (world, collector) = (world(), Collector::default());
    traced(&world, &collector, sleep(600 * SECOND)).await;
    assert_eq!(collector.requests(), 0);
}
