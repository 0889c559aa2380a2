//! The Identity and GroupController services' fixed answers.

use csi::v1;
use v1::group_controller_service_capability as group;
use v1::plugin_capability as plugin;
use v1::plugin_capability::service::Type;

use crate::plugin::Plugin;

impl Plugin {
    /// Name and version.
    pub fn plugin_info(&self) -> v1::GetPluginInfoResponse {
        v1::GetPluginInfoResponse {
            name: self.options.name.clone(),
            vendor_version: env!("CARGO_PKG_VERSION").to_owned(),
            manifest: Default::default(),
        }
    }

    /// Ready as soon as it listens.
    pub fn probe(&self) -> v1::ProbeResponse {
        v1::ProbeResponse::default()
    }

    /// Services, and whether topology matters.
    pub fn plugin_capabilities(&self) -> v1::GetPluginCapabilitiesResponse {
        let options = &self.options;
        let mut kinds = vec![Type::ControllerService, Type::GroupControllerService];
        if options.topology {
            kinds.extend([Type::VolumeAccessibilityConstraints, Type::SnapshotAccessibilityConstraints]);
        }
        if options.metadata {
            kinds.push(Type::SnapshotMetadataService);
        }
        kinds.retain(|kind| !options.hidden.contains(kind.as_str_name()));
        let entry = |kind: Type| v1::PluginCapability {
            r#type: Some(plugin::Type::Service(plugin::Service { r#type: kind as i32 })),
        };
        let offline = plugin::VolumeExpansion { r#type: plugin::volume_expansion::Type::Offline as i32 };
        let offline = v1::PluginCapability { r#type: Some(plugin::Type::VolumeExpansion(offline)) };
        let offline = (options.expansion && !options.online_expansion).then_some(offline);
        v1::GetPluginCapabilitiesResponse {
            capabilities: kinds.into_iter().map(entry).chain(offline).collect(),
        }
    }

    /// What the GroupController service advertises.
    pub fn group_capabilities(&self) -> v1::GroupControllerGetCapabilitiesResponse {
        let kind = group::rpc::Type::CreateDeleteGetVolumeGroupSnapshot;
        let rpc = group::Rpc { r#type: kind as i32 };
        let entry = v1::GroupControllerServiceCapability { r#type: Some(group::Type::Rpc(rpc)) };
        v1::GroupControllerGetCapabilitiesResponse { capabilities: vec![entry] }
    }
}
