//! The provisioner's configuration: the flags, and what the driver can do.

use std::time::Duration;

use base::queue::Backoff;
use csi::capability::{ControllerCapabilities, PluginCapabilities};
use csi::v1::controller_service_capability::rpc::Type as Rpc;
use csi::v1::plugin_capability::service::Type as Service;
use kubernetes::object::{AttributesVersion, Claim};
use translation::Plugins;

use crate::capacity::CapacitySettings;
use crate::flags::Flags;
use crate::intent::place::Place;
use crate::migration::Names;
use crate::node::NodeSettings;

/// No pause is longer: upstream looks at each claim and volume anew so often, whatever `--retry-interval-max` says.
const RESYNC: Duration = Duration::from_secs(15 * 60);

/// What decisions depend on, beside the objects.
#[derive(Debug, Clone)]
pub struct Config {
    /// The driver's name.
    pub driver: Box<str>,
    /// Names this instance in `storage.kubernetes.io/csiProvisionerIdentity`.
    pub identity: Box<str>,
    /// Longest time for one call.
    pub timeout: Duration,
    /// Back-off of claims and volumes.
    pub backoff: Backoff,
    /// How many claims, and how many volumes, are worked on at once.
    pub workers: usize,
    /// How many deleted sources of clones are looked at at once.
    pub clone_workers: usize,
    /// What volume names begin with.
    pub prefix: Box<str>,
    /// Characters of the uid; `None` means the whole uid.
    pub uuid_length: Option<usize>,
    /// Used when a class names no file system.
    pub default_fs: Box<str>,
    /// Whether claim and volume names go into the parameters.
    pub extra_metadata: bool,
    /// Whether a volume is marked read-only if ReadOnlyMany is its only access mode.
    pub publish_read_only: bool,
    /// Whether a snapshot may be restored in another volume mode only if its content allows it.
    pub prevent_mode_conversion: bool,
    /// Longest pause until a snapshot that our finalizer could not be taken off is looked at again. `None`: finalizers that an
    /// earlier process left are not looked for.
    ///
    /// `Differs:` upstream looks at all snapshots once in each `--snapshot-orphan-sweep-interval`, and caches them. Ours are told
    /// by a watch, and only those that bear the finalizer are kept.
    pub snapshot_sweep: Option<Duration>,
    /// Whether a claim may name a source in another namespace, where a ReferenceGrant allows it.
    pub cross_namespace: bool,
    /// Whether the Topology gate is on.
    pub topology: bool,
    /// Whether a late-binding claim may be placed in the selected node's segment only.
    pub strict_topology: bool,
    /// Whether a claim without a selected node is placed anywhere in the cluster; otherwise the driver is told nothing.
    pub immediate_topology: bool,
    /// In which version VolumeAttributesClasses are read; `None` if their gate is off.
    pub attributes_classes: Option<AttributesVersion>,
    /// The node that the provisioner is for, if there is one on each node.
    pub node: Option<NodeSettings>,
    /// How capacities are published, if they are.
    pub capacity: Option<CapacitySettings>,
    /// The in-tree plugins whose classes and volumes are translated.
    pub plugins: Plugins,
    /// Where requests are written down before they are sent; `None`: nowhere.
    pub intents: Option<Place>,
    /// The driver's capabilities.
    pub can: Capabilities,
}

/// The driver's capabilities that provisioning asks about.
#[derive(Debug, Clone, Copy, Default)]
pub struct Capabilities {
    /// There is a controller service.
    pub controller: bool,
    /// It makes and deletes volumes.
    pub create_delete: bool,
    /// It attaches volumes: VolumeAttachments block deletion.
    pub publish: bool,
    /// It tells SINGLE_NODE_MULTI_WRITER from SINGLE_NODE_SINGLE_WRITER.
    pub single_node_multi_writer: bool,
    /// Not every node reaches every volume.
    pub topology: bool,
    /// It restores snapshots.
    pub snapshots: bool,
    /// It clones volumes.
    pub clones: bool,
    /// It modifies volumes.
    pub modify: bool,
}

impl Capabilities {
    /// Combines the answers of the two capability calls.
    pub(crate) fn new(plugin: &PluginCapabilities, controller: ControllerCapabilities) -> Self {
        Self {
            controller: plugin.has(Service::ControllerService),
            create_delete: controller.has(Rpc::CreateDeleteVolume),
            publish: controller.has(Rpc::PublishUnpublishVolume),
            single_node_multi_writer: controller.has(Rpc::SingleNodeMultiWriter),
            topology: plugin.has(Service::VolumeAccessibilityConstraints),
            snapshots: controller.has(Rpc::CreateDeleteSnapshot),
            clones: controller.has(Rpc::CloneVolume),
            modify: controller.has(Rpc::ModifyVolume),
        }
    }
}

impl Config {
    /// The configuration of one process.
    pub(crate) fn new(
        flags: &Flags,
        gates: Gates,
        driver: &str,
        identity: String,
        can: Capabilities,
    ) -> Self {
        Self {
            driver: driver.into(),
            identity: identity.into(),
            timeout: flags.timeout,
            backoff: Backoff { base: flags.retry_interval_start, max: flags.retry_interval_max.min(RESYNC) },
            workers: flags.worker_threads as usize,
            clone_workers: flags.cloning_protection_threads as usize,
            prefix: flags.volume_name_prefix.as_str().into(),
            uuid_length: usize::try_from(flags.volume_name_uuid_length).ok(),
            default_fs: flags.default_fstype.as_str().into(),
            extra_metadata: flags.extra_create_metadata,
            publish_read_only: flags.controller_publish_readonly,
            prevent_mode_conversion: flags.prevent_volume_mode_conversion,
            snapshot_sweep: Some(flags.snapshot_orphan_sweep_interval).filter(|interval| !interval.is_zero()),
            cross_namespace: gates.cross_namespace,
            topology: gates.topology,
            strict_topology: flags.strict_topology,
            immediate_topology: flags.immediate_topology,
            attributes_classes: gates.attributes_classes,
            node: None,
            capacity: None,
            plugins: gates.plugins,
            intents: None,
            can,
        }
    }

    /// What the driver goes by.
    pub(crate) fn names(&self) -> Names<'_> {
        Names { driver: &self.driver, in_tree: self.plugins.of_driver(&self.driver) }
    }

    /// Whether topology is used: the driver has it and the gate is on.
    pub(crate) fn uses_topology(&self) -> bool {
        self.topology && self.can.topology
    }

    /// Whether the claim names a VolumeAttributesClass that counts: its gate is on.
    pub(crate) fn names_attributes(&self, claim: &Claim) -> bool {
        self.attributes_classes.is_some() && !claim.attributes_class.is_empty()
    }
}

/// The feature gates that reach decisions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gates {
    /// `Topology`.
    pub(crate) topology: bool,
    /// `CrossNamespaceVolumeDataSource`.
    pub(crate) cross_namespace: bool,
    /// `VolumeAttributesClass`, already off when the cluster has no such kind.
    pub(crate) attributes_classes: Option<AttributesVersion>,
    /// What `CSIMigrationRBD` says.
    pub(crate) plugins: Plugins,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::parse;

    #[test]
    fn no_pause_is_longer_than_upstreams_resync() {
        let gates = Gates {
            topology: true,
            cross_namespace: false,
            attributes_classes: None,
            plugins: Plugins::default(),
        };
        for (minutes, pause) in [(5, 5), (30, 15)] {
            let args = vec![format!("--retry-interval-max={minutes}m")];
            let flags: Flags = parse("csi-provisioner", args).unwrap().read();
            let config = Config::new(&flags, gates, "d", String::new(), Capabilities::default());
            assert_eq!(config.backoff.max, Duration::from_secs(60 * pause));
        }
    }
}
