//! NodeGetVolumeStats and NodeExpandVolume.

use std::io::{Seek, SeekFrom};
use std::path::Path;

use csi::v1;
use v1::volume_usage::Unit;

use crate::backend::Item;
use crate::check;
use crate::lock::Key;
use crate::plugin::Plugin;
use crate::refusal::Refusal;
use crate::store::{Access, Volume};

impl Plugin {
    /// How full a published or staged volume is.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field; NOT_FOUND for an unknown volume or path, or a volume that is not
    /// at that path.
    pub fn stats(
        &self,
        request: v1::NodeGetVolumeStatsRequest,
    ) -> Result<v1::NodeGetVolumeStatsResponse, Refusal> {
        check::required("volume_id", &request.volume_id)?;
        if request.volume_path.is_empty() {
            return Err(Refusal::Missing("volume_path"));
        }
        let volume = self.store.volume(&request.volume_id)?;
        // The path is only compared with recorded ones, so any other one is simply unknown.
        let path = at_path(&volume, &request.volume_path)?;
        let usage = match volume.access {
            Access::Mount => folder_usage(path)?,
            Access::Block => vec![self.device_usage(&volume)?],
        };
        Ok(v1::NodeGetVolumeStatsResponse { usage })
    }

    fn device_usage(&self, volume: &Volume) -> Result<v1::VolumeUsage, Refusal> {
        let cannot = || Refusal::system::<std::io::Error>("cannot read the volume's device");
        let mut file = self.backend.open(&Item::from(volume)).map_err(cannot())?;
        let total = file.seek(SeekFrom::End(0)).map_err(cannot())?;
        Ok(usage(Unit::Bytes, total, None, None))
    }

    /// Lets the node see a volume's new size; grows the volume first if the controller did not (as when
    /// only the node advertises EXPAND_VOLUME).
    ///
    /// Differs: the Go driver does nothing here.
    ///
    /// # Errors
    /// UNIMPLEMENTED when expansion is off; INVALID_ARGUMENT for a bad field or a path of the wrong kind;
    /// NOT_FOUND for an unknown volume; OUT_OF_RANGE above the largest size.
    pub fn expand_on_node(
        &self,
        request: v1::NodeExpandVolumeRequest,
    ) -> Result<v1::NodeExpandVolumeResponse, Refusal> {
        if !self.options.expansion {
            return Err(Refusal::Unimplemented("NodeExpandVolume"));
        }
        check::required("volume_id", &request.volume_id)?;
        check::secrets(&request.secrets)?;
        let _record = self.locks.alone(Key::Volume(request.volume_id.clone()))?;
        let volume = self.store.volume(&request.volume_id)?;
        check::path("volume_path", &request.volume_path)?;
        check::optional_path("staging_target_path", &request.staging_target_path)?;
        let range = request.capacity_range.ok_or(Refusal::Missing("capacity_range"))?;
        check::range(&range)?;
        if let Some(capability) = &request.volume_capability {
            check::capability("volume_capability", capability)?;
        }
        let metadata = std::fs::metadata(&request.volume_path)
            .map_err(|error| Refusal::invalid("volume_path", format!("{}: {error}", request.volume_path)))?;
        if metadata.is_dir() != (volume.access == Access::Mount) {
            let reason =
                format!("volume {:?} is a {} volume, the path is not", volume.id, volume.access.word());
            return Err(Refusal::invalid("volume_path", reason));
        }
        let max = self.options.max_size_node;
        if range.required_bytes > max {
            let asked = range.required_bytes;
            return Err(Refusal::Size(format!("{asked} bytes are asked for, the largest volume has {max}")));
        }
        let size = self.grown_size(&volume, &range)?;
        if volume.size < size {
            let _content = self.locks.alone(Key::Content(volume.id.clone()))?;
            self.grow(&volume, size)?;
        }
        self.backend.refresh(&Item::from(&*volume)).map_err(Refusal::system("cannot resize the device"))?;
        Ok(v1::NodeExpandVolumeResponse { capacity_bytes: size })
    }
}

/// The path, if the volume is published or staged there.
fn at_path<'a>(volume: &Volume, path: &'a str) -> Result<&'a Path, Refusal> {
    let is_known = volume.published.contains_key(path) || volume.staged.contains(path);
    let absent = || Refusal::Unknown { kind: "path of the volume", id: path.to_owned() };
    if is_known && Path::new(path).try_exists().unwrap_or(false) {
        Ok(Path::new(path))
    } else {
        Err(absent())
    }
}

pub(crate) fn folder_usage(path: &Path) -> Result<Vec<v1::VolumeUsage>, Refusal> {
    let disk =
        rustix::fs::statvfs(path).map_err(Refusal::system(format!("cannot look at {}", path.display())))?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    let used = |total: u64, free: u64| Some(total.saturating_sub(free));
    Ok(vec![
        usage(
            Unit::Bytes,
            bytes(disk.f_blocks),
            Some(bytes(disk.f_bavail)),
            used(bytes(disk.f_blocks), bytes(disk.f_bfree)),
        ),
        usage(Unit::Inodes, disk.f_files, Some(disk.f_favail), used(disk.f_files, disk.f_ffree)),
    ])
}

pub(crate) fn usage(unit: Unit, total: u64, available: Option<u64>, used: Option<u64>) -> v1::VolumeUsage {
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    v1::VolumeUsage {
        available: signed(available.unwrap_or(0)),
        total: signed(total),
        used: signed(used.unwrap_or(0)),
        unit: unit as i32,
    }
}
