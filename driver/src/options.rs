//! What the command line decides.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use csi::Endpoint;

/// How snapshot metadata describes runs of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockType {
    /// One entry per block.
    Fixed,
    /// Neighbours are merged within a message.
    Variable,
}

/// The driver's settings; [`crate::flags`] lists the flags behind them.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen.
    pub endpoint: Endpoint,
    /// The driver's name.
    pub name: String,
    /// This node's id and topology value.
    pub node_id: String,
    /// Where content and state live.
    pub state_folder: PathBuf,
    /// Reported by NodeGetInfo.
    pub max_volumes: i64,
    /// Above 0: reported instead, and enforced; -1: a random number is reported.
    pub attach_limit: i64,
    /// Attaching is served.
    pub attach: bool,
    /// Bytes per capacity pool; empty: no pools.
    pub capacity: BTreeMap<String, i64>,
    /// Largest volume in bytes.
    pub max_size: i64,
    /// Largest volume in bytes that NodeExpandVolume takes.
    pub max_size_node: i64,
    /// Topology is told.
    pub topology: bool,
    /// Both expand RPCs are served.
    pub expansion: bool,
    /// EXPAND_VOLUME is advertised by the controller.
    pub controller_expansion: bool,
    /// EXPAND_VOLUME is advertised by the node, and needed after the controller's.
    pub node_expansion: bool,
    /// Volumes can grow while they are published.
    pub online_expansion: bool,
    /// ControllerModifyVolume is served.
    pub modify: bool,
    /// Mutable parameters that are accepted; empty: all.
    pub mutable_names: BTreeSet<String>,
    /// LIST_SNAPSHOTS is advertised.
    pub list_snapshots: bool,
    /// The SnapshotMetadata service is served.
    pub metadata: bool,
    /// The form of its answers.
    pub block_type: BlockType,
    /// What is still in use cannot be removed, and nothing is published unstaged.
    pub strict: bool,
    /// Every publish is of an inline volume; no controller.
    pub ephemeral: bool,
    /// Capabilities not to advertise, by their names in the protocol.
    pub hidden: BTreeSet<String>,
    /// Block volumes take space when they are written.
    pub sparse: bool,
    /// Folders below which volumes may be staged and published; empty: anywhere.
    pub target_roots: Vec<PathBuf>,
}

/// The topology key of this driver.
pub const TOPOLOGY_KEY: &str = "topology.hostpath.csi/node";

impl Options {
    /// A driver that does everything, for tests.
    pub fn for_tests(state_folder: PathBuf) -> Self {
        Self {
            endpoint: Endpoint::Unix(state_folder.join("csi.sock")),
            name: "hostpath.csi.k8s.io".to_owned(),
            node_id: "node-1".to_owned(),
            state_folder,
            max_volumes: 0,
            attach_limit: 0,
            attach: false,
            capacity: BTreeMap::new(),
            max_size: 1 << 40,
            max_size_node: 1 << 40,
            topology: true,
            expansion: true,
            controller_expansion: true,
            node_expansion: true,
            online_expansion: true,
            modify: true,
            mutable_names: BTreeSet::new(),
            list_snapshots: true,
            metadata: true,
            block_type: BlockType::Fixed,
            strict: false,
            ephemeral: false,
            hidden: BTreeSet::new(),
            sparse: false,
            target_roots: Vec::new(),
        }
    }

    /// This node's topology as that of its snapshots, if it is told and SNAPSHOT_ACCESSIBILITY_CONSTRAINTS is advertised.
    pub fn snapshot_topology(&self) -> Option<csi::v1::Topology> {
        let capability = csi::v1::plugin_capability::service::Type::SnapshotAccessibilityConstraints;
        self.topology().filter(|_| !self.hidden.contains(capability.as_str_name()))
    }

    /// This node's topology, if it is told.
    pub fn topology(&self) -> Option<csi::v1::Topology> {
        self.topology.then(|| csi::v1::Topology {
            segments: BTreeMap::from([(TOPOLOGY_KEY.to_owned(), self.node_id.clone())]),
        })
    }
}
