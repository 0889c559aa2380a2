//! An API server that goes back in time, or is of an older kind.

use super::ApiServer;
use super::store::Store;

/// What etcd held at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot(Store);

impl ApiServer {
    /// The resource `plural` does not exist, as on an older cluster.
    pub fn hide(&self, plural: &str) {
        self.state().served.hide(plural);
    }

    /// The resource `plural` exists as v1beta1, and not as v1, as on an older cluster.
    pub fn serve_as_beta(&self, plural: &str) {
        self.state().served.serve_as_beta(plural);
    }

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
