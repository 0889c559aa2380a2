//! Leading, working, and ending.

use std::future::Future;
use std::time::Duration;

use kube::Client;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Process, host_name};
use base::flag::standard::LeaderElectionFlags;
use base::http::Server;
use base::leadership::Leadership;
use base::metrics::LeaderMetrics;
use base::name::sanitize_driver_name;
use csi::LinkState;
use csi::identity::watch_identity;
use kubernetes::api::Objects;
use kubernetes::event::{Event, Kind, ObjectRef, Recorder, deliver};
use kubernetes::lease::{Candidate, LeaseError, Timing, run};
use kubernetes::object::Uid;
use kubernetes::permission::{LEASES, review};

/// Where Kubernetes reads why a container ended.
const TERMINATION_LOG: &str = "/dev/termination-log";
const CONNECTION_LOST: &str = "Lost connection to CSI driver, exiting";
/// How long events that are still to be written hold up the exit.
const LAST_EVENTS: Duration = Duration::from_secs(2);
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// A process that is up and has not begun its work.
pub struct Started {
    /// What reconcilers get.
    pub process: Process,
    /// The driver, callable before we lead: for capabilities.
    pub asking: csi::Client,
    pub(super) lease_client: Option<Client>,
    pub(super) delivery: JoinHandle<()>,
    pub(super) exit_on_loss: bool,
    pub(super) _server: Option<Server>,
}

/// How a leader is elected.
pub struct Election<'a> {
    /// The flags.
    pub flags: &'a LeaderElectionFlags,
    /// The lease's name before sanitising.
    pub lock: String,
    /// Whether the lease is released at the end, and signals are waited out at all.
    pub release: bool,
}

/// How the work ended.
enum End {
    /// The work returned: it was asked to stop.
    Stopped,
    LeaseLost(LeaseError),
    DriverGone(String),
}

impl Started {
    /// Leads (if elections are on), runs `work`, ends. Returns the process's exit code.
    pub async fn work<F>(self, election: Election<'_>, work: impl FnOnce(Process) -> F) -> u8
    where
        F: Future<Output = ()>,
    {
        let Self { process, asking, lease_client, delivery, exit_on_loss, _server } = self;
        let (stop, release) = (process.stop.clone(), CancellationToken::new());
        if election.release {
            tokio::spawn(stop_on_signal(stop.clone()));
        }
        let elected = lease_client.is_some();
        let leading = (process.leadership.clone(), process.metrics.leader(""));
        let lead = lead(lease_client, &election, leading, release.clone());
        tokio::pin!(lead);
        let expected = process.driver_name.clone();
        let body = async {
            tokio::select! {
                () = process.leadership.acquired() => work(process.clone()).await,
                () = stop.cancelled() => {}
            }
        };
        let end = tokio::select! {
            biased;
            lost = &mut lead => End::LeaseLost(lost.err().unwrap_or(LeaseError::Lost)),
            changed = watch_identity(&asking, &expected, Duration::from_secs(10)) => End::DriverGone(changed.to_string()),
            () = lost_connection(&asking), if exit_on_loss => End::DriverGone(connection_lost()),
            () = body => End::Stopped,
        };
        drop(process);
        match end {
            End::Stopped => {
                release.cancel();
                let _ = lead.await;
                if timeout(LAST_EVENTS, delivery).await.is_err() {
                    base::warn!("Some events were not written before the exit");
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

/// Holds the lease until `release` is cancelled; without elections, does nothing until then.
async fn lead(
    client: Option<Client>,
    election: &Election<'_>,
    (leadership, metrics): (Leadership, LeaderMetrics),
    release: CancellationToken,
) -> Result<(), LeaseError> {
    let Some(client) = client else {
        release.cancelled().await;
        return Ok(());
    };
    let flags = election.flags;
    let host = host_name();
    let candidate = Candidate {
        client: client.clone(),
        namespace: lease_namespace(&flags.namespace),
        name: sanitize_driver_name(&election.lock),
        identity: sanitize_driver_name(&host),
        labels: flags.labels.0.clone().into_iter().collect(),
        timing: Timing {
            lease: flags.lease_duration,
            renew: flags.renew_deadline,
            retry: flags.retry_period,
        },
        release: election.release,
        metrics,
        seed: u64::from(std::process::id()) ^ fastrand::u64(..),
    };
    let (reviewed, namespace) = (client.clone(), candidate.namespace.clone());
    tokio::spawn(async move { review(&reviewed, &namespace, &[LEASES]).await });
    let (events, queue) = Recorder::new(&format!("{}/{host}", election.lock));
    let delivery = tokio::spawn(deliver(Objects::new(client, Leadership::always()), queue));
    let object = ObjectRef {
        api_version: "coordination.k8s.io/v1",
        kind: "Lease",
        namespace: candidate.namespace.as_str().into(),
        name: candidate.name.as_str().into(),
        uid: Uid::default(),
        version: 0,
    };
    let identity = candidate.identity.clone();
    let ended = {
        let tell = |what: &str| {
            base::info!(format!("{identity} {what}"); "lease" => object.name);
            let message = format!("{identity} {what}");
            events.record(Event {
                object: object.clone(),
                kind: Kind::Normal,
                reason: "LeaderElection",
                message,
            });
        };
        run(candidate, leadership, release, tell).await
    };
    drop(events);
    if ended.is_ok() {
        let _ = timeout(LAST_EVENTS, delivery).await;
    }
    ended
}

/// The flag, else POD_NAMESPACE, else the service account's namespace, else `default`.
pub(super) fn lease_namespace(flag: &str) -> String {
    let variable = std::env::var("POD_NAMESPACE").unwrap_or_default();
    let file = || std::fs::read_to_string(NAMESPACE_FILE).unwrap_or_default().trim().to_owned();
    [flag.to_owned(), variable, file()]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| "default".into())
}

async fn stop_on_signal(stop: CancellationToken) {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        base::warn!("Cannot listen for signals: the process will end without finishing its work");
        return;
    };
    let mut next = async || tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} };
    next().await;
    base::info!("Shutting down: finishing what is in flight");
    stop.cancel();
    next().await;
    base::warn!("Second signal: exiting at once");
    std::process::exit(1);
}

async fn lost_connection(driver: &csi::Client) {
    let mut state = driver.connection().state();
    // The connection was up when the process started: any Down is a loss.
    if state.wait_for(|state| *state == LinkState::Down).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn connection_lost() -> String {
    if let Err(error) = std::fs::write(TERMINATION_LOG, CONNECTION_LOST) {
        base::error!(error, "Could not write the termination log"; "file" => TERMINATION_LOG);
    }
    CONNECTION_LOST.to_owned()
}
