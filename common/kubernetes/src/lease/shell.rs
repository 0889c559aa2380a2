//! Runs the election: reads, writes and watches one Lease.

use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, PostParams};
use kube::runtime::watcher;
use thiserror::Error;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::elector::{Attempt, Elector, Lease, Timing};
use crate::api;
use base::leadership::Leadership;
use base::metrics::LeaderMetrics;

/// The share of the time left that one try to renew may take.
const TRY_SHARE: f64 = 0.7;
/// After a failed renewal: tries in one retry period.
const TRIES: f64 = 5.0;
/// How far a candidate's pause is stretched at most, as in client-go.
const JITTER: f64 = 1.2;

/// How long a candidate that watches sleeps when nothing but the watch can say more.
const LONG: Duration = Duration::from_secs(3600);

/// One process that wants to lead.
pub struct Candidate {
    /// A separate client, so that a throttled or busy main client never costs us the lease.
    pub client: kube::Client,
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease, sanitised.
    pub name: String,
    /// Our name in it: the sanitised host name.
    pub identity: String,
    /// Labels put on the Lease when we lead.
    pub labels: Vec<(String, String)>,
    /// The three durations, checked.
    pub timing: Timing,
    /// Whether the lease is given back when `give_back` is cancelled.
    pub release: bool,
    /// Whether we lead, and how smoothly, for the metrics page.
    pub metrics: LeaderMetrics,
    /// Seed of the pauses' jitter; different in each process.
    pub seed: u64,
    /// The leadership that we must have before we take this lease. Until then we only observe the lease: one whose holder is
    /// dead runs out meanwhile.
    pub after: Option<Leadership>,
}

/// Why the election ended without being asked to.
#[derive(Debug, Error)]
pub enum LeaseError {
    /// The lease ran out, or somebody else holds it. The process must exit 1, as upstream's does.
    #[error("the lease ran out, or another process holds it")]
    Lost,
}

/// Acquires the lease, renews it, and releases it when `give_back` is cancelled.
///
/// `leadership` says at any moment whether effects may be sent. `tell` is called with `became leader` and
/// `stopped leading` for the event on the Lease.
pub async fn run(
    candidate: Candidate,
    leadership: Leadership,
    give_back: CancellationToken,
    tell: impl Fn(&str),
) -> Result<(), LeaseError> {
    let mut run = Run {
        api: Api::namespaced(candidate.client.clone(), &candidate.namespace),
        elector: Elector::new(
            &candidate.name,
            &candidate.identity,
            candidate.labels.clone(),
            candidate.timing,
        ),
        random: fastrand::Rng::with_seed(candidate.seed),
        lock: format!("{}/{}", candidate.namespace, candidate.name),
        told_leader: None,
        candidate,
        leadership,
    };
    base::info!("Attempting to acquire leader lease..."; "lock" => run.lock);
    let Some(renewed) = run.acquire(&give_back).await else { return Ok(()) };
    run.leadership.extend(renewed + run.candidate.timing.renew);
    run.candidate.metrics.set_leader(true);
    base::info!("Successfully acquired lease"; "lock" => run.lock);
    base::v!(2, "became leader, starting");
    tell("became leader");
    let ended = tokio::select! {
        biased;
        () = give_back.cancelled() => Ok(()),
        lost = run.keep(renewed) => Err(lost),
    };
    if ended.is_err() {
        base::info!("Failed to renew lease"; "lock" => run.lock);
    }
    run.leadership.end();
    run.candidate.metrics.set_leader(false);
    if ended.is_ok() && run.candidate.release {
        run.give_back().await;
    }
    tell("stopped leading");
    ended
}

struct Run {
    api: Api<Lease>,
    elector: Elector,
    candidate: Candidate,
    leadership: Leadership,
    random: fastrand::Rng,
    /// The lease as the log names it: namespace/name.
    lock: String,
    /// The holder that the log named last.
    told_leader: Option<String>,
}

impl Run {
    /// Tries until we hold the lease. Returns the time at which the winning write was sent; `None` if we are to stop. We
    /// always wait for a write that we sent. If it wins, we release the lease.
    async fn acquire(&mut self, stop: &CancellationToken) -> Option<Instant> {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.candidate.name));
        let mut changes = watcher(self.api.clone(), config).boxed();
        let mut watching = false;
        let mut read = true;
        loop {
            let started = Instant::now();
            if read {
                let deadline = started + self.candidate.timing.renew;
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return None,
                    () = self.read(deadline) => {}
                }
            }
            let pause = match self.elector.attempt(Instant::now().into_std(), wall()) {
                Attempt::Held { until, .. } if watching => Instant::from_std(until),
                Attempt::Held { until, .. } => Instant::from_std(until).min(Instant::now() + self.jittered()),
                _ if !self.is_our_turn() => Instant::now() + if watching { LONG } else { self.jittered() },
                attempt @ (Attempt::Create(_) | Attempt::Update(_)) => {
                    // Counted from the write, not from the read: a slow read must not use up the new lease.
                    let written = Instant::now();
                    if self.write(attempt, written + self.candidate.timing.renew).await {
                        return Some(written);
                    }
                    base::v!(4, "Failed to acquire lease"; "lock" => self.lock);
                    Instant::now() + self.jittered()
                }
            };
            let turn = self.turn();
            let wake = tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                () = turn => Wake::Time,
                wake = self.wait_for_change(&mut changes, pause) => wake,
            };
            self.tell_leader();
            watching = wake != Wake::WatchBroken;
            read = wake != Wake::Changed;
        }
    }

    fn is_our_turn(&self) -> bool {
        self.candidate.after.as_ref().is_none_or(Leadership::holds)
    }

    /// Resolves when our turn comes; never if it has come already.
    fn turn(&self) -> impl Future<Output = ()> + use<> {
        let after = self.candidate.after.clone().filter(|after| !after.holds());
        async move {
            match after {
                Some(after) => after.acquired().await,
                None => std::future::pending().await,
            }
        }
    }

    /// Sleeps until `pause`, or until the watched lease may be taken.
    async fn wait_for_change(
        &mut self,
        changes: &mut (impl Stream<Item = watcher::Result<watcher::Event<Lease>>> + Unpin),
        pause: Instant,
    ) -> Wake {
        loop {
            let event = tokio::select! {
                () = sleep_until(pause) => return Wake::Time,
                event = changes.next() => event,
            };
            match event {
                Some(Ok(watcher::Event::Apply(lease) | watcher::Event::InitApply(lease))) => {
                    self.elector.observe(lease, Instant::now().into_std());
                }
                Some(Ok(watcher::Event::Delete(_))) => self.elector.observe_absent(),
                Some(Ok(watcher::Event::Init | watcher::Event::InitDone)) => continue,
                Some(Err(_)) | None => {
                    // Forbidden or broken: candidates then poll, as upstream's do.
                    sleep_until(pause.min(Instant::now() + self.jittered())).await;
                    return Wake::WatchBroken;
                }
            }
            self.tell_leader();
            if self.elector.holder().is_none() {
                return Wake::Changed;
            }
        }
    }

    /// Renews the lease. Past the renew deadline the sidecar sends nothing, but we go on trying to renew until somebody
    /// else holds the lease, or until it has run out. So an outage of the API server that is shorter than the lease does not
    /// cost us the lease.
    async fn keep(&mut self, mut renewed: Instant) -> LeaseError {
        let timing = self.candidate.timing;
        loop {
            sleep_until(renewed + timing.retry).await;
            let runs_out = renewed + timing.lease;
            let mut first = true;
            loop {
                let begun = Instant::now();
                if begun >= runs_out {
                    return LeaseError::Lost;
                }
                // An answer that never comes must leave time for another try.
                let bound = begun + (runs_out - begun).mul_f64(TRY_SHARE);
                if !first {
                    self.candidate.metrics.count_slow_path();
                    self.read(bound).await;
                }
                let attempt = self.elector.attempt(Instant::now().into_std(), wall());
                if !self.elector.is_ours() && matches!(attempt, Attempt::Held { .. }) {
                    return LeaseError::Lost;
                }
                let written = Instant::now();
                if self.write(attempt, bound).await {
                    renewed = written;
                    self.leadership.extend(renewed + timing.renew);
                    base::v!(5, "Successfully renewed lease"; "lock" => self.lock);
                    break;
                }
                match first {
                    true => {
                        base::v!(2, "Failed to update lease optimistically, falling back to slow path"; "lock" => self.lock);
                    }
                    false => sleep_until((begun + timing.retry.div_f64(TRIES)).min(runs_out)).await,
                }
                first = false;
            }
        }
    }

    async fn read(&mut self, deadline: Instant) {
        let reply = timeout_at(deadline, self.api.get_opt(&self.candidate.name)).await;
        match reply {
            Ok(Ok(Some(lease))) => {
                self.elector.observe(lease, Instant::now().into_std());
                self.tell_leader();
            }
            Ok(Ok(None)) => {
                self.elector.observe_absent();
                self.tell_leader();
            }
            Ok(Err(error)) => {
                base::error!(api::text(&error), "Error retrieving lease lock"; "lock" => self.lock);
            }
            Err(_) => base::warn!("Timed out reading the lease"; "lock" => self.lock),
        }
    }

    /// Sends the attempt; true when the lease is ours now.
    async fn write(&mut self, attempt: Attempt, deadline: Instant) -> bool {
        let (params, name) = (PostParams::default(), self.candidate.name.clone());
        let reply = match &attempt {
            Attempt::Held { .. } => return false,
            Attempt::Create(lease) => timeout_at(deadline, self.api.create(&params, lease)).await,
            Attempt::Update(lease) => timeout_at(deadline, self.api.replace(&name, &params, lease)).await,
        };
        match reply {
            Ok(Ok(lease)) => {
                self.elector.observe(lease, Instant::now().into_std());
                self.tell_leader();
                self.elector.is_ours()
            }
            Ok(Err(error)) => {
                base::error!(api::text(&error), "Failed to update lease"; "lock" => self.lock);
                false
            }
            Err(_) => {
                base::warn!("Timed out writing the lease"; "lock" => self.lock);
                false
            }
        }
    }

    /// Tells the holder last seen: the metrics always, the log once for each holder.
    fn tell_leader(&mut self) {
        let holder = self.elector.holder();
        self.candidate.metrics.set_holder(holder);
        if holder.is_some() && holder != self.told_leader.as_deref() {
            self.told_leader = holder.map(str::to_owned);
            base::v!(3, "New leader detected"; "leader" => holder.unwrap_or_default());
        }
    }

    async fn give_back(&mut self) {
        let deadline = Instant::now() + self.candidate.timing.renew;
        for _ in 0..2 {
            let Some(lease) = self.elector.release(wall()) else { return };
            let params = PostParams::default();
            match timeout_at(deadline, self.api.replace(&self.candidate.name, &params, &lease)).await {
                Ok(Ok(_)) => return,
                Ok(Err(error)) => {
                    base::error!(api::text(&error), "Failed to release lease"; "lock" => self.lock)
                }
                Err(_) => return,
            }
            self.read(deadline).await;
        }
    }

    fn jittered(&mut self) -> Duration {
        self.candidate.timing.retry.mul_f64(1.0 + self.random.f64() * JITTER)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Wake {
    Time,
    Changed,
    WatchBroken,
}

fn wall() -> MicroTime {
    MicroTime(k8s_openapi::jiff::Timestamp::now())
}

#[cfg(test)]
mod tests;
