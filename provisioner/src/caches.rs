//! What the provisioner sees of the cluster.

use std::sync::Arc;

use kubernetes::collection::Collection;
use kubernetes::object::{Claim, Class, Volume};
use kubernetes::store::Store;

use crate::capacity::Trigger;
use crate::topology::Nodes;

/// The caches that provisioning and deletion read.
#[derive(Clone)]
pub(crate) struct Caches {
    /// Claims that wait for us.
    pub(crate) claims: Arc<Store<Claim>>,
    /// Our classes.
    pub(crate) classes: Arc<Store<Class>>,
    /// Our volumes.
    pub(crate) volumes: Collection<Volume>,
    /// The nodes, if topology is used.
    pub(crate) nodes: Option<Nodes>,
    /// Who must know when volumes come and go.
    pub(crate) capacity: Trigger,
}
