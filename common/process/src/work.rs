//! Elects leaders, runs the duties, and ends the process in order.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::http::Server;
use base::leadership::Leadership;
use csi::capability::{ControllerCapabilities, PluginCapabilities};
use csi::v1::plugin_capability::service::Type as Service;
use csi::{Identity, watch_identity};
use futures::future::{BoxFuture, FutureExt, join_all, select_all};
use kubernetes::client::{ClientError, ClientOptions, client};
use kubernetes::lease::LeaseError;
use kubernetes::object::{Keep, Scope};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::caches::Caches;
use crate::driver_loss::{connection_lost, leave_reason};
use crate::duty::Duty;
use crate::host::{Host, Seat};
use crate::lead::{Election, LAST_EVENTS};
use crate::signal::OnSignal;

/// A process that is connected but does not work yet.
pub struct Started {
    /// What the process has once.
    pub host: Host,
    pub(crate) lease_client: Option<kube::Client>,
    pub(crate) delivery: JoinHandle<()>,
    pub(crate) exit_on_loss: bool,
    pub(crate) signals: OnSignal,
    pub(crate) options: ClientOptions,
    /// What `/healthz/leader-election` reports on.
    pub(crate) leaderships: Arc<Mutex<Vec<Leadership>>>,
    pub(crate) _server: Option<Server>,
}

/// Bound on each call that checks the driver after a reconnect.
const PER_CALL: Duration = Duration::from_secs(10);

/// What a driver says it can: the plugin, and its controller.
pub type Capabilities = (PluginCapabilities, ControllerCapabilities);

/// How the work ended.
enum End {
    /// The work returned: it was asked to stop.
    Stopped,
    LeaseLost(LeaseError),
    DriverGone(String),
}

impl Started {
    /// A seat for a sidecar. It leads once [`Started::work`] has won its lease, or always where no leader is elected.
    pub fn seat(&self, event_source: &str) -> Seat {
        let elected = self.lease_client.is_some();
        let leadership = if elected { Leadership::candidate() } else { Leadership::always() };
        self.leaderships.lock().unwrap_or_else(PoisonError::into_inner).push(leadership.clone());
        self.host.seat(leadership, event_source)
    }

    /// Another API client, with a request limit of its own: `qps` requests a second, `burst` of them saved up. For work
    /// that has rate flags of its own, such as capacity objects.
    ///
    /// # Errors
    /// As when the process started.
    pub async fn limited_client(&self, qps: f64, burst: u32) -> Result<kube::Client, ClientError> {
        client(&ClientOptions { rate: Some((qps, burst)), ..self.options.clone() }).await
    }

    /// The caches of the process. They keep the fields that `keep` names. `in_tree` is the in-tree plugin that the driver
    /// replaces, if any.
    pub fn caches(&self, keep: Keep, in_tree: Option<&str>) -> Caches {
        let driver = self.host.driver_name.as_str().into();
        Caches::new(Scope { driver, in_tree: in_tree.map(Into::into), keep })
    }

    /// Waits for the leases (if leaders are elected), runs the duties, and returns the process's exit code. `can` is what
    /// the driver answered at start. If it answers otherwise after a restart, the process exits, so that the next process
    /// starts with the new answer.
    pub async fn work(self, can: Capabilities, caches: Caches, duties: Vec<(Election, Duty)>) -> u8 {
        let Self { host, lease_client, delivery, exit_on_loss, signals, leaderships: _, options: _, _server } =
            self;
        if duties.iter().all(|(election, _)| election.release) {
            signals.finish_first();
        }
        let release = CancellationToken::new();
        let elected = lease_client.is_some();
        let (mut leases, mut work): (Vec<BoxFuture<'static, _>>, Vec<Duty>) = (Vec::new(), Vec::new());
        for (election, duty) in duties {
            if let Some(client) = &lease_client {
                let (leadership, metrics) = (duty.leadership.clone(), host.metrics.leader(""));
                leases.push(election.lead(client.clone(), leadership, metrics, release.clone()).boxed());
            }
            work.push(duty);
        }
        let mut leases = Leases(leases);
        let end = tokio::select! {
            biased;
            lost = leases.lost() => End::LeaseLost(lost),
            changed = watch_driver(&host, can) => End::DriverGone(changed),
            () = connection_lost(&host.driver), if exit_on_loss => End::DriverGone(leave_reason()),
            () = host.work(caches, work) => End::Stopped,
        };
        drop(host);
        match end {
            End::Stopped => {
                release.cancel();
                leases.released().await;
                if timeout(LAST_EVENTS, delivery).await.is_err() {
                    base::warn!("Exiting before all events were written");
                }
                if elected {
                    base::info!("Stopped leading");
                }
                u8::from(elected)
            }
            End::LeaseLost(error) => {
                base::error!(error, "Stopped leading");
                1
            }
            End::DriverGone(reason) => {
                base::error!(reason, "Exiting");
                1
            }
        }
    }
}

/// Resolves when the driver has changed, with a text that says how.
async fn watch_driver(host: &Host, can: Capabilities) -> String {
    let Some(checked) = &host.checked else { return std::future::pending().await };
    let (plugin, mut controller) = can;
    if !plugin.has(Service::ControllerService) {
        controller = ControllerCapabilities::default();
    }
    let expected = Identity { name: host.driver_name.clone(), plugin, controller };
    watch_identity(&host.driver, &expected, checked, PER_CALL).await.to_string()
}

/// The leases that are held or waited for.
struct Leases(Vec<BoxFuture<'static, Result<(), LeaseError>>>);

impl Leases {
    /// Resolves when the first of them is lost.
    async fn lost(&mut self) -> LeaseError {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        let (ended, _, _) = select_all(self.0.iter_mut()).await;
        ended.err().unwrap_or(LeaseError::Lost)
    }

    /// Resolves when all of them are given back.
    async fn released(self) {
        join_all(self.0).await;
    }
}
