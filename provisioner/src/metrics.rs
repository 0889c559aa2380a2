//! The counters of provisioning and deleting (docs/upstream/provisioner.md, "Metrics").
//!
//! `Differs:` the label `class` of a claim is empty while there is no such class, and `source` is empty for kinds that no
//! driver fills volumes from. Upstream puts there whatever the claim says, so that every name a tenant invents is a series
//! for ever.
//!
//! `Differs:` when a claim turns out not to be ours, upstream counts a failure; when a volume does, it counts
//! a deletion. We count neither.
//!
//! `Differs:` ours counts a provisioned volume when its PersistentVolume is stored, and the time ends there. Upstream counts it
//! after the first try to store it, even if that fails and goes on in the background.

use std::time::Duration;

use base::metrics::{DEFAULT_BUCKETS, Metrics};
use kubernetes::object::{Claim, Volume};
use prometheus::{HistogramVec, IntCounterVec};

/// Counters of claims.
pub(crate) struct ClaimMetrics(Family);

/// Counters of deletions.
pub(crate) struct VolumeMetrics(Family);

struct Family {
    total: IntCounterVec,
    failed: IntCounterVec,
    seconds: HistogramVec,
}

impl Family {
    fn new(metrics: &Metrics, prefix: &str, what: &str, labels: &[&str]) -> Result<Self, prometheus::Error> {
        let (total, failed) = (format!("{prefix}_total"), format!("{prefix}_failed_total"));
        Ok(Self {
            total: metrics.counter(
                &total,
                &format!("Total number of {what}s that succeeded. Broken down by {}.", labels.join(" and ")),
                labels,
            )?,
            failed: metrics.counter(
                &failed,
                &format!("Total number of {what}s that failed. Broken down by {}.", labels.join(" and ")),
                labels,
            )?,
            seconds: metrics.histogram(
                &format!("{prefix}_duration_seconds"),
                &format!(
                    "Time that successful {what}s took, in seconds. Broken down by {}.",
                    labels.join(" and ")
                ),
                labels,
                DEFAULT_BUCKETS,
            )?,
        })
    }
}

impl ClaimMetrics {
    /// Registers the families; fails if the names are taken.
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let prefix = "controller_persistentvolumeclaim_provision";
        Family::new(metrics, prefix, "persistent volume provision", &["class", "source"]).map(Self)
    }

    /// Counts a claim of an existing class that got its volume after this time.
    pub(crate) fn provisioned(&self, claim: &Claim, took: Duration) {
        let labels = [&*claim.class, source(claim)];
        self.0.total.with_label_values(&labels).inc();
        self.0.seconds.with_label_values(&labels).observe(took.as_secs_f64());
    }

    /// An attempt for a claim of an existing class failed.
    pub(crate) fn failed(&self, claim: &Claim) {
        self.0.failed.with_label_values(&[&*claim.class, source(claim)]).inc();
    }

    /// The claim's class does not exist.
    pub(crate) fn failed_without_class(&self, claim: &Claim) {
        self.0.failed.with_label_values(&["", source(claim)]).inc();
    }
}

/// The kind of the claim's data source, if CSI knows it.
fn source(claim: &Claim) -> &'static str {
    let kind = claim.data_source.as_ref().map_or("", |source| &source.kind);
    ["VolumeSnapshot", "PersistentVolumeClaim"].into_iter().find(|known| *known == kind).unwrap_or_default()
}

impl VolumeMetrics {
    /// Registers the families; fails if the names are taken.
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let prefix = "controller_persistentvolume_delete";
        Family::new(metrics, prefix, "persistent volume deletion", &["class"]).map(Self)
    }

    /// Counts a volume that was deleted after this time.
    pub(crate) fn deleted(&self, volume: &Volume, took: Duration) {
        self.0.total.with_label_values(&[&*volume.class]).inc();
        self.0.seconds.with_label_values(&[&*volume.class]).observe(took.as_secs_f64());
    }

    /// An attempt failed.
    pub(crate) fn failed(&self, volume: &Volume) {
        self.0.failed.with_label_values(&[&*volume.class]).inc();
    }
}
