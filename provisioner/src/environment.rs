//! What a provisioner has to know before it starts and no flag says: from environment variables, the driver and the API
//! server.

use std::time::Duration;

use base::flag::Parsed;
use csi::identity::{controller_capabilities, plugin_capabilities};
use csi::v1;
use kubernetes::object::AttributesVersion;
use process::{StartError, attributes_classes};

use crate::capacity::{CapacitySettings, owner};
use crate::flags::{self, FATAL, Flags};
use crate::node::{NodeSettings, label_with_node};

/// Says in capacity objects who made them.
const MANAGED_BY: &str = "external-provisioner";

/// An environment variable that a flag needs. Ends the process if it is not set.
fn variable(name: &str, flag: &str) -> String {
    let value = std::env::var(name).unwrap_or_default();
    if value.is_empty() {
        let why = format!("the environment variable {name} is not set");
        base::log::fatal(why, &format!("{flag} needs it: set it from the pod's fields"));
    }
    value
}

/// Asks the driver where this node is.
pub(crate) async fn node_settings(own: &Flags, driver: &csi::Client) -> Result<NodeSettings, StartError> {
    let name = variable("NODE_NAME", "--node-deployment").into();
    let info = driver.call(v1::NodeGetInfoRequest {}, own.timeout).await;
    let info =
        info.map_err(|status| StartError::Capabilities { cause: csi::grpc_text(&status), code: FATAL })?;
    Ok(NodeSettings {
        name,
        segments: info.accessible_topology.map(|topology| topology.segments).unwrap_or_default(),
        immediate: own.node_deployment_immediate_binding,
        base_delay: own.node_deployment_base_delay,
        max_delay: own.node_deployment_max_delay,
    })
}

/// Reads from the environment what the flags do not say. Ends the process if something is missing.
pub(crate) async fn capacity_settings(
    own: &Flags,
    node: Option<&NodeSettings>,
    client: &kube::Client,
) -> CapacitySettings {
    let namespace = variable("NAMESPACE", "--enable-capacity");
    let owner = match u32::try_from(own.capacity_ownerref_level) {
        Err(_) => None,
        Ok(level) => {
            match owner(client, &namespace, &variable("POD_NAME", "--capacity-ownerref-level"), level).await {
                Ok(owner) => Some(owner),
                Err(error) => base::log::fatal(error, "No owner of CSIStorageCapacity objects"),
            }
        }
    };
    let managed_by =
        node.map_or_else(|| MANAGED_BY.to_owned(), |node| label_with_node(MANAGED_BY, &node.name));
    CapacitySettings {
        namespace: namespace.into(),
        managed_by: managed_by.into(),
        owner,
        workers: own.capacity_threads as usize,
        poll: own.capacity_poll_interval,
        immediate: own.capacity_for_immediate_binding,
    }
}

/// In which version VolumeAttributesClasses are read. `None` if the gate is off, or if the cluster serves no such kind.
pub(crate) async fn attributes_version(parsed: &Parsed, client: &kube::Client) -> Option<AttributesVersion> {
    match parsed.gates().is_enabled(flags::VOLUME_ATTRIBUTES_CLASS) {
        true => attributes_classes(client).await,
        false => None,
    }
}

pub(crate) async fn capabilities(
    driver: &csi::Client,
    timeout: Duration,
) -> Result<process::Capabilities, StartError> {
    let failed =
        |status: tonic::Status| StartError::Capabilities { cause: csi::grpc_text(&status), code: FATAL };
    let plugin = plugin_capabilities(driver, timeout).await.map_err(failed)?;
    let controller = controller_capabilities(driver, timeout).await.map_err(failed)?;
    Ok((plugin, controller))
}
