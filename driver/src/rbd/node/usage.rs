//! NodeGetVolumeStats and NodeExpandVolume.

use std::path::Path;

use csi::v1;

use super::device::{self, At};
use crate::check;
use crate::filesystem::{self, Found};
use crate::lock::Key;
use crate::node::{Unit, folder_usage, usage};
use crate::rbd::driver::Rbd;
use crate::refusal::Refusal;

impl Rbd {
    /// How full a volume is.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field; NOT_FOUND when no volume is at the path.
    pub(crate) fn stats(
        &self,
        request: v1::NodeGetVolumeStatsRequest,
    ) -> Result<v1::NodeGetVolumeStatsResponse, Refusal> {
        check::required("volume_id", &request.volume_id)?;
        let path = Path::new(&request.volume_path);
        let usage = match there(&request.volume_path)? {
            At::Folder(_) => folder_usage(path)?,
            At::Block(device) => {
                let size = device::size(&device);
                let size = size.map_err(Refusal::system(format!("cannot read {}", device.display())))?;
                vec![usage(Unit::Bytes, size, None, None)]
            }
        };
        Ok(v1::NodeGetVolumeStatsResponse { usage })
    }

    /// Lets the device and the file system on it use all of the image.
    ///
    /// Differs: ceph-csi does not look whether the device is as large as asked for; ours answers UNAVAILABLE until it is.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field; NOT_FOUND when no volume is at the path; ABORTED while it is worked on; UNAVAILABLE when
    /// the device is smaller than asked for; INTERNAL when the file system cannot be grown.
    pub(crate) fn expand_on_node(
        &self,
        request: v1::NodeExpandVolumeRequest,
    ) -> Result<v1::NodeExpandVolumeResponse, Refusal> {
        check::required("volume_id", &request.volume_id)?;
        check::secrets(&request.secrets)?;
        let range = request.capacity_range.unwrap_or_default();
        if request.capacity_range.is_some() {
            check::range(&range)?;
        }
        if let Some(capability) = &request.volume_capability {
            check::capability("volume_capability", capability)?;
        }
        let _volume = self.locks.alone(Key::Volume(request.volume_id.clone()))?;
        let at = there(&request.volume_path)?;
        let device = at.device();
        let cannot = || Refusal::system::<std::io::Error>(format!("cannot resize {}", device.display()));
        let mapper = if device::is_loop(device).map_err(cannot())? {
            super::MapperKind::Fuse
        } else {
            self.options.mapper
        };
        self.mappers.of(mapper).resized(device).map_err(cannot())?;
        let size = device::size(device).map_err(cannot())?;
        if u64::try_from(range.required_bytes).is_ok_and(|required| size < required) {
            let what = format!("{} has {size} bytes yet", device.display());
            let source = std::io::Error::other(format!("{} are asked for", range.required_bytes));
            return Err(Refusal::Unfinished { what, source });
        }
        if let At::Folder(_) = &at {
            let failed = |error| Refusal::System {
                what: format!("cannot grow the file system at {:?}", request.volume_path),
                source: std::io::Error::other(error),
            };
            if let Found::FileSystem(kind) = filesystem::look(device).map_err(cannot())? {
                filesystem::grow(device, Path::new(&request.volume_path), kind).map_err(failed)?;
            }
        }
        Ok(v1::NodeExpandVolumeResponse { capacity_bytes: i64::try_from(size).unwrap_or(i64::MAX) })
    }
}

/// The volume at a path.
fn there(path: &str) -> Result<At, Refusal> {
    if path.is_empty() {
        return Err(Refusal::Missing("volume_path"));
    }
    let looked = device::at(Path::new(path)).map_err(Refusal::system(format!("cannot look at {path:?}")))?;
    looked.ok_or_else(|| Refusal::Unknown { kind: "volume at path", id: path.to_owned() })
}
