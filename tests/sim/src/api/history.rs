//! An API server that goes back in time, or is of an older kind.

use super::ApiServer;
use super::store::Store;

/// What etcd held at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot(Store);

impl ApiServer {
    /// From now on lists are refused as streams, as with the feature gate off: they must be asked for in pages.
    pub fn refuse_streams(&self) {
        self.state().streams = false;
    }

    /// What etcd holds now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.state().store.clone())
    }

    /// Restores etcd from a snapshot, and restarts the API server: versions go on from the snapshot's.
    pub fn restore(&self, snapshot: Snapshot) {
        let version = {
            let mut state = self.state();
            state.store = snapshot.0;
            state.store.forget();
            state.unread.clear();
            state.store.version
        };
        self.changed.send_replace(version);
        self.break_watches();
    }
}
