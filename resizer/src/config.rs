//! The resizer's configuration: the flags, and what the driver and the cluster can do.

use std::time::Duration;

use base::queue::Backoff;
use csi::capability::{ControllerCapabilities, NodeCapabilities};
use csi::v1::controller_service_capability::rpc::Type as Rpc;
use csi::v1::node_service_capability::rpc::Type as NodeRpc;
use translation::Plugins;

use crate::flags::{Flags, Timeouts};

/// What decisions depend on, beside the objects.
#[derive(Debug, Clone)]
pub struct Config {
    /// The driver's name.
    pub driver: Box<str>,
    /// Longest time for one ControllerExpandVolume.
    pub expand_timeout: Duration,
    /// Longest time for one ControllerModifyVolume.
    pub modify_timeout: Duration,
    /// Back-off of claims. After an infeasible request, the pause is the longest at once.
    pub backoff: Backoff,
    /// How many volumes are expanded at once, and how many are modified at once.
    pub workers: usize,
    /// Pause between resyncs; zero turns them off.
    pub resync: Duration,
    /// Whether pods are looked at while the driver says that a volume is in use.
    pub looks_at_pods: bool,
    /// Whether ControllerModifyVolume is told the names of claim and volume.
    pub extra_modify_metadata: bool,
    /// Whether a volume remembers the size before an expansion that the node has to finish.
    pub annotate: bool,
    /// The in-tree plugins whose volumes are translated.
    pub plugins: Plugins,
    /// The version in which the cluster serves VolumeAttributesClasses; `None` if nothing is modified.
    pub classes: Option<&'static str>,
    /// The driver's capabilities.
    pub can: Capabilities,
}

/// The driver's capabilities that resizing asks about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Who expands volumes; `None` if nobody can.
    pub expansion: Option<Expansion>,
    /// It modifies volumes.
    pub modify: bool,
    /// It tells SINGLE_NODE_MULTI_WRITER from SINGLE_NODE_SINGLE_WRITER.
    pub single_node_multi_writer: bool,
}

/// Who expands volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expansion {
    /// The driver's controller, and then the node if the driver says so.
    Controller,
    /// The node alone: there is no call to the driver.
    Node,
}

impl Capabilities {
    /// From the driver's answers. Its node is asked only if the controller does not expand.
    pub(crate) fn new(controller: ControllerCapabilities, node: NodeCapabilities) -> Self {
        let expansion = if controller.has(Rpc::ExpandVolume) {
            Some(Expansion::Controller)
        } else {
            node.has(NodeRpc::ExpandVolume).then_some(Expansion::Node)
        };
        Self {
            expansion,
            modify: controller.has(Rpc::ModifyVolume),
            single_node_multi_writer: controller.has(Rpc::SingleNodeMultiWriter),
        }
    }

    /// Whether there is anything to do for this driver.
    pub(crate) fn is_useful(self) -> bool {
        self.expansion.is_some() || self.modify
    }
}

/// The gates, and what the cluster serves for them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gates {
    /// `AnnotateFsResize`.
    pub(crate) annotate: bool,
    /// What `CSIMigrationRBD` says.
    pub(crate) plugins: Plugins,
    /// The version of VolumeAttributesClasses, if the gate is on and they are served.
    pub(crate) classes: Option<&'static str>,
}

impl Config {
    /// The configuration of one process.
    pub(crate) fn new(
        flags: &Flags,
        timeouts: Timeouts,
        gates: Gates,
        driver: &str,
        can: Capabilities,
    ) -> Self {
        Self {
            driver: driver.into(),
            expand_timeout: timeouts.expand,
            modify_timeout: timeouts.modify,
            backoff: Backoff { base: flags.retry_interval_start, max: flags.retry_interval_max },
            workers: flags.workers as usize,
            resync: flags.resync_period,
            looks_at_pods: flags.handle_in_use,
            extra_modify_metadata: flags.extra_modify_metadata,
            annotate: gates.annotate,
            plugins: gates.plugins,
            classes: gates.classes.filter(|_| can.modify),
            can,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_expands_only_if_the_controller_does_not() {
        for (controller, node, expansion, modify) in [
            (&[Rpc::ExpandVolume][..], &[][..], Some(Expansion::Controller), false),
            (
                &[Rpc::ExpandVolume, Rpc::ModifyVolume],
                &[NodeRpc::ExpandVolume],
                Some(Expansion::Controller),
                true,
            ),
            (&[], &[NodeRpc::ExpandVolume], Some(Expansion::Node), false),
            (&[Rpc::ModifyVolume], &[], None, true),
            (&[Rpc::CreateDeleteVolume], &[NodeRpc::StageUnstageVolume], None, false),
        ] {
            let can = Capabilities::new(controller.iter().copied().collect(), node.iter().copied().collect());
            assert_eq!((can.expansion, can.modify), (expansion, modify), "{controller:?} {node:?}");
            assert_eq!(can.is_useful(), expansion.is_some() || modify);
        }
    }
}
