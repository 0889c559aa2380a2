//! What the driver says of itself.

use std::collections::BTreeMap;
use std::time::Duration;

use csi::v1::{controller_service_capability, node_service_capability, plugin_capability};

/// How the driver presents itself.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name, as GetPluginInfo tells it.
    pub name: String,
    /// Plugin services.
    pub plugin: Vec<plugin_capability::service::Type>,
    /// Controller RPCs; one that is not here answers UNIMPLEMENTED.
    pub controller: Vec<controller_service_capability::rpc::Type>,
    /// Node RPCs.
    pub node: Vec<node_service_capability::rpc::Type>,
    /// The node id that NodeGetInfo tells.
    pub node_id: String,
    /// The topology segments that NodeGetInfo tells.
    pub node_topology: BTreeMap<String, String>,
    /// Whether ControllerExpandVolume says that the node must go on.
    pub node_expansion_required: bool,
    /// How long every call takes at least.
    pub latency: Duration,
    /// Whether it does what nobody could make up for if it did not. A call about a volume answers ABORTED while one whose
    /// caller has given up still goes on, so that this one has no effect after later calls. And CreateVolume answers with
    /// a final code only if there is no such volume.
    pub keeps_contract: bool,
}

impl Default for Settings {
    /// `driver.example`, with a controller that creates, deletes and publishes.
    fn default() -> Settings {
        use controller_service_capability::rpc::Type;
        Settings {
            name: "driver.example".to_owned(),
            plugin: vec![plugin_capability::service::Type::ControllerService],
            controller: vec![Type::CreateDeleteVolume, Type::PublishUnpublishVolume],
            node: Vec::new(),
            node_id: "node-1".to_owned(),
            node_topology: BTreeMap::new(),
            node_expansion_required: false,
            latency: Duration::from_millis(1),
            keeps_contract: false,
        }
    }
}
