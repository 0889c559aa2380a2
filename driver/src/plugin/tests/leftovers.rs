//! What a start found that nothing owns: who waits for its removal.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use base::metrics::Metrics;
use csi::{CallLog, Client, Connection, DialOptions};
use tokio::sync::oneshot;

use super::*;
use crate::serve::serve_until;

/// How long a driver may take that does not wait for the removal.
const LONG: Duration = Duration::from_secs(20);

/// Holds up the removal, as a tree would that takes long.
#[derive(Debug)]
pub(super) struct Gate {
    opened: Receiver<()>,
    ended: Sender<()>,
}

impl Gate {
    /// Waits for the test, does it, tells the test.
    pub(super) fn pass(self, clean: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let opened = self.opened.recv_timeout(2 * LONG);
        assert_ne!(opened, Err(RecvTimeoutError::Timeout), "somebody waits for the removal");
        let cleaned = clean();
        // A test that has failed does not listen.
        let _ = self.ended.send(());
        cleaned
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_the_removal_of_leftovers() {
    let folder = tempfile::tempdir().unwrap();
    let leftover = folder.path().join("drivers/hostpath.csi.k8s.io/.old/leftover");
    std::fs::create_dir_all(leftover.join("deep")).unwrap();
    let options = Options::for_tests(folder.path().to_owned());
    let endpoint = options.endpoint.clone();
    let (release, opened) = channel();
    let (ended, removed) = channel();
    let faults = Faults { clean: Mutex::new(Some(Gate { opened, ended })), ..Faults::default() };
    let (stop, stopped) = oneshot::channel::<()>();
    let stopping = async { _ = stopped.await };
    let serving = tokio::spawn(serve_until(stopping, options, |options| open(options, Arc::new(faults))));

    let dial = DialOptions { limit: LONG, ..DialOptions::default() };
    let connection = Connection::dial(endpoint, dial).await.expect("a socket");
    let client = Client::new(connection, Metrics::new(), CallLog::default());
    let probe = client.call(v1::ProbeRequest::default(), LONG).await.expect("an answer");
    assert_ne!(probe.ready, Some(false));
    client.call(create("v").into_inner(), LONG).await.expect("a volume");
    assert!(leftover.exists(), "all this while");
    drop(client);
    stop.send(()).unwrap();
    tokio::time::timeout(LONG, serving).await.expect("stopped").unwrap().unwrap();
    assert!(leftover.exists(), "a stop does not wait either");

    release.send(()).unwrap();
    removed.recv_timeout(LONG).unwrap();
    assert!(!leftover.exists());
}
