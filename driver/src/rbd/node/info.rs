//! What the node says of itself.

use csi::v1;
use v1::node_service_capability as capability;
use v1::node_service_capability::rpc::Type;

use crate::rbd::driver::Rbd;

impl Rbd {
    /// What the node's service advertises.
    pub(crate) fn node_capabilities(&self) -> v1::NodeGetCapabilitiesResponse {
        let mut kinds = vec![
            Type::StageUnstageVolume,
            Type::GetVolumeStats,
            Type::ExpandVolume,
            Type::SingleNodeMultiWriter,
        ];
        kinds.retain(|kind| !self.options.hidden.contains(kind.as_str_name()));
        let entry = |kind: Type| v1::NodeServiceCapability {
            r#type: Some(capability::Type::Rpc(capability::Rpc { r#type: kind as i32 })),
        };
        v1::NodeGetCapabilitiesResponse { capabilities: kinds.into_iter().map(entry).collect() }
    }

    /// This node's id.
    pub(crate) fn node_info(&self) -> v1::NodeGetInfoResponse {
        v1::NodeGetInfoResponse {
            node_id: self.options.node_id.clone(),
            max_volumes_per_node: 0,
            accessible_topology: None,
        }
    }
}
