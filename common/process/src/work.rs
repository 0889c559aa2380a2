//! Elects leaders, runs the duties, and ends the process.
//!
//! On SIGTERM or SIGINT, in this order:
//! 1. The token `stop` fires ([`signal`](crate::signal)): no new work begins. A second signal exits at once, with 1.
//! 2. Background tasks end, and workers take no new keys. Passes that have begun go on. So do the watches and the renewal of the leases.
//! 3. The duties return when their calls in flight have ended. After 20 s, calls that still run are abandoned; the next
//!    leader repeats them.
//! 4. The token `give_back` fires: each sidecar stops leading, and then its lease is released. That takes 5 s at the most.
//! 5. Events that are not written yet get 2 s.
//! 6. Spans that are not sent yet get 1 s.
//! 7. The process exits, with 1 if leaders are elected, else with 0; the Go sidecars exit so too.
//!
//! This order holds from `Started::work` on, if the feature gate ReleaseLeaderElectionOnExit is on for every sidecar, as it is by
//! default. Before that, or with the gate off, a signal ends the process at once, with 128 plus the signal's number (143 for SIGTERM).
//!
//! The process exits with 1, waits for nothing and releases no lease in three cases: a lease is lost; another driver answers,
//! or the same one with other capabilities; the connection is lost and `--exit-on-connection-loss` is set. After SIGTERM only
//! the first of the three counts: a driver that is lost then does not stop the leases from being released. Driver and sidecar
//! get SIGTERM together: if the driver goes before we have handled ours, that is a loss.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::apart::apart;
use base::http::Server;
use base::leadership::Leadership;
use csi::capability::{ControllerCapabilities, PluginCapabilities};
use csi::v1::plugin_capability::service::Type as Service;
use csi::{Identity, watch_identity};
use futures::StreamExt as _;
use futures::future::{FutureExt, select_all};
use futures::stream::FuturesUnordered;
use kubernetes::client::{ClientError, ClientOptions, client};
use kubernetes::lease::LeaseError;
use kubernetes::object::{Keep, Scope};
use kubernetes::permission::{Need, review};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::caches::Caches;
use crate::driver_loss::{connection_lost, leave_reason};
use crate::duty::Duty;
use crate::host::{Host, Seat};
use crate::lead::{Election, LAST_EVENTS};
use crate::leases::Leases;
use crate::signal::OnSignal;
use crate::traces::Exporter;

/// The in-tree plugin that kube-controller-manager does not know any more.
const GONE: &str = "kubernetes.io/rbd";

/// A process that is connected but does not work yet.
pub struct Started {
    /// What the process has once.
    pub host: Host,
    pub(crate) lease_client: Option<kube::Client>,
    pub(crate) delivery: JoinHandle<()>,
    pub(crate) exporter: Option<Exporter>,
    pub(crate) exit_on_loss: bool,
    pub(crate) signals: OnSignal,
    pub(crate) options: ClientOptions,
    /// What `/healthz/leader-election` reports on.
    pub(crate) leaderships: Arc<Mutex<Vec<Leadership>>>,
    pub(crate) _server: Option<Server>,
}

/// How long the calls in flight may go on after SIGTERM. By default SIGKILL follows 30 s after SIGTERM. A lease that is not
/// released by then blocks the next leader until it expires.
const LAST_CALLS: Duration = Duration::from_secs(20);

/// How long releasing the leases may take. With [`LAST_CALLS`], [`LAST_EVENTS`] and [`LAST_SPANS`] it stays below 30 s.
const LAST_RELEASE: Duration = Duration::from_secs(5);

/// How long sending the last spans may take.
const LAST_SPANS: Duration = Duration::from_secs(1);

/// Bound on each call that checks the driver after a reconnect.
const PER_CALL: Duration = Duration::from_secs(10);

/// What a driver says it can: the plugin, and its controller.
pub type Capabilities = (PluginCapabilities, ControllerCapabilities);

/// How the work ended.
#[derive(Debug)]
enum End {
    /// The work returned: it was asked to stop.
    Stopped,
    LeaseLost(LeaseError),
    DriverGone(String),
}

impl Started {
    /// A seat for a sidecar. It leads once [`Started::work`] has won its lease. Without leader election, it always leads.
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
        if let Some(plugin) = in_tree {
            base::v!(2, "Supports migration from in-tree plugin"; "plugin" => plugin);
            if plugin == GONE {
                base::warn!("Kubernetes 1.31 and later hand such volumes to no driver: convert them with mooring migrate --rbd"; "plugin" => plugin);
            }
        }
        Caches::new(Scope { driver, in_tree: in_tree.map(Into::into), keep })
    }

    /// Waits for the leases (if leaders are elected), runs the duties, and returns the process's exit code. The leases are
    /// taken one after the other, in the order of `duties`. So two processes can never each hold a lease that the other waits
    /// for. Each duty begins when its own lease is won. `can` is what the driver answered at start. If it answers otherwise
    /// after a restart, the process exits, so that the next process starts with the new answer.
    pub async fn work(self, can: Capabilities, caches: Caches, duties: Vec<(Election, Duty)>) -> u8 {
        let Self { host, lease_client, delivery, exporter, exit_on_loss, signals, _server, .. } = self;
        if duties.iter().all(|(election, _)| election.releases) {
            signals.finish_first();
        }
        host.metrics.board().describe(|process| process.capabilities = names(&can));
        let give_back = CancellationToken::new();
        let elected = lease_client.is_some();
        let (mut leases, work) = Leases::of(&host.metrics, lease_client.as_ref(), duties, &give_back);
        let stop = host.stop.clone();
        let driver_gone = async {
            tokio::select! {
                biased;
                changed = while_working(&stop, apart(watch_driver(&host, can))) => changed,
                () = while_working(&stop, apart(connection_lost(&host.driver))), if exit_on_loss => leave_reason(),
            }
        };
        let end = first_end(leases.lost(), driver_gone, host.run_duties(caches, work)).await;
        drop(host);
        match end {
            End::Stopped => {
                give_back.cancel();
                if timeout(LAST_RELEASE, leases.released()).await.is_err() {
                    base::warn!("Exiting before the leases were released"; "after" => format!("{LAST_RELEASE:?}"));
                }
                if timeout(LAST_EVENTS, delivery).await.is_err() {
                    base::warn!("Exiting before all events were written");
                }
                if let Some(exporter) = exporter {
                    exporter.finish(LAST_SPANS).await;
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

/// Waits for the first of the three ends.
async fn first_end(
    lease_lost: impl Future<Output = LeaseError>,
    driver_gone: impl Future<Output = String>,
    duties: impl Future<Output = ()>,
) -> End {
    tokio::select! {
        biased;
        lost = lease_lost => End::LeaseLost(lost),
        reason = driver_gone => End::DriverGone(reason),
        () = apart(duties) => End::Stopped,
    }
}

/// Resolves as `gone` does, but never after `stop`: a driver that goes then ends nothing, and the leases are still released. After
/// `stop`, `gone` is still polled: it checks a driver that has restarted, and until then no call goes out.
async fn while_working<T>(stop: &CancellationToken, gone: impl Future<Output = T>) -> T {
    let gone = gone.await;
    if stop.is_cancelled() {
        return std::future::pending().await;
    }
    gone
}

impl Host {
    /// Runs the duties. Returns when `stop` is cancelled and the calls in flight have ended, at the latest 20 s after
    /// `stop`. The watches begin when the first duty leads. Each duty begins when it leads itself and all caches are
    /// complete.
    ///
    /// Differs: the Go sidecars abandon the calls in flight at SIGTERM. Ours get 20 s to end, while the lease is still
    /// renewed. Calls that take longer are abandoned. The next leader repeats them.
    pub async fn run_duties(&self, caches: Caches, duties: Vec<Duty>) {
        let leaders: Vec<Leadership> = duties.iter().map(|duty| duty.leadership.clone()).collect();
        if leaders.is_empty() {
            return self.stop.cancelled().await;
        }
        let first = select_all(leaders.iter().map(|leadership| leadership.acquired().boxed()));
        tokio::select! {
            _ = first => {}
            () = self.stop.cancelled() => return,
        }
        let (watches, synced) = caches.start(self);
        let needs: Vec<Need> = duties.iter().flat_map(|duty| duty.needs.clone()).collect();
        let synced = synced.shared();
        let work: FuturesUnordered<_> = duties
            .into_iter()
            .map(|duty| {
                let synced = synced.clone();
                async move {
                    tokio::select! {
                        ((), ()) = async { tokio::join!(duty.leadership.acquired(), synced) } => {}
                        () = self.stop.cancelled() => return,
                    }
                    duty.work.await;
                }
            })
            .collect();
        let watches: FuturesUnordered<_> = watches.into_iter().collect();
        // Does not wait for the caches: without the permission to list they never become complete, and this review says why.
        let reviewed = async {
            review(&self.client, "default", &needs).await;
            std::future::pending().await
        };
        tokio::select! {
            () = work.collect() => {}
            // Watches never end by themselves.
            () = watches.collect() => {}
            () = apart(reviewed) => {}
            () = apart(self.last_calls_overdue()) => base::warn!("Abandoning calls that are still in flight"; "after" => format!("{LAST_CALLS:?}")),
        }
    }

    async fn last_calls_overdue(&self) {
        self.stop.cancelled().await;
        sleep(LAST_CALLS).await;
    }
}

/// The driver's capabilities, as the protocol names them.
fn names((plugin, controller): &Capabilities) -> Vec<String> {
    let growth = plugin.expansion.names().map(|name| format!("{name} expansion"));
    let named = plugin.services.names().chain(controller.names()).map(str::to_owned);
    named.chain(growth).collect()
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

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    /// The end when the driver goes, and the duties return a second later.
    async fn end_when_the_driver_goes(after_stop: bool, lease_lost: impl Future<Output = LeaseError>) -> End {
        let stop = CancellationToken::new();
        if after_stop {
            stop.cancel();
        }
        let gone = while_working(&stop, ready("gone".to_owned()));
        first_end(lease_lost, gone, sleep(Duration::from_secs(1))).await
    }

    #[tokio::test(start_paused = true)]
    async fn driver_that_goes_ends_the_work_only_before_the_stop() {
        let working = end_when_the_driver_goes(false, pending()).await;
        assert!(matches!(&working, End::DriverGone(reason) if reason == "gone"), "{working:?}");
        let stopping = end_when_the_driver_goes(true, pending()).await;
        assert!(matches!(stopping, End::Stopped), "{stopping:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn driver_is_watched_after_the_stop_too() {
        let (stop, watched) = (CancellationToken::new(), CancellationToken::new());
        stop.cancel();
        let gone = while_working(&stop, async {
            watched.cancel();
            "gone".to_owned()
        });
        first_end(pending(), gone, sleep(Duration::from_secs(1))).await;
        assert!(watched.is_cancelled(), "else the last calls wait for it in vain");
    }

    #[tokio::test(start_paused = true)]
    async fn lease_that_is_lost_after_the_stop_ends_the_work() {
        let end = end_when_the_driver_goes(true, ready(LeaseError::Lost)).await;
        assert!(matches!(end, End::LeaseLost(LeaseError::Lost)), "{end:?}");
    }
}
