//! ControllerExpandVolume and ControllerModifyVolume.

use csi::v1;

use crate::backend::Item;
use crate::check;
use crate::controller::create::whole_sectors;
use crate::lock::Key;
use crate::plugin::Plugin;
use crate::refusal::Refusal;
use crate::store::{Access, Volume};

impl Plugin {
    /// Makes a volume larger; one that is large enough stays as it is.
    ///
    /// Differs: the Go driver neither grows a device's file nor counts the growth against its pool.
    ///
    /// # Errors
    /// UNIMPLEMENTED when expansion is off; INVALID_ARGUMENT for a bad field; NOT_FOUND; OUT_OF_RANGE
    /// above the largest size; RESOURCE_EXHAUSTED when the pool is full; FAILED_PRECONDITION while the volume is published, with
    /// `--disable-online-expansion`.
    pub fn expand_volume(
        &self,
        request: v1::ControllerExpandVolumeRequest,
    ) -> Result<v1::ControllerExpandVolumeResponse, Refusal> {
        if !self.options.expansion {
            return Err(Refusal::Unimplemented("ControllerExpandVolume"));
        }
        let range = check::expansion(&request)?;
        let max = self.options.max_size;
        if range.required_bytes > max {
            let asked = range.required_bytes;
            return Err(Refusal::Size(format!("{asked} bytes are asked for, the largest volume has {max}")));
        }
        let _record = self.locks.alone(Key::Volume(request.volume_id.clone()))?;
        let _content = self.locks.alone(Key::Content(request.volume_id.clone()))?;
        let volume = self.store.volume(&request.volume_id)?;
        if range.limit_bytes > 0 && volume.size > range.limit_bytes {
            let (size, limit) = (volume.size, range.limit_bytes);
            return Err(Refusal::Size(format!(
                "the volume has {size} bytes already, at most {limit} are asked for"
            )));
        }
        let size = self.grown_size(&volume, &range)?;
        if volume.size < size {
            if !self.options.online_expansion && !volume.published.is_empty() {
                return Err(Refusal::WrongState(
                    "the volume is published: it grows only while it is not".to_owned(),
                ));
            }
            self.grow(&volume, size)?;
        }
        let node_expansion_required = self.options.node_expansion;
        if !node_expansion_required {
            // Nobody will call the node: its devices must learn of it here.
            self.backend
                .refresh(&Item::from(&*volume))
                .map_err(Refusal::system("cannot resize the device"))?;
        }
        Ok(v1::ControllerExpandVolumeResponse { capacity_bytes: size, node_expansion_required })
    }

    /// The size a volume has after an expansion: devices consist of whole sectors, as at their creation.
    pub(crate) fn grown_size(&self, volume: &Volume, range: &v1::CapacityRange) -> Result<i64, Refusal> {
        if range.required_bytes <= volume.size || volume.access == Access::Mount {
            return Ok(range.required_bytes.max(volume.size));
        }
        let max = self.options.max_size;
        whole_sectors(
            range.required_bytes,
            if range.limit_bytes == 0 { max } else { range.limit_bytes.min(max) },
        )
    }

    /// Makes content and record larger. The caller holds the volume's locks.
    pub(crate) fn grow(&self, volume: &Volume, size: i64) -> Result<(), Refusal> {
        let pool = (!volume.pool.is_empty()).then_some(&volume.pool);
        let more = size - volume.size;
        if let Some(capacity) = pool.and_then(|pool| self.options.capacity.get(pool)) {
            self.store.read().reserve(&volume.pool, more, *capacity)?;
        }
        let outcome = self
            .backend
            .grow(&Item::from(volume), u64::try_from(size).unwrap_or(0))
            .map_err(Refusal::system("cannot grow the volume"))
            .and_then(|()| self.store.update(&volume.id, |volume| volume.size = size));
        if pool.is_some_and(|pool| self.options.capacity.contains_key(pool)) {
            self.store.read().release(&volume.pool, more);
        }
        outcome
    }

    /// Sets mutable parameters, all or none; those not named stay.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field, an unknown parameter, or when modifying is off; NOT_FOUND.
    pub fn modify_volume(
        &self,
        request: v1::ControllerModifyVolumeRequest,
    ) -> Result<v1::ControllerModifyVolumeResponse, Refusal> {
        if !self.options.modify {
            return Err(Refusal::Unsupported("ControllerModifyVolume"));
        }
        check::required("volume_id", &request.volume_id)?;
        check::secrets(&request.secrets)?;
        if request.mutable_parameters.is_empty() {
            return Err(Refusal::Missing("mutable_parameters"));
        }
        self.check_mutable(&request.mutable_parameters)?;
        let _record = self.locks.alone(Key::Volume(request.volume_id.clone()))?;
        let volume = self.store.volume(&request.volume_id)?;
        let mut mutable = volume.mutable.clone();
        mutable.extend(request.mutable_parameters);
        if mutable != volume.mutable {
            check::map("mutable_parameters", &mutable)?;
            self.store.update(&volume.id, |volume| volume.mutable = mutable)?;
        }
        Ok(v1::ControllerModifyVolumeResponse {})
    }
}
