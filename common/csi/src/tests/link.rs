//! Dialling, losing and regaining the connection.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use tonic::Code;

use super::scripted::{Pipes, SECOND, Script, listen};
use crate::identity::driver_name;
use crate::{CallLog, Client, Connection, DialOptions, Endpoint, LinkState, v1};
use base::metrics::Metrics;

async fn dial(text: &str, limit: Duration) -> Result<Client, crate::DialError> {
    let options = DialOptions { limit, ..DialOptions::default() };
    let connection = Connection::dial(Endpoint::parse(text).unwrap(), options).await?;
    Ok(Client::new(connection, Metrics::new(), CallLog::default()))
}

#[tokio::test]
async fn connects_by_path_and_by_url() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("csi.sock");
    let server = listen(&path, Script::named("by-socket"));
    let path = path.to_str().unwrap();
    for text in [path.to_owned(), format!("unix://{path}"), format!("unix:{path}")] {
        let driver = dial(&text, 5 * SECOND).await.unwrap();
        assert_eq!(driver_name(&driver, SECOND).await.unwrap().as_str(), "by-socket");
    }
    server.abort();
}

#[tokio::test]
async fn waits_for_a_driver_that_starts_late() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("csi.sock");
    let text = path.to_str().unwrap().to_owned();
    let dialling = tokio::spawn(async move { dial(&text, 30 * SECOND).await });
    // Long enough for several attempts to fail.
    assert!(timeout(Duration::from_millis(200), std::future::pending::<()>()).await.is_err());
    assert!(!dialling.is_finished());
    let server = listen(&path, Script::named("late"));
    let driver = dialling.await.unwrap().unwrap();
    assert_eq!(driver_name(&driver, SECOND).await.unwrap().as_str(), "late");
    server.abort();
}

#[tokio::test(start_paused = true)]
async fn gives_up_after_the_limit_and_names_endpoint_and_cause() {
    let started = Instant::now();
    let error = dial("/nowhere/csi.sock", 30 * SECOND).await.unwrap_err().to_string();
    assert_eq!(started.elapsed().as_secs(), 30);
    assert!(error.contains("unix:///nowhere/csi.sock"), "{error}");
    assert!(error.contains("30s") && error.contains("No such file"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn reconnects_to_a_killed_driver_without_a_call() {
    let pipes = Pipes::new(Script::named("first"));
    let driver = pipes.driver();
    let mut state = driver.connection().state();
    state.wait_for(|state| *state == LinkState::Up { generation: 1 }).await.unwrap();

    pipes.refuse(true);
    pipes.kill();
    let lost = Instant::now();
    state.wait_for(|state| *state == LinkState::Down).await.unwrap();
    assert_eq!(lost.elapsed(), Duration::ZERO, "the loss shows at once");

    tokio::time::sleep(60 * SECOND).await;
    pipes.replace(Script::named("second"));
    pipes.refuse(false);
    let back = Instant::now();
    state.wait_for(|state| *state == LinkState::Up { generation: 2 }).await.unwrap();
    assert!(back.elapsed() <= SECOND, "dialled again within a second: {:?}", back.elapsed());
    assert_eq!(driver_name(&driver, SECOND).await.unwrap().as_str(), "second");
}

#[tokio::test(start_paused = true)]
async fn calls_while_the_driver_is_away_are_unavailable_at_once() {
    let pipes = Pipes::new(Script::named("gone"));
    pipes.refuse(true);
    let driver = pipes.driver();
    let started = Instant::now();
    let status = driver.call(v1::ProbeRequest {}, 100 * SECOND).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("connection refused"), "{status}");
    assert!(started.elapsed() <= SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_call_cut_in_the_middle_is_unavailable() {
    let pipes = Pipes::new(Script::probing([super::scripted::Probe::Hang]));
    let driver = pipes.driver();
    let calling = tokio::spawn({
        let driver = driver.clone();
        async move { driver.call(v1::ProbeRequest {}, 100 * SECOND).await }
    });
    tokio::time::sleep(SECOND).await;
    pipes.kill();
    let status = calling.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_hangs_up_at_once_is_not_dialled_in_a_tight_loop() {
    let dials = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = dials.clone();
    let connection = Connection::from_connector(move || {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let (ours, _theirs) = tokio::io::duplex(64);
        async move { Ok(ours) }
    });
    tokio::time::sleep(10 * SECOND).await;
    let dials = dials.load(std::sync::atomic::Ordering::SeqCst);
    assert!((5..1000).contains(&dials), "{dials} dials in 10 s");
    drop(connection);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_dialled_after_the_last_handle_is_gone() {
    let pipes = Pipes::new(Script::named("x"));
    let connection = pipes.connection();
    let mut state = connection.state();
    state.wait_for(|state| *state != LinkState::Down).await.unwrap();
    drop(connection);
    // The task's end drops its sender.
    while state.changed().await.is_ok() {}
}
