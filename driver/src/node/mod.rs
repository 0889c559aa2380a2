//! The Node service's operations: volumes on this host.

mod health;
mod lost;
mod publish;
mod stage;
mod stats;
mod unpublish;

use csi::v1;
use v1::node_service_capability as capability;
use v1::node_service_capability::rpc::Type;

use crate::plugin::Plugin;

pub(crate) use csi::v1::volume_usage::Unit;
pub(crate) use stats::{folder_usage, usage};

impl Plugin {
    /// What this service advertises.
    pub fn node_capabilities(&self) -> v1::NodeGetCapabilitiesResponse {
        let options = &self.options;
        let mut kinds = vec![
            Type::StageUnstageVolume,
            Type::GetVolumeStats,
            Type::GetVolumeHealth,
            Type::GetStorageHealth,
            Type::SingleNodeMultiWriter,
        ];
        if options.expansion && options.node_expansion {
            kinds.push(Type::ExpandVolume);
        }
        kinds.retain(|kind| !options.hidden.contains(kind.as_str_name()));
        let entry = |kind: Type| v1::NodeServiceCapability {
            r#type: Some(capability::Type::Rpc(capability::Rpc { r#type: kind as i32 })),
        };
        v1::NodeGetCapabilitiesResponse { capabilities: kinds.into_iter().map(entry).collect() }
    }

    /// This node's id, how many volumes it takes, and where it is.
    pub fn node_info(&self) -> v1::NodeGetInfoResponse {
        let max_volumes_per_node = match self.options.attach_limit {
            0 => self.options.max_volumes,
            -1 => i64::from(uuid::Uuid::new_v4().as_bytes().first().copied().unwrap_or(0) % 10) + 1,
            limit => limit,
        };
        v1::NodeGetInfoResponse {
            node_id: self.options.node_id.clone(),
            max_volumes_per_node,
            accessible_topology: self.options.topology(),
        }
    }
}
