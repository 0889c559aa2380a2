//! What a process has once, and what each of its sidecars has.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use base::leadership::Leadership;
use base::metrics::Metrics;
use csi::identity::DriverName;
use kubernetes::api::Objects;
use kubernetes::event::{Recorder, deliver};
use tokio_util::sync::CancellationToken;

/// What a process has once, however many sidecars it runs.
#[derive(Clone)]
pub struct Host {
    /// The API client.
    pub client: kube::Client,
    /// The driver, callable without leadership: only for calls that change nothing.
    pub driver: csi::Client,
    /// The driver's name.
    pub driver_name: DriverName,
    /// The metrics page.
    pub metrics: Arc<Metrics>,
    /// Cancelled when no new work is to begin.
    pub stop: CancellationToken,
    /// Which connection to the driver has been checked. `None` unless [`crate::start`] made this host.
    pub(crate) checked: Option<csi::Checked>,
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
    /// Whether the API server's version has streaming lists, for watches of the sidecar's own.
    pub streaming_lists: bool,
}

impl Host {
    /// A host, and the future that delivers its events. The caller must run that future.
    pub fn new(
        client: kube::Client,
        driver: csi::Client,
        driver_name: DriverName,
        metrics: Arc<Metrics>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (events, queue) = Recorder::new("");
        // An event only reports what has happened, so it may still be written after leadership has ended.
        let delivery = deliver(Objects::new(client.clone(), Leadership::always()), queue);
        let stop = CancellationToken::new();
        (
            Self {
                client,
                driver,
                driver_name,
                metrics,
                stop,
                checked: None,
                streaming_lists: false,
                events,
            },
            delivery,
        )
    }

    /// A seat for a sidecar whose events carry `event_source` as their component.
    pub fn seat(&self, leadership: Leadership, event_source: &str) -> Seat {
        let driver = self.driver.clone().guarded(leadership.clone());
        Seat {
            objects: Objects::new(self.client.clone(), leadership.clone()),
            driver: match &self.checked {
                Some(checked) => driver.after_check(checked.clone()),
                None => driver,
            },
            driver_name: self.driver_name.clone(),
            metrics: self.metrics.clone(),
            events: self.events.named(event_source),
            leadership,
            stop: self.stop.clone(),
            streaming_lists: self.streaming_lists,
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
