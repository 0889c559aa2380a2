//! ControllerExpandVolume.

use csi::v1;
use v1::volume_capability::AccessType;

use crate::check;
use crate::lock::Key;
use crate::rbd::credentials;
use crate::rbd::driver::Rbd;
use crate::rbd::error;
use crate::rbd::handle::Id;
use crate::rbd::image;
use crate::rbd::size;
use crate::refusal::Refusal;

impl Rbd {
    /// Makes an image larger. The node makes its file system larger; for a block volume nothing is left to do.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field; NOT_FOUND; OUT_OF_RANGE for an impossible size; ABORTED while it is worked on;
    /// UNAVAILABLE when Ceph does not answer.
    pub(crate) fn expand_volume(
        &self,
        request: v1::ControllerExpandVolumeRequest,
    ) -> Result<v1::ControllerExpandVolumeResponse, Refusal> {
        let range = check::expansion(&request)?;
        let unknown = || Refusal::no_volume(&request.volume_id);
        let id = Id::parse(&request.volume_id).ok_or_else(unknown)?;
        let who = credentials::of_secrets(&request.secrets)?;
        let _call = self.calls.take()?;
        let _content = self.locks.alone(Key::Content(request.volume_id.clone()))?;
        let (pool, name) = self.located(id, who)?.ok_or_else(unknown)?;
        let failed = || error::ceph(format!("cannot grow image {name:?}"));
        let present = image::look(&pool, &name)?.ok_or_else(unknown)?.size().map_err(failed())?;
        let wanted = size::size(&range)?;
        let limit = u64::try_from(range.limit_bytes).unwrap_or(0);
        if limit > 0 && present > limit {
            return Err(Refusal::Size(format!(
                "the volume has {present} bytes already, at most {limit} are asked for"
            )));
        }
        if !size::satisfies(present, &range) {
            image::open(&pool, &name)?.ok_or_else(unknown)?.grow(wanted).map_err(failed())?;
        }
        let is_block = request
            .volume_capability
            .as_ref()
            .is_some_and(|capability| matches!(capability.access_type, Some(AccessType::Block(_))));
        let bytes = if size::satisfies(present, &range) { present } else { wanted };
        Ok(v1::ControllerExpandVolumeResponse {
            capacity_bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
            node_expansion_required: !is_block,
        })
    }
}
