//! Probe, name, and noticing another driver.

use std::sync::atomic::Ordering;

use tokio::time::Instant;
use tonic::{Code, Status};

use super::scripted::{Pipes, Probe, SECOND, Script};
use crate::capability::ControllerCapabilities;
use crate::identity::{DriverName, NameError, driver_name, plugin_capabilities, probe_until_ready};
use crate::v1::plugin_capability::service::Type as Service;
use crate::{Checked, Client, DriverChanged, Identity, LinkState, v1, was_sent, watch_identity};

/// Runs the wait over these probes: outcome, calls made, seconds taken.
async fn probed(probes: impl IntoIterator<Item = Probe>) -> (Result<(), Code>, usize, u64) {
    let script = Script::probing(probes);
    let driver = Pipes::new(script.clone()).driver();
    let started = Instant::now();
    let outcome = probe_until_ready(&driver, SECOND / 2).await.map_err(|error| error.0.code());
    (outcome, script.probe_calls.load(Ordering::SeqCst), started.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn ready_or_no_answer_to_the_question_ends_the_wait() {
    assert_eq!(probed([Probe::Ready(Some(true))]).await, (Ok(()), 1, 0));
    assert_eq!(probed([Probe::Ready(None)]).await, (Ok(()), 1, 0));
}

#[tokio::test(start_paused = true)]
async fn not_ready_is_asked_again_every_second() {
    let no = Probe::Ready(Some(false));
    assert_eq!(probed([no.clone(), no, Probe::Ready(Some(true))]).await, (Ok(()), 3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_is_asked_again() {
    assert_eq!(probed([Probe::Hang, Probe::Ready(None)]).await, (Ok(()), 2, 1));
    let late = Probe::Fail(Status::deadline_exceeded("slow"));
    assert_eq!(probed([late, Probe::Ready(None)]).await, (Ok(()), 2, 1));
}

#[tokio::test(start_paused = true)]
async fn any_other_failure_ends_the_wait() {
    for code in [Code::Unimplemented, Code::Unavailable, Code::FailedPrecondition, Code::Internal] {
        let fail = || Probe::Fail(Status::new(code, "no"));
        assert_eq!(probed([fail()]).await, (Err(code), 1, 0));
        assert_eq!(probed([Probe::Hang, fail()]).await, (Err(code), 2, 1));
        assert_eq!(probed([Probe::Ready(Some(false)), fail()]).await, (Err(code), 2, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn the_name_is_asked_and_must_not_be_empty() {
    let driver = Pipes::new(Script::named("csi.example.com")).driver();
    assert_eq!(driver_name(&driver, SECOND).await.unwrap().as_str(), "csi.example.com");
    let driver = Pipes::new(Script::named("")).driver();
    let error = driver_name(&driver, SECOND).await.unwrap_err();
    assert_eq!(error.to_string(), "driver name is empty");
    let driver = Pipes::new(Script::default()).driver();
    let error = driver_name(&driver, SECOND).await.unwrap_err();
    assert!(matches!(error, NameError::Call(ref status) if status.code() == Code::Internal));
    // Characters are not checked, as upstream.
    let driver = Pipes::new(Script::named("com.example/ä b")).driver();
    assert_eq!(driver_name(&driver, SECOND).await.unwrap().as_str(), "com.example/ä b");
}

#[tokio::test(start_paused = true)]
async fn capabilities_of_a_bare_plugin_are_an_empty_set() {
    let driver = Pipes::new(Script::named("x")).driver();
    let set = plugin_capabilities(&driver, SECOND).await.unwrap();
    assert!(set.services.is_empty() && set.expansion.is_empty());
}

/// A driver that a sidecar has started with, watched from now on; and the watch.
async fn watched(pipes: &Pipes) -> (Client, tokio::task::JoinHandle<DriverChanged>) {
    let (driver, checked) = (pipes.driver(), Checked::new());
    let name = driver_name(&driver, SECOND).await.unwrap();
    let plugin = plugin_capabilities(&driver, SECOND).await.unwrap();
    let expected = Identity { name, plugin, controller: ControllerCapabilities::default() };
    let (asking, gate) = (driver.clone(), checked.clone());
    let watch = tokio::spawn(async move { watch_identity(&asking, &expected, &gate, SECOND).await });
    tokio::time::sleep(SECOND).await;
    (driver.after_check(checked), watch)
}

#[tokio::test(start_paused = true)]
async fn another_driver_after_a_restart_is_reported() {
    let pipes = Pipes::new(Script::named("ours"));
    let (driver, watching) = watched(&pipes).await;
    let restarted = Script::named("ours");
    pipes.replace(restarted.clone());
    pipes.kill();
    let mut state = driver.connection().state();
    state.wait_for(|state| *state == LinkState::Up { generation: 2 }).await.unwrap();
    tokio::time::sleep(SECOND).await;
    assert_eq!(restarted.probe_calls.load(Ordering::SeqCst), 1, "it was looked at");
    assert!(!watching.is_finished());

    // Sick after the next restart, another one after the one after that.
    pipes.replace(Script::probing([Probe::Fail(Status::internal("sick"))]));
    pipes.kill();
    tokio::time::sleep(SECOND).await;
    assert!(!watching.is_finished());
    pipes.replace(Script::named("theirs"));
    pipes.kill();
    let [expected, found] = ["ours", "theirs"].map(|name| DriverName::new(name).unwrap());
    assert_eq!(watching.await.unwrap(), DriverChanged::Name { expected, found });
}

#[tokio::test(start_paused = true)]
async fn other_capabilities_after_a_restart_are_reported() {
    let pipes = Pipes::new(Script::named("ours"));
    let (_driver, watching) = watched(&pipes).await;
    let restarted = Script::named("ours");
    restarted.services.lock().unwrap().push(Service::VolumeAccessibilityConstraints);
    pipes.replace(restarted);
    pipes.kill();
    assert_eq!(watching.await.unwrap(), DriverChanged::Capabilities(DriverName::new("ours").unwrap()));
}

#[tokio::test(start_paused = true)]
async fn calls_wait_until_the_restarted_driver_is_ready() {
    let pipes = Pipes::new(Script::named("ours"));
    let (driver, watching) = watched(&pipes).await;
    let no = || Probe::Ready(Some(false));
    let restarted = Script::named("ours");
    *restarted.probes.lock().unwrap() = [Probe::Fail(Status::internal("sick")), no(), no()].into();
    pipes.replace(restarted.clone());
    pipes.kill();
    tokio::time::sleep(SECOND / 2).await;
    let early = driver.call(v1::GetPluginInfoRequest {}, SECOND / 2).await.unwrap_err();
    assert_eq!((early.code(), was_sent(&early)), (Code::Unavailable, false));
    assert!(restarted.timeouts.lock().unwrap().is_empty(), "nothing but probes so far");
    let late = driver.call(v1::GetPluginInfoRequest {}, 30 * SECOND).await;
    assert_eq!(late.unwrap().name, "ours");
    assert_eq!(restarted.probe_calls.load(Ordering::SeqCst), 4, "ready first");
    assert!(!watching.is_finished());
}

#[tokio::test(start_paused = true)]
async fn call_without_a_connection_was_not_sent() {
    let pipes = Pipes::new(Script::named("ours"));
    pipes.refuse(true);
    let refused = pipes.driver().call(v1::GetPluginInfoRequest {}, SECOND).await.unwrap_err();
    assert_eq!((refused.code(), was_sent(&refused)), (Code::Unavailable, false), "{refused}");
    pipes.refuse(false);
    let hangs = Pipes::new(Script::probing([Probe::Hang]));
    let slow = hangs.driver().call(v1::ProbeRequest {}, SECOND).await.unwrap_err();
    assert_eq!((slow.code(), was_sent(&slow)), (Code::DeadlineExceeded, true), "{slow}");
}
