//! What a provisioner has to know before it starts and no flag says: from environment variables, the driver and the API
//! server.

use std::time::Duration;

use base::flag::Parsed;
use csi::identity::{controller_capabilities, plugin_capabilities};
use csi::v1;
use kubernetes::object::AttributesVersion;
use process::StartError;

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

/// In which version VolumeAttributesClasses are read. `None` if the gate is off, or if it was not set and the API server
/// has no such kind.
///
/// `Differs:` upstream reads storage.k8s.io/v1 only. Where the API server serves only v1beta1, we read that.
pub(crate) async fn attributes_classes(parsed: &Parsed, client: &kube::Client) -> Option<AttributesVersion> {
    let (gates, gate) = (parsed.gates(), flags::VOLUME_ATTRIBUTES_CLASS);
    if !gates.is_enabled(gate) {
        return None;
    }
    let has = async |version: &str| {
        let found = client.list_api_group_resources(version).await;
        found.map(|list| list.resources.iter().any(|resource| resource.kind == gate))
    };
    match has("storage.k8s.io/v1").await {
        // Every API server that we support has this group, so a 404 is a proxy's. If we cannot tell, we do not ignore what
        // a claim asks for.
        Ok(true) | Err(_) => Some(AttributesVersion::V1),
        Ok(false) if matches!(has("storage.k8s.io/v1beta1").await, Ok(true)) => Some(AttributesVersion::Beta),
        Ok(false) => gates.is_set(gate).then_some(AttributesVersion::V1),
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
