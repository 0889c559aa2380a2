//! Leader election for one sidecar: its lease, and the events and metrics about it.

use std::time::Duration;

use base::flag::standard::LeaderElectionFlags;
use base::leadership::Leadership;
use base::metrics::LeaderMetrics;
use base::name::sanitize_driver_name;
use kubernetes::api::Objects;
use kubernetes::event::{Event, Kind, ObjectRef, Recorder, deliver};
use kubernetes::lease::{Candidate, LeaseError, Timing, run};
use kubernetes::object::Uid;
use kubernetes::permission::{LEASES, review};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::host::host_name;

/// How long the process waits at its exit for events that are not written yet.
pub(crate) const LAST_EVENTS: Duration = Duration::from_secs(2);
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// How the leader for one seat is elected.
#[derive(Debug, Clone)]
pub struct Election {
    /// The flags.
    pub flags: LeaderElectionFlags,
    /// The lease's name before sanitising.
    pub lock: String,
    /// Whether SIGTERM is handled: finish calls in flight, release the lease, exit. If false, a signal ends the process at
    /// once.
    pub releases: bool,
}

impl Election {
    /// The namespace of the lease.
    pub fn namespace(&self) -> String {
        lease_namespace(&self.flags.namespace)
    }

    /// The lease's name.
    pub(crate) fn lease_name(&self) -> String {
        sanitize_driver_name(&self.lock)
    }

    /// The lease's namespace and name, as people write them.
    pub(crate) fn place(&self) -> String {
        format!("{}/{}", self.namespace(), self.lease_name())
    }

    /// This process's name in the lease.
    pub(crate) fn identity(&self) -> String {
        sanitize_driver_name(&host_name())
    }

    /// Holds the lease until `give_back` is cancelled. It is taken only while `after`, if there is one, leads.
    ///
    /// # Errors
    /// The lease was lost.
    pub(crate) async fn lead(
        self,
        client: kube::Client,
        leadership: Leadership,
        metrics: LeaderMetrics,
        after: Option<Leadership>,
        give_back: CancellationToken,
    ) -> Result<(), LeaseError> {
        let host = host_name();
        let candidate = self.candidate(client.clone(), &host, metrics, after);
        let (reviewed, namespace) = (client.clone(), candidate.namespace.clone());
        tokio::spawn(async move { review(&reviewed, &namespace, &[LEASES]).await });
        let (events, queue) = Recorder::new(&format!("{}/{host}", self.lock));
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
                let message = format!("{identity} {what}");
                base::info!(message.clone(); "lease" => object.name);
                let object = object.clone();
                events.record(Event { object, kind: Kind::Normal, reason: "LeaderElection", message });
            };
            run(candidate, leadership, give_back, tell).await
        };
        drop(events);
        if ended.is_ok() {
            let _ = timeout(LAST_EVENTS, delivery).await;
        }
        ended
    }

    fn candidate(
        &self,
        client: kube::Client,
        host: &str,
        metrics: LeaderMetrics,
        after: Option<Leadership>,
    ) -> Candidate {
        let flags = &self.flags;
        Candidate {
            client,
            namespace: self.namespace(),
            name: self.lease_name(),
            identity: sanitize_driver_name(host),
            labels: flags.labels.0.clone().into_iter().collect(),
            timing: Timing {
                lease: flags.lease_duration,
                renew: flags.renew_deadline,
                retry: flags.retry_period,
            },
            release: self.releases,
            metrics,
            seed: u64::from(std::process::id()) ^ fastrand::u64(..),
            after,
        }
    }
}

/// The namespace of the Lease: the flag, else POD_NAMESPACE, else the service account's, else `default`.
fn lease_namespace(flag: &str) -> String {
    let variable = std::env::var("POD_NAMESPACE").unwrap_or_default();
    let file = || std::fs::read_to_string(NAMESPACE_FILE).unwrap_or_default().trim().to_owned();
    [flag.to_owned(), variable, file()]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| "default".into())
}
