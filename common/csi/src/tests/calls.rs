//! Deadlines and sizes.

use std::collections::BTreeMap;

use tokio::time::Instant;
use tonic::Code;

use super::scripted::{Pipes, Probe, SECOND, Script};
use crate::{CallLog, Client, Connection, v1};
use base::leadership::Leadership;
use base::metrics::Metrics;

#[tokio::test(start_paused = true)]
async fn a_passed_deadline_is_deadline_exceeded() {
    let driver = Pipes::new(Script::probing([Probe::Hang])).driver();
    let started = Instant::now();
    let status = driver.call(v1::ProbeRequest {}, 3 * SECOND).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(status.message(), "context deadline exceeded");
    assert_eq!(started.elapsed(), 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_sent_to_the_driver() {
    let script = Script::named("x");
    let driver = Pipes::new(script.clone()).driver();
    driver.call(v1::GetPluginInfoRequest {}, 7 * SECOND).await.unwrap();
    let sent = script.timeouts.lock().unwrap().clone();
    assert_eq!(sent.len(), 1);
    assert!(sent[0].starts_with('7'), "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn call_is_not_sent_if_the_lease_ends_while_it_dials() {
    let script = Script::named("x");
    let pipes = Pipes::new(script.clone());
    let connector = pipes.clone();
    let connection = Connection::from_connector(move || {
        let pipes = connector.clone();
        async move {
            tokio::time::sleep(5 * SECOND).await;
            pipes.connect()
        }
    });
    let leadership = Leadership::candidate();
    leadership.extend(Instant::now() + 3 * SECOND);
    let driver = Client::new(connection, Metrics::new(), CallLog::default()).guarded(leadership);
    let status = driver.call(v1::GetPluginInfoRequest {}, 10 * SECOND).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("not leading"), "{status}");
    assert!(script.timeouts.lock().unwrap().is_empty(), "nothing reached the driver");
}

#[tokio::test(start_paused = true)]
async fn replies_up_to_four_mebibytes_are_taken_larger_ones_are_not() {
    let script = Script::named("x");
    let driver = Pipes::new(script.clone()).driver();
    let filler = |bytes: usize| BTreeMap::from([("k".to_owned(), "v".repeat(bytes))]);
    *script.manifest.lock().unwrap() = filler(4 * 1024 * 1024 - 64);
    driver.call(v1::GetPluginInfoRequest {}, SECOND).await.unwrap();
    *script.manifest.lock().unwrap() = filler(4 * 1024 * 1024);
    let status = driver.call(v1::GetPluginInfoRequest {}, SECOND).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
}

#[tokio::test(start_paused = true)]
async fn the_drivers_own_status_comes_through() {
    let status = tonic::Status::failed_precondition("disk on fire");
    let driver = Pipes::new(Script::probing([Probe::Fail(status)])).driver();
    let status = driver.call(v1::ProbeRequest {}, SECOND).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "disk on fire"));
    let driver = Pipes::new(Script::named("x")).driver();
    let unserved = v1::ControllerGetCapabilitiesRequest {};
    let status = driver.call(unserved, SECOND).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test(start_paused = true)]
async fn calls_are_counted_by_code_and_driver_name() {
    let metrics = Metrics::new();
    let status = tonic::Status::already_exists("taken");
    let pipes = Pipes::new(Script::probing([Probe::Ready(None), Probe::Fail(status), Probe::Hang]));
    let driver = Client::new(pipes.connection(), metrics.clone(), CallLog::default());
    driver.call(v1::ProbeRequest {}, SECOND).await.unwrap();
    metrics.set_driver_name("csi.example.com");
    driver.call(v1::ProbeRequest {}, SECOND).await.unwrap_err();
    driver.call(v1::ProbeRequest {}, 3 * SECOND).await.unwrap_err();
    let page = metrics.render();
    let count = |name: &str, code: &str| {
        let labels = format!(
            "csi_sidecar_operations_seconds_count{{driver_name=\"{name}\",grpc_status_code=\"{code}\",\
             method_name=\"/csi.v1.Identity/Probe\"}} 1"
        );
        assert!(page.contains(&labels), "{labels}\n{page}");
    };
    count("unknown-driver", "OK");
    count("csi.example.com", "AlreadyExists");
    count("csi.example.com", "DeadlineExceeded");
    assert!(page.contains("le=\"2.5\"} 0") && !page.contains("migrated"), "{page}");
}

#[tokio::test(start_paused = true)]
async fn calls_for_migrated_volumes_are_counted_apart() {
    let metrics = Metrics::new();
    metrics.set_driver_name("ebs.csi.aws.com");
    let pipes = Pipes::new(Script::named("x"));
    let driver = Client::new(pipes.connection(), metrics.clone(), CallLog::default());
    driver.call_migrated(v1::ProbeRequest {}, SECOND, true).await.unwrap();
    driver.call_migrated(v1::ProbeRequest {}, SECOND, false).await.unwrap();
    let page = metrics.render();
    for migrated in ["migrated=\"true\"", "migrated=\"false\""] {
        let line = page.lines().find(|line| line.contains("_count") && line.contains(migrated)).unwrap();
        assert!(line.ends_with(" 1"), "{line}");
    }
}
