//! The calls that the services serve, as plain functions: what a driver is to the gRPC edge.
//!
//! A driver implements what it has. Everything else answers UNIMPLEMENTED, and must not be advertised.

use csi::v1;

use crate::plugin::Plugin;
use crate::refusal::Refusal;

/// Declares the trait, and implements it for the hostpath driver: `=` may block, `=>` answers at once.
macro_rules! operations {
    (
        at once { $( $quick:ident ( ) -> $answer:ident = $plain:ident; )* }
        may block { $( $name:ident ( $request:ident ) -> $reply:ident = $operation:ident; )* }
    ) => {
        /// A driver without its gRPC server. The specification says what each call is for.
        pub trait Operations: Send + Sync + 'static {
            $(
                /// Never blocks. What a driver does not serve is empty.
                fn $quick(&self) -> v1::$answer {
                    v1::$answer::default()
                }
            )*
            $(
                /// May block.
                ///
                /// # Errors
                /// [`Refusal`]; UNIMPLEMENTED where the driver does not have it.
                fn $name(&self, request: v1::$request) -> Result<v1::$reply, Refusal> {
                    let _ = request;
                    Err(Refusal::NotServed(<v1::$request as csi::Rpc>::METHOD))
                }
            )*
        }

        impl Operations for Plugin {
            $(
                fn $quick(&self) -> v1::$answer {
                    Plugin::$plain(self)
                }
            )*
            $(
                fn $name(&self, request: v1::$request) -> Result<v1::$reply, Refusal> {
                    Plugin::$operation(self, request)
                }
            )*
        }
    };
}

operations! {
    at once {
        get_plugin_info() -> GetPluginInfoResponse = plugin_info;
        get_plugin_capabilities() -> GetPluginCapabilitiesResponse = plugin_capabilities;
        controller_get_capabilities() -> ControllerGetCapabilitiesResponse = controller_capabilities;
        group_controller_get_capabilities() -> GroupControllerGetCapabilitiesResponse = group_capabilities;
        node_get_capabilities() -> NodeGetCapabilitiesResponse = node_capabilities;
        node_get_info() -> NodeGetInfoResponse = node_info;
        probe() -> ProbeResponse = probe;
    }
    may block {
        create_volume(CreateVolumeRequest) -> CreateVolumeResponse = create_volume;
        delete_volume(DeleteVolumeRequest) -> DeleteVolumeResponse = delete_volume;
        controller_publish_volume(ControllerPublishVolumeRequest) -> ControllerPublishVolumeResponse = attach;
        controller_unpublish_volume(ControllerUnpublishVolumeRequest) -> ControllerUnpublishVolumeResponse = detach;
        validate_volume_capabilities(ValidateVolumeCapabilitiesRequest) -> ValidateVolumeCapabilitiesResponse = validate;
        list_volumes(ListVolumesRequest) -> ListVolumesResponse = list_volumes;
        controller_list_volume_health(ControllerListVolumeHealthRequest) -> ControllerListVolumeHealthResponse
            = list_volume_health;
        controller_get_volume_health(ControllerGetVolumeHealthRequest) -> ControllerGetVolumeHealthResponse
            = get_volume_health;
        get_capacity(GetCapacityRequest) -> GetCapacityResponse = capacity;
        create_snapshot(CreateSnapshotRequest) -> CreateSnapshotResponse = create_snapshot;
        delete_snapshot(DeleteSnapshotRequest) -> DeleteSnapshotResponse = delete_snapshot;
        list_snapshots(ListSnapshotsRequest) -> ListSnapshotsResponse = list_snapshots;
        get_snapshot(GetSnapshotRequest) -> GetSnapshotResponse = get_snapshot;
        controller_expand_volume(ControllerExpandVolumeRequest) -> ControllerExpandVolumeResponse = expand_volume;
        controller_get_volume(ControllerGetVolumeRequest) -> ControllerGetVolumeResponse = get_volume;
        controller_modify_volume(ControllerModifyVolumeRequest) -> ControllerModifyVolumeResponse = modify_volume;
        create_volume_group_snapshot(CreateVolumeGroupSnapshotRequest) -> CreateVolumeGroupSnapshotResponse
            = create_group;
        delete_volume_group_snapshot(DeleteVolumeGroupSnapshotRequest) -> DeleteVolumeGroupSnapshotResponse
            = delete_group;
        get_volume_group_snapshot(GetVolumeGroupSnapshotRequest) -> GetVolumeGroupSnapshotResponse = get_group;
        node_stage_volume(NodeStageVolumeRequest) -> NodeStageVolumeResponse = stage;
        node_unstage_volume(NodeUnstageVolumeRequest) -> NodeUnstageVolumeResponse = unstage;
        node_publish_volume(NodePublishVolumeRequest) -> NodePublishVolumeResponse = publish;
        node_unpublish_volume(NodeUnpublishVolumeRequest) -> NodeUnpublishVolumeResponse = unpublish;
        node_get_volume_stats(NodeGetVolumeStatsRequest) -> NodeGetVolumeStatsResponse = stats;
        node_get_volume_health(NodeGetVolumeHealthRequest) -> NodeGetVolumeHealthResponse = node_volume_health;
        node_get_storage_health(NodeGetStorageHealthRequest) -> NodeGetStorageHealthResponse = storage_health;
        node_expand_volume(NodeExpandVolumeRequest) -> NodeExpandVolumeResponse = expand_on_node;
    }
}
