//! Which calls the driver for images serves.

use csi::v1;

use crate::operations::Operations;
use crate::rbd::driver::Rbd;
use crate::refusal::Refusal;

impl Operations for Rbd {
    fn get_plugin_info(&self) -> v1::GetPluginInfoResponse {
        self.plugin_info()
    }

    fn get_plugin_capabilities(&self) -> v1::GetPluginCapabilitiesResponse {
        self.plugin_capabilities()
    }

    fn controller_get_capabilities(&self) -> v1::ControllerGetCapabilitiesResponse {
        self.controller_capabilities()
    }

    fn create_volume(&self, request: v1::CreateVolumeRequest) -> Result<v1::CreateVolumeResponse, Refusal> {
        self.after(Self::create_volume(self, request))
    }

    fn delete_volume(&self, request: v1::DeleteVolumeRequest) -> Result<v1::DeleteVolumeResponse, Refusal> {
        self.after(Self::delete_volume(self, request))
    }

    fn validate_volume_capabilities(
        &self,
        request: v1::ValidateVolumeCapabilitiesRequest,
    ) -> Result<v1::ValidateVolumeCapabilitiesResponse, Refusal> {
        self.after(self.validate(request))
    }

    fn list_volumes(&self, request: v1::ListVolumesRequest) -> Result<v1::ListVolumesResponse, Refusal> {
        self.after(Self::list_volumes(self, request))
    }

    fn get_capacity(&self, request: v1::GetCapacityRequest) -> Result<v1::GetCapacityResponse, Refusal> {
        self.after(self.capacity(request))
    }

    fn create_snapshot(
        &self,
        request: v1::CreateSnapshotRequest,
    ) -> Result<v1::CreateSnapshotResponse, Refusal> {
        self.after(Self::create_snapshot(self, request))
    }

    fn delete_snapshot(
        &self,
        request: v1::DeleteSnapshotRequest,
    ) -> Result<v1::DeleteSnapshotResponse, Refusal> {
        self.after(Self::delete_snapshot(self, request))
    }

    fn controller_expand_volume(
        &self,
        request: v1::ControllerExpandVolumeRequest,
    ) -> Result<v1::ControllerExpandVolumeResponse, Refusal> {
        self.after(self.expand_volume(request))
    }

    fn node_get_capabilities(&self) -> v1::NodeGetCapabilitiesResponse {
        self.node_capabilities()
    }

    fn node_get_info(&self) -> v1::NodeGetInfoResponse {
        self.node_info()
    }

    fn node_stage_volume(
        &self,
        request: v1::NodeStageVolumeRequest,
    ) -> Result<v1::NodeStageVolumeResponse, Refusal> {
        self.in_time("stage", |rbd| rbd.stage(request))
    }

    fn node_unstage_volume(
        &self,
        request: v1::NodeUnstageVolumeRequest,
    ) -> Result<v1::NodeUnstageVolumeResponse, Refusal> {
        self.in_time("unstage", |rbd| rbd.unstage(request))
    }

    fn node_publish_volume(
        &self,
        request: v1::NodePublishVolumeRequest,
    ) -> Result<v1::NodePublishVolumeResponse, Refusal> {
        self.in_time("publish", |rbd| rbd.publish(request))
    }

    fn node_unpublish_volume(
        &self,
        request: v1::NodeUnpublishVolumeRequest,
    ) -> Result<v1::NodeUnpublishVolumeResponse, Refusal> {
        self.in_time("unpublish", |rbd| rbd.unpublish(request))
    }

    fn node_get_volume_stats(
        &self,
        request: v1::NodeGetVolumeStatsRequest,
    ) -> Result<v1::NodeGetVolumeStatsResponse, Refusal> {
        self.stats(request)
    }

    fn node_expand_volume(
        &self,
        request: v1::NodeExpandVolumeRequest,
    ) -> Result<v1::NodeExpandVolumeResponse, Refusal> {
        self.in_time("expand", |rbd| rbd.expand_on_node(request))
    }
}
