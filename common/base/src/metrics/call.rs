//! `csi_sidecar_operations_seconds`: how long driver calls take.

use std::sync::{Arc, PoisonError, RwLock};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Error, HistogramOpts, HistogramVec, Registry};

const NAME: &str = "csi_sidecar_operations_seconds";
const HELP: &str = "[ALPHA] Container Storage Interface operation duration with gRPC error code status total";
const BUCKETS: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 25.0, 50.0, 120.0, 300.0, 600.0];

/// The drivers that in-tree plugins migrate to: only their samples say `migrated`.
const MIGRATED: &[&str] = &[
    "ebs.csi.aws.com",
    "disk.csi.azure.com",
    "file.csi.azure.com",
    "pd.csi.storage.gke.io",
    "cinder.csi.openstack.org",
    "csi.vsphere.vmware.com",
    "pxd.portworx.com",
];

/// One family whose samples may or may not have the `migrated` label.
#[derive(Clone)]
pub(super) struct CallDurations {
    plain: HistogramVec,
    migrated: HistogramVec,
    driver: Arc<RwLock<Driver>>,
}

struct Driver {
    name: String,
    is_migrated: bool,
}

impl CallDurations {
    pub(super) fn new(registry: &Registry) -> Result<Self, Error> {
        let opts = || HistogramOpts::new(NAME, HELP).buckets(BUCKETS.to_vec());
        let labels = ["driver_name", "method_name", "grpc_status_code"];
        let with_migrated = ["driver_name", "method_name", "grpc_status_code", "migrated"];
        let driver = Driver { name: "unknown-driver".to_owned(), is_migrated: false };
        let calls = Self {
            plain: HistogramVec::new(opts(), &labels)?,
            migrated: HistogramVec::new(opts(), &with_migrated)?,
            driver: Arc::new(RwLock::new(driver)),
        };
        registry.register(Box::new(calls.clone()))?;
        Ok(calls)
    }

    pub(super) fn set_driver_name(&self, name: &str) {
        let is_migrated = MIGRATED.contains(&name);
        let mut driver = self.driver.write().unwrap_or_else(PoisonError::into_inner);
        *driver = Driver { name: name.to_owned(), is_migrated };
    }

    pub(super) fn observe(&self, method: &str, code: &str, seconds: f64, migrated: Option<bool>) {
        let driver = self.driver.read().unwrap_or_else(PoisonError::into_inner);
        if driver.is_migrated {
            let migrated = if migrated == Some(true) { "true" } else { "false" };
            let labels = [driver.name.as_str(), method, code, migrated];
            self.migrated.with_label_values(&labels).observe(seconds);
        } else {
            let labels = [driver.name.as_str(), method, code];
            self.plain.with_label_values(&labels).observe(seconds);
        }
    }
}

impl Collector for CallDurations {
    fn desc(&self) -> Vec<&Desc> {
        self.plain.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = self.plain.collect();
        if let Some(family) = families.first_mut() {
            for mut more in self.migrated.collect() {
                family.mut_metric().append(more.mut_metric());
            }
        }
        families
    }
}
