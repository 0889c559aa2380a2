//! The attacher's configuration: the flags, and what the driver can do.

use std::time::Duration;

use base::name::sanitize_driver_name;
use base::queue::{Backoff, Limits};
use csi::capability::{ControllerCapabilities, PluginCapabilities};
use csi::v1::controller_service_capability::rpc::Type as Rpc;
use csi::v1::plugin_capability::service::Type as Service;
use kubernetes::object::ATTACHER_FINALIZER;

use crate::attachment::decide::Role;
use crate::flags::Flags;

/// How long one waits at most for another's call for the same volume and node. The end of that call wakes it earlier.
pub(crate) const TURN: Duration = Duration::from_secs(60);

/// What decisions depend on, beside the objects.
#[derive(Debug, Clone)]
pub struct Config {
    /// The driver's name.
    pub driver: Box<str>,
    /// Our finalizer on attachments and volumes.
    pub finalizer: Box<str>,
    /// Longest time for one call, and for one comparison with the driver's list.
    pub timeout: Duration,
    /// Back-off of attachments and volumes.
    pub backoff: Backoff,
    /// How many attaches and detaches run at once.
    pub workers: usize,
    /// Pause between resyncs; zero turns them off.
    pub resync: Duration,
    /// Pause between comparisons with the driver's list.
    pub reconcile_sync: Duration,
    /// Volumes per page of the list; 0 leaves it to the driver.
    pub max_entries: i32,
    /// Used when a volume names no file system.
    pub default_fs: Box<str>,
    /// Whether the gRPC code goes into `status.attachError`.
    pub error_code: bool,
    /// The driver's capabilities.
    pub can: Capabilities,
}

/// The driver's capabilities that attaching asks about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// It has a controller service that publishes volumes. Otherwise attachments are only marked as attached.
    pub attach: bool,
    /// It publishes read-only.
    pub read_only: bool,
    /// It tells SINGLE_NODE_MULTI_WRITER from SINGLE_NODE_SINGLE_WRITER.
    pub single_node_multi_writer: bool,
    /// It lists volumes with the nodes they are published to.
    pub lists_nodes: bool,
}

impl Capabilities {
    /// Combines the answers of the two capability calls. Without a controller service the second call is not
    /// made.
    pub(crate) fn new(plugin: &PluginCapabilities, controller: ControllerCapabilities) -> Self {
        let attach = plugin.has(Service::ControllerService) && controller.has(Rpc::PublishUnpublishVolume);
        Self {
            attach,
            read_only: controller.has(Rpc::PublishReadonly),
            single_node_multi_writer: controller.has(Rpc::SingleNodeMultiWriter),
            lists_nodes: attach
                && controller.has(Rpc::ListVolumes)
                && controller.has(Rpc::ListVolumesPublishedNodes),
        }
    }
}

impl Config {
    /// The configuration of one process.
    pub(crate) fn new(flags: &Flags, error_code: bool, driver: &str, can: Capabilities) -> Self {
        Self {
            driver: driver.into(),
            finalizer: finalizer(driver).into(),
            timeout: flags.timeout,
            backoff: Backoff { base: flags.retry_interval_start, max: flags.retry_interval_max },
            workers: flags.worker_threads as usize,
            resync: flags.resync,
            reconcile_sync: flags.reconcile_sync,
            max_entries: flags.max_entries,
            default_fs: flags.default_fstype.as_str().into(),
            error_code,
            can,
        }
    }

    /// What decisions about attachments depend on.
    pub(crate) fn role(&self) -> Role<'_> {
        Role { finalizer: &self.finalizer, attach: self.can.attach }
    }

    /// How attaches and detaches share the workers. `--worker-threads` bounds both together. One kind never takes the
    /// last tenth (at least one worker), so that the other can always begin. One node gets a quarter while others wait.
    ///
    /// `Differs:` upstream has one list, in which the oldest work can occupy all workers. A withdrawal, which follows only
    /// a forced removal, is done by workers beyond these: see [`Config::withdrawers`].
    pub(crate) fn limits(&self) -> Limits {
        let kept = if self.workers > 1 { self.workers.div_ceil(10) } else { 0 };
        Limits { lanes: 2, per_lane: self.workers - kept, per_group: self.workers.div_ceil(4) }
    }

    /// How many volumes are withdrawn at once, beside the attaches and detaches: a quarter of `--worker-threads`.
    pub(crate) fn withdrawers(&self) -> usize {
        self.workers.div_ceil(4)
    }
}

/// The attacher's finalizer for a driver, such as `external-attacher/rbd-csi-ceph-com`.
pub fn finalizer(driver: &str) -> String {
    format!("{ATTACHER_FINALIZER}{}", sanitize_driver_name(driver))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::config;

    #[test]
    fn finalizers_are_named_as_upstreams() {
        for (driver, expected) in [
            ("rbd.csi.ceph.com", "external-attacher/rbd-csi-ceph-com"),
            ("csi/test", "external-attacher/csi-test"),
            ("csi-test", "external-attacher/csi-test"),
            ("Upper_Case.1", "external-attacher/Upper-Case-1"),
            ("ends.", "external-attacher/ends-X"),
        ] {
            assert_eq!(finalizer(driver), expected);
        }
    }

    #[test]
    fn without_controller_or_publish_there_is_nothing_to_call() {
        use csi::v1;
        let plugin = |services: &[Service]| PluginCapabilities {
            services: services.iter().copied().collect(),
            ..Default::default()
        };
        let controller = |rpcs: &[Rpc]| rpcs.iter().copied().collect::<ControllerCapabilities>();
        let lists = [Rpc::PublishUnpublishVolume, Rpc::ListVolumes, Rpc::ListVolumesPublishedNodes];
        for (services, rpcs, attach, lists_nodes) in [
            (&[][..], &[][..], false, false),
            (&[], &lists, false, false),
            (
                &[Service::ControllerService],
                &[Rpc::ListVolumes, Rpc::ListVolumesPublishedNodes],
                false,
                false,
            ),
            (&[Service::ControllerService], &[Rpc::PublishUnpublishVolume], true, false),
            (&[Service::ControllerService], &[Rpc::PublishUnpublishVolume, Rpc::ListVolumes], true, false),
            (&[Service::ControllerService], &lists, true, true),
        ] {
            let can = Capabilities::new(&plugin(services), controller(rpcs));
            assert_eq!((can.attach, can.lists_nodes), (attach, lists_nodes), "{services:?} {rpcs:?}");
        }
        let nothing = v1::GetPluginCapabilitiesResponse::default();
        assert_eq!(
            Capabilities::new(&(&nothing).into(), ControllerCapabilities::default()),
            Capabilities::default()
        );
    }

    #[test]
    fn one_kind_and_one_node_never_hold_all_workers() {
        for (workers, per_lane, per_group) in [(1, 1, 1), (2, 1, 1), (4, 3, 1), (10, 9, 3), (100, 90, 25)] {
            let limits = Config { workers, ..config() }.limits();
            assert_eq!((limits.per_lane, limits.per_group), (per_lane, per_group), "{workers}");
        }
    }
}
