//! Sets of the capabilities that a driver reports.
//!
//! Entries without a type, of a kind other than expected, or of a type this version does not know are
//! skipped (docs/upstream/conventions.md, "Identity calls"): a newer driver must keep working with an
//! older sidecar.

use super::v1;
use v1::controller_service_capability as controller;
use v1::group_controller_service_capability as group;
use v1::node_service_capability as node;
use v1::plugin_capability as plugin;

/// Declares one set type over the values of one capability enum.
macro_rules! capability_set {
    ($(#[$doc:meta])* $name:ident, $kind:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $name(u64);

        impl $name {
            /// Whether the driver advertises this.
            pub fn has(self, kind: $kind) -> bool {
                self.0 & bit(kind as i32) != 0
            }

            /// Whether the driver advertises nothing at all.
            pub fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// The names of all, as in the protocol file.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                let kinds = (1..64).filter_map(|number| <$kind>::try_from(number).ok());
                kinds.filter(move |kind| self.has(*kind)).map(|kind| kind.as_str_name())
            }

            fn of_numbers(numbers: impl Iterator<Item = i32>) -> Self {
                numbers.filter_map(|number| <$kind>::try_from(number).ok()).collect()
            }
        }

        impl FromIterator<$kind> for $name {
            fn from_iter<I: IntoIterator<Item = $kind>>(kinds: I) -> Self {
                Self(kinds.into_iter().fold(0, |bits, kind| bits | bit(kind as i32)))
            }
        }
    };
}

/// The bit for an enum value. 0 (UNKNOWN) and values that do not fit have none.
fn bit(number: i32) -> u64 {
    u32::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .and_then(|number| 1_u64.checked_shl(number))
        .unwrap_or(0)
}

capability_set! {
    /// Services of a plugin (GetPluginCapabilities, service entries).
    PluginServices, plugin::service::Type
}

capability_set! {
    /// When volumes may grow (GetPluginCapabilities, volume expansion entries).
    ExpansionModes, plugin::volume_expansion::Type
}

capability_set! {
    /// Features of the Controller service (ControllerGetCapabilities).
    ControllerCapabilities, controller::rpc::Type
}

capability_set! {
    /// Features of the Node service (NodeGetCapabilities).
    NodeCapabilities, node::rpc::Type
}

capability_set! {
    /// Features of the GroupController service (GroupControllerGetCapabilities).
    GroupCapabilities, group::rpc::Type
}

/// What GetPluginCapabilities answers: two sets in one list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PluginCapabilities {
    /// Services and service-wide properties.
    pub services: PluginServices,
    /// When volumes may grow.
    pub expansion: ExpansionModes,
}

impl PluginCapabilities {
    /// Whether the plugin advertises this service.
    pub fn has(self, service: plugin::service::Type) -> bool {
        self.services.has(service)
    }
}

impl From<&v1::GetPluginCapabilitiesResponse> for PluginCapabilities {
    fn from(reply: &v1::GetPluginCapabilitiesResponse) -> Self {
        let kinds = || reply.capabilities.iter().filter_map(|entry| entry.r#type.as_ref());
        Self {
            services: PluginServices::of_numbers(kinds().filter_map(|kind| match kind {
                plugin::Type::Service(service) => Some(service.r#type),
                plugin::Type::VolumeExpansion(_) => None,
            })),
            expansion: ExpansionModes::of_numbers(kinds().filter_map(|kind| match kind {
                plugin::Type::VolumeExpansion(mode) => Some(mode.r#type),
                plugin::Type::Service(_) => None,
            })),
        }
    }
}

impl From<&v1::ControllerGetCapabilitiesResponse> for ControllerCapabilities {
    fn from(reply: &v1::ControllerGetCapabilitiesResponse) -> Self {
        Self::of_numbers(reply.capabilities.iter().filter_map(|entry| {
            let controller::Type::Rpc(rpc) = entry.r#type.as_ref()?;
            Some(rpc.r#type)
        }))
    }
}

impl From<&v1::NodeGetCapabilitiesResponse> for NodeCapabilities {
    fn from(reply: &v1::NodeGetCapabilitiesResponse) -> Self {
        Self::of_numbers(reply.capabilities.iter().filter_map(|entry| {
            let node::Type::Rpc(rpc) = entry.r#type.as_ref()?;
            Some(rpc.r#type)
        }))
    }
}

impl From<&v1::GroupControllerGetCapabilitiesResponse> for GroupCapabilities {
    fn from(reply: &v1::GroupControllerGetCapabilitiesResponse) -> Self {
        Self::of_numbers(reply.capabilities.iter().filter_map(|entry| {
            let group::Type::Rpc(rpc) = entry.r#type.as_ref()?;
            Some(rpc.r#type)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rpc(number: i32) -> v1::ControllerServiceCapability {
        let rpc = controller::Rpc { r#type: number };
        v1::ControllerServiceCapability { r#type: Some(controller::Type::Rpc(rpc)) }
    }

    #[test]
    fn controller_set_skips_empty_and_unknown_entries() {
        use controller::rpc::Type;
        let reply = v1::ControllerGetCapabilitiesResponse {
            capabilities: vec![
                rpc(Type::CreateDeleteVolume as i32),
                v1::ControllerServiceCapability { r#type: None },
                rpc(0),
                rpc(99),
                rpc(-1),
                rpc(Type::GetSnapshot as i32),
            ],
        };
        let set = ControllerCapabilities::from(&reply);
        let expected = [Type::CreateDeleteVolume, Type::GetSnapshot].into_iter().collect();
        assert_eq!(set, expected);
        assert!(set.has(Type::GetSnapshot));
        assert_eq!(set.names().collect::<Vec<_>>(), ["CREATE_DELETE_VOLUME", "GET_SNAPSHOT"]);
        assert!(!set.has(Type::Unknown) && !set.has(Type::ListVolumes));
        assert!(ControllerCapabilities::default().is_empty());
    }

    #[test]
    fn a_1_12_drivers_volume_condition_is_ignored() {
        use controller::rpc::Type;
        let reply = v1::ControllerGetCapabilitiesResponse { capabilities: vec![rpc(3), rpc(11), rpc(12)] };
        let set = ControllerCapabilities::from(&reply);
        assert_eq!(set, [Type::ListVolumes, Type::GetVolume].into_iter().collect());
        let node = |number| {
            let rpc = node::Rpc { r#type: number };
            v1::NodeServiceCapability { r#type: Some(node::Type::Rpc(rpc)) }
        };
        let told = v1::NodeGetCapabilitiesResponse { capabilities: vec![node(4), node(2)] };
        assert_eq!(NodeCapabilities::from(&told), [node::rpc::Type::GetVolumeStats].into_iter().collect());
        // In logs they are numbers.
        assert_eq!(crate::redacted(&rpc(11)), r#"{"rpc":{"type":11}}"#);
        assert_eq!(crate::redacted(&node(4)), r#"{"rpc":{"type":4}}"#);
    }

    #[test]
    fn plugin_set_keeps_services_and_expansion_apart() {
        use plugin::service::Type as Service;
        use plugin::volume_expansion::Type as Mode;
        let entry = |kind| v1::PluginCapability { r#type: kind };
        let reply = v1::GetPluginCapabilitiesResponse {
            capabilities: vec![
                entry(None),
                entry(Some(plugin::Type::Service(plugin::Service { r#type: 2 }))),
                entry(Some(plugin::Type::VolumeExpansion(plugin::VolumeExpansion { r#type: 1 }))),
            ],
        };
        let set = PluginCapabilities::from(&reply);
        assert!(set.has(Service::VolumeAccessibilityConstraints));
        assert!(!set.has(Service::ControllerService));
        assert!(set.expansion.has(Mode::Online) && !set.expansion.has(Mode::Offline));
    }

    #[test]
    fn node_and_group_sets_skip_empty_entries() {
        let rpc = node::Rpc { r#type: 1 };
        let reply = v1::NodeGetCapabilitiesResponse {
            capabilities: vec![
                v1::NodeServiceCapability { r#type: None },
                v1::NodeServiceCapability { r#type: Some(node::Type::Rpc(rpc)) },
            ],
        };
        let set = NodeCapabilities::from(&reply);
        assert_eq!(set, [node::rpc::Type::StageUnstageVolume].into_iter().collect());
        let reply = v1::GroupControllerGetCapabilitiesResponse {
            capabilities: vec![v1::GroupControllerServiceCapability { r#type: None }],
        };
        assert!(GroupCapabilities::from(&reply).is_empty());
    }
}
