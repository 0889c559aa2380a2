//! What a process has once, and what each of its sidecars has.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use base::leadership::Leadership;
use base::metrics::Metrics;
use csi::identity::DriverName;
use futures::future::{FutureExt, join_all, select_all};
use kubernetes::api::Objects;
use kubernetes::event::{Recorder, deliver};
use kubernetes::permission::{Need, review};
use tokio_util::sync::CancellationToken;

use crate::caches::Caches;
use crate::duty::Duty;

/// What a process has once, however many sidecars it runs.
#[derive(Clone)]
pub struct Host {
    /// The API client.
    pub client: kube::Client,
    /// The driver, callable whoever leads: for questions that change nothing.
    pub driver: csi::Client,
    /// The driver's name.
    pub driver_name: DriverName,
    /// The metrics page.
    pub metrics: Arc<Metrics>,
    /// Cancelled when no new work is to begin.
    pub stop: CancellationToken,
    /// Whether the API server's version has streaming lists.
    pub streaming_lists: bool,
    events: Recorder,
}

/// What one sidecar has.
#[derive(Clone)]
pub struct Seat {
    /// The API server's objects; writes stop with leadership.
    pub objects: Objects,
    /// The driver; calls stop with leadership.
    pub driver: csi::Client,
    /// The driver's name.
    pub driver_name: DriverName,
    /// The metrics page.
    pub metrics: Arc<Metrics>,
    /// Where events go.
    pub events: Recorder,
    /// Whether the sidecar may act.
    pub leadership: Leadership,
    /// Cancelled when no new work is to begin.
    pub stop: CancellationToken,
}

impl Host {
    /// A host, and the delivery of its events, which somebody must run.
    pub fn new(
        client: kube::Client,
        driver: csi::Client,
        driver_name: DriverName,
        metrics: Arc<Metrics>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (events, queue) = Recorder::new("");
        // Events tell what has happened: they may be written when leadership has just ended.
        let delivery = deliver(Objects::new(client.clone(), Leadership::always()), queue);
        let stop = CancellationToken::new();
        (Self { client, driver, driver_name, metrics, stop, streaming_lists: false, events }, delivery)
    }

    /// A seat for a sidecar whose events carry `event_source` as their component.
    pub fn seat(&self, leadership: Leadership, event_source: &str) -> Seat {
        Seat {
            objects: Objects::new(self.client.clone(), leadership.clone()),
            driver: self.driver.clone().guarded(leadership.clone()),
            driver_name: self.driver_name.clone(),
            metrics: self.metrics.clone(),
            events: self.events.named(event_source),
            leadership,
            stop: self.stop.clone(),
        }
    }

    /// Does the duties until `stop` is cancelled and what is in flight has ended. The watches begin when the first
    /// duty leads; each duty begins when it leads itself and the caches are complete.
    pub async fn work(&self, caches: Caches, duties: Vec<Duty>) {
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
        let work = join_all(duties.into_iter().map(|duty| {
            let synced = synced.clone();
            async move {
                tokio::select! {
                    ((), ()) = async { tokio::join!(duty.leadership.acquired(), synced) } => {}
                    () = self.stop.cancelled() => return,
                }
                duty.work.await;
            }
        }));
        // A missing permission keeps a cache empty for ever: it is told without waiting for the caches.
        let reviewed = async {
            review(&self.client, "default", &needs).await;
            std::future::pending().await
        };
        tokio::select! {
            _ = work => {}
            // Watches never end by themselves.
            _ = join_all(watches) => {}
            () = reviewed => {}
        }
    }
}

/// The machine's name, as the kernel knows it.
pub fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "localhost".into(), |name| name.trim().into())
}

/// Kubernetes streams initial lists by default from 1.34 on. An unknown version counts as old.
pub(crate) async fn streams_lists(client: &kube::Client) -> bool {
    let version = tokio::time::timeout(Duration::from_secs(10), client.apiserver_version()).await;
    let Ok(Ok(version)) = version else { return false };
    let minor: String = version.minor.chars().take_while(char::is_ascii_digit).collect();
    (version.major.as_str(), minor.parse().unwrap_or(0)) >= ("1", 34)
}
