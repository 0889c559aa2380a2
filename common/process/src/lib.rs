//! What one process has once: client, driver connection, events, metrics, leadership, shutdown.
//!
//! A sidecar is its flags and a function over a [`Process`]. [`start`] brings a process up in upstream's
//! order; [`Process::work`] elects a leader, runs the sidecar, and ends it in order:
//! - SIGTERM or SIGINT: no new work, what is in flight ends, the lease is released, exit;
//!   a second signal exits at once with 1;
//! - the lease is lost: exit 1 at once, and nothing is sent any more;
//! - the driver goes away: wait for it; another driver on the socket: exit 1.
//!   `Differs:` upstream exits whenever the driver goes away; `--exit-on-connection-loss` does that here.

mod start;
mod work;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use base::leadership::Leadership;
use base::metrics::Metrics;
use csi::Client;
use csi::identity::DriverName;
use kubernetes::api::Objects;
use kubernetes::event::Recorder;
use kubernetes::object::{Object, Scope};
use kubernetes::store::Store;
use kubernetes::watch::{WatchOptions, reflect};

pub use start::{Setup, StartError, host_name, start};
pub use work::{Election, Started};

/// What all reconcilers of a process share.
#[derive(Clone)]
pub struct Process {
    /// The API server's objects; writes stop with leadership.
    pub objects: Objects,
    /// The driver; calls stop with leadership.
    pub driver: Client,
    /// Its name.
    pub driver_name: DriverName,
    /// The metrics page.
    pub metrics: Arc<Metrics>,
    /// Where events go.
    pub events: Recorder,
    /// Whether we may act.
    pub leadership: Leadership,
    /// Cancelled when no new work is to be begun.
    pub stop: CancellationToken,
    /// Whether the API server streams initial lists.
    pub streaming_lists: bool,
}

impl Process {
    /// An empty cache of one kind.
    pub fn store<T: Object>(&self, scope: &Arc<Scope>) -> Arc<Store<T>> {
        Store::new(scope.clone())
    }

    /// Keeps a cache in step with the API server; never ends.
    pub fn reflect<T: Object>(&self, store: &Arc<Store<T>>) -> impl Future<Output = ()> + Send + 'static {
        let options = WatchOptions { streaming: self.streaming_lists, ..WatchOptions::default() };
        reflect(self.objects.client().clone(), store.clone(), options, self.metrics.clone())
    }
}
