//! ControllerPublishVolume, ControllerUnpublishVolume, ValidateVolumeCapabilities.

use std::sync::PoisonError;

use csi::v1;

use super::common_access;
use crate::check;
use crate::lock::Key;
use crate::plugin::Plugin;
use crate::refusal::Refusal;

impl Plugin {
    /// Records that a volume is attached to this node.
    ///
    /// Differs: a read-only attachment is obeyed when the volume is published (PUBLISH_READONLY).
    ///
    /// # Errors
    /// UNIMPLEMENTED without `--enable-attach`; INVALID_ARGUMENT for a bad field; NOT_FOUND for another
    /// node or an unknown volume; ALREADY_EXISTS when it is attached with another `readonly`;
    /// RESOURCE_EXHAUSTED beyond `--attach-limit`.
    pub fn attach(
        &self,
        request: v1::ControllerPublishVolumeRequest,
    ) -> Result<v1::ControllerPublishVolumeResponse, Refusal> {
        self.serves_attach("ControllerPublishVolume")?;
        check::required("volume_id", &request.volume_id)?;
        if request.node_id.is_empty() {
            return Err(Refusal::Missing("node_id"));
        }
        check::node_id("node_id", &request.node_id)?;
        let capability = request.volume_capability.as_ref().ok_or(Refusal::Missing("volume_capability"))?;
        check::capability("volume_capability", capability)?;
        check::map("volume_context", &request.volume_context)?;
        check::secrets(&request.secrets)?;
        self.is_this_node(&request.node_id)?;
        let _record = self.locks.alone(Key::Volume(request.volume_id.clone()))?;
        let volume = self.store.volume(&request.volume_id)?;
        if let Some(readonly) = volume.attached {
            if readonly == request.readonly {
                return Ok(v1::ControllerPublishVolumeResponse::default());
            }
            let message = format!("volume {:?} is attached already, with readonly {readonly}", volume.id);
            return Err(Refusal::Clash(message));
        }
        if common_access(std::slice::from_ref(capability))? != volume.access {
            let reason = format!("volume {:?} is a {} volume", volume.id, volume.access.word());
            return Err(Refusal::invalid("volume_capability", reason));
        }
        let limit = usize::try_from(self.options.attach_limit).unwrap_or(0);
        let attach = || self.store.update(&volume.id, |volume| volume.attached = Some(request.readonly));
        if limit == 0 {
            attach()?;
        } else {
            let _counting = self.attaching.lock().unwrap_or_else(PoisonError::into_inner);
            if self.store.read().attached() >= limit {
                let node = &request.node_id;
                return Err(Refusal::Full(format!(
                    "node {node:?} has {limit} volumes attached, the most it takes"
                )));
            }
            attach()?;
        }
        Ok(v1::ControllerPublishVolumeResponse::default())
    }

    /// Records that a volume is no longer attached. Unknown and unattached ones are fine.
    ///
    /// # Errors
    /// UNIMPLEMENTED without `--enable-attach`; INVALID_ARGUMENT without a volume; NOT_FOUND for another
    /// node; INTERNAL under `--check-volume-lifecycle` while the volume is staged or published.
    pub fn detach(
        &self,
        request: v1::ControllerUnpublishVolumeRequest,
    ) -> Result<v1::ControllerUnpublishVolumeResponse, Refusal> {
        self.serves_attach("ControllerUnpublishVolume")?;
        check::required("volume_id", &request.volume_id)?;
        check::node_id("node_id", &request.node_id)?;
        check::secrets(&request.secrets)?;
        if !request.node_id.is_empty() {
            self.is_this_node(&request.node_id)?;
        }
        let _record = self.locks.alone(Key::Volume(request.volume_id.clone()))?;
        let found = self.store.read().volumes.get(&request.volume_id).cloned();
        let Some(volume) = found.filter(|volume| volume.attached.is_some()) else {
            return Ok(v1::ControllerUnpublishVolumeResponse {});
        };
        if !volume.staged.is_empty() || !volume.published.is_empty() {
            self.still_in_use(format!(
                "volume {:?} is still in use on node {:?}",
                volume.id, self.options.node_id
            ))?;
        }
        self.store.undo(&volume.id, |volume| volume.attached = None)?;
        Ok(v1::ControllerUnpublishVolumeResponse {})
    }

    /// Whether a volume can be used in these ways.
    ///
    /// Differs: the Go driver confirms everything, a device as a folder too.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field, NOT_FOUND for an unknown volume.
    pub fn validate(
        &self,
        request: v1::ValidateVolumeCapabilitiesRequest,
    ) -> Result<v1::ValidateVolumeCapabilitiesResponse, Refusal> {
        check::validation(&request)?;
        let volume = self.store.volume(&request.volume_id)?;
        let other = |capability: &&v1::VolumeCapability| {
            common_access(std::slice::from_ref(*capability)).is_ok_and(|access| access != volume.access)
        };
        if request.volume_capabilities.iter().find(other).is_some() {
            let message = format!("volume {:?} is a {} volume", volume.id, volume.access.word());
            return Ok(v1::ValidateVolumeCapabilitiesResponse { confirmed: None, message });
        }
        let confirmed = v1::validate_volume_capabilities_response::Confirmed {
            volume_context: request.volume_context,
            volume_capabilities: request.volume_capabilities,
            parameters: request.parameters,
            mutable_parameters: request.mutable_parameters,
        };
        Ok(v1::ValidateVolumeCapabilitiesResponse { confirmed: Some(confirmed), message: String::new() })
    }

    fn serves_attach(&self, what: &'static str) -> Result<(), Refusal> {
        if self.options.attach && !self.options.ephemeral {
            Ok(())
        } else {
            Err(Refusal::Unimplemented(what))
        }
    }

    fn is_this_node(&self, id: &str) -> Result<(), Refusal> {
        if id == self.options.node_id {
            return Ok(());
        }
        Err(Refusal::Unknown { kind: "node", id: id.to_owned() })
    }
}
