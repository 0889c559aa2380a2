//! What the command line decides for this backend.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use csi::Endpoint;

use crate::rbd::node::MapperKind;

/// The driver's settings.
#[derive(Debug, Clone)]
pub struct RbdOptions {
    /// Where to listen.
    pub endpoint: Endpoint,
    /// The driver's name.
    pub name: String,
    /// This node's id.
    pub node_id: String,
    /// Capabilities not to advertise, by their names in the protocol.
    pub hidden: BTreeSet<String>,
    /// ceph-csi's configuration file.
    pub config: PathBuf,
    /// The journal's suffix.
    pub instance: String,
    /// The longest that one request to Ceph may take.
    pub patience: Duration,
    /// A mounted Secret with `userID` and `userKey`, for calls that carry no secrets.
    pub secret_folder: Option<PathBuf>,
    /// CreateVolume is served without a name.
    pub nameless: bool,
    /// How images become devices where the class does not say.
    pub(crate) mapper: MapperKind,
    /// Where rbd-fuse mounts.
    pub(crate) fuse_folder: PathBuf,
    /// Folders below which volumes may be staged and published; none: anywhere.
    pub target_roots: Vec<PathBuf>,
    /// A chain of clones as long as this is cut after the call.
    pub soft_depth: usize,
    /// A chain of clones as long as this is cut before anything is added to it.
    pub hard_depth: usize,
}
