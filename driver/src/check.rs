//! The specification's limits on fields, as checks that name the field.
//!
//! Strings 128 bytes, maps 4 KiB, paths as long as the system takes them and absolute; names free of
//! control characters (the specification's section on size limits). All refusals are INVALID_ARGUMENT.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use csi::v1;

use crate::refusal::Refusal;

/// The longest string field, in bytes.
pub const MAX_STRING: usize = 128;
/// The longest node id, in bytes.
pub const MAX_NODE_ID: usize = 256;
/// The largest map or list of mount flags, in bytes of all keys and values.
pub const MAX_MAP: usize = 4096;
/// The longest path, in bytes, as the kernel takes it.
const MAX_PATH: usize = 4095;

/// A required name or id: 1 to 128 bytes, no control characters but tab, newline and carriage return.
pub fn required(field: &'static str, value: &str) -> Result<(), Refusal> {
    if value.is_empty() {
        return Err(Refusal::Missing(field));
    }
    optional(field, value)
}

/// As [`required`], but may be empty.
pub fn optional(field: &'static str, value: &str) -> Result<(), Refusal> {
    limited(field, value, MAX_STRING)
}

/// As [`optional`], for a node id.
pub fn node_id(field: &'static str, value: &str) -> Result<(), Refusal> {
    limited(field, value, MAX_NODE_ID)
}

fn limited(field: &'static str, value: &str, limit: usize) -> Result<(), Refusal> {
    if value.len() > limit {
        return Err(Refusal::invalid(field, format!("{} bytes, at most {limit} are allowed", value.len())));
    }
    match value.chars().find(|c| is_forbidden(*c)) {
        Some(c) => Err(Refusal::invalid(field, format!("the control character {c:?} is not allowed"))),
        None => Ok(()),
    }
}

/// U+0000-08, 0B, 0C, 0E-1F, 7F-9F.
fn is_forbidden(c: char) -> bool {
    c.is_control() && !matches!(c, '\t' | '\n' | '\r')
}

/// A map of at most 4 KiB in all; keys must not be empty.
pub fn map(field: &'static str, map: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let bytes: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > MAX_MAP {
        return Err(Refusal::invalid(field, format!("{bytes} bytes in all, at most {MAX_MAP} are allowed")));
    }
    if map.contains_key("") {
        return Err(Refusal::invalid(field, "a key is empty"));
    }
    if map.iter().any(|(key, value)| key.contains('\0') || value.contains('\0')) {
        return Err(Refusal::invalid(field, "a zero byte is not allowed"));
    }
    Ok(())
}

/// Places where something must or should be: each as [`map`].
pub fn requirement(wanted: Option<&v1::TopologyRequirement>) -> Result<(), Refusal> {
    let places = wanted.iter().flat_map(|wanted| wanted.requisite.iter().chain(&wanted.preferred));
    places.map(|place| &place.segments).try_for_each(|place| map("accessibility_requirements", place))
}

/// Secrets: as [`map`], keys of letters, digits and `-_.`. The message names no key.
pub fn secrets(secrets: &BTreeMap<String, String>) -> Result<(), Refusal> {
    map("secrets", secrets)?;
    let plain = |key: &String| key.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if secrets.keys().all(plain) {
        Ok(())
    } else {
        Err(Refusal::invalid("secrets", "keys may hold letters, digits and -_. only"))
    }
}

/// A required absolute path without `..`.
pub fn path(field: &'static str, value: &str) -> Result<(), Refusal> {
    if value.is_empty() {
        return Err(Refusal::Missing(field));
    }
    optional_path(field, value)
}

/// As [`path`], but may be empty.
pub fn optional_path(field: &'static str, value: &str) -> Result<(), Refusal> {
    if value.is_empty() {
        return Ok(());
    }
    if value.len() > MAX_PATH {
        return Err(Refusal::invalid(
            field,
            format!("{} bytes, at most {MAX_PATH} are allowed", value.len()),
        ));
    }
    if value.contains('\0') {
        return Err(Refusal::invalid(field, "a zero byte is not allowed"));
    }
    let path = Path::new(value);
    if !path.is_absolute() {
        return Err(Refusal::invalid(field, format!("{value:?} is not an absolute path")));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(Refusal::invalid(field, format!("{value:?} must not contain ..")));
    }
    if path.parent().is_none() {
        return Err(Refusal::invalid(field, "the root folder cannot be used"));
    }
    Ok(())
}

/// A path below one of these folders, whatever links lead to its parent; no folders allow any path.
pub fn below(field: &'static str, value: &str, roots: &[PathBuf]) -> Result<(), Refusal> {
    // What is not there yet has no links.
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let path = Path::new(value);
    let parent = path.parent().map(real).unwrap_or_default();
    if roots.is_empty() || roots.iter().any(|root| parent.starts_with(real(root))) {
        return Ok(());
    }
    Err(Refusal::invalid(field, format!("{value:?} is not below any --target-root of this driver")))
}

/// One capability: an access type, a known access mode, mount options within their limits.
pub fn capability(field: &'static str, capability: &v1::VolumeCapability) -> Result<(), Refusal> {
    use v1::volume_capability::AccessType;
    use v1::volume_capability::access_mode::Mode;
    match &capability.access_type {
        None => return Err(Refusal::invalid(field, "neither block nor mount is set")),
        Some(AccessType::Block(_)) => {}
        Some(AccessType::Mount(mount)) => {
            optional(field, &mount.fs_type)?;
            optional(field, &mount.volume_mount_group)?;
            let bytes: usize = mount.mount_flags.iter().map(String::len).sum();
            if bytes > MAX_MAP {
                let reason = format!("mount_flags hold {bytes} bytes, at most {MAX_MAP} are allowed");
                return Err(Refusal::invalid(field, reason));
            }
            if mount.mount_flags.iter().any(|flag| flag.contains('\0')) {
                return Err(Refusal::invalid(field, "mount_flags: a zero byte is not allowed"));
            }
        }
    }
    match capability.access_mode.as_ref().map(|mode| mode.mode()) {
        None | Some(Mode::Unknown) => Err(Refusal::invalid(field, "access_mode is not set")),
        Some(_) => Ok(()),
    }
}

/// A size range: nothing negative, not both zero, lower bound below the upper.
pub fn range(range: &v1::CapacityRange) -> Result<(), Refusal> {
    let v1::CapacityRange { required_bytes: required, limit_bytes: limit } = *range;
    let wrong = |reason: String| Err(Refusal::invalid("capacity_range", reason));
    if required < 0 || limit < 0 {
        return wrong("sizes must not be negative".to_owned());
    }
    if required == 0 && limit == 0 {
        return wrong("one of required_bytes and limit_bytes must be set".to_owned());
    }
    if limit > 0 && required > limit {
        return wrong(format!("required_bytes {required} is above limit_bytes {limit}"));
    }
    Ok(())
}

/// The number of entries asked for: none means as many as fit.
pub fn max_entries(value: i32) -> Result<Option<usize>, Refusal> {
    match usize::try_from(value) {
        Ok(0) => Ok(None),
        Ok(count) => Ok(Some(count)),
        Err(_) => Err(Refusal::invalid("max_entries", "must not be negative")),
    }
}
/// The capabilities of CreateVolume: at least one, and each as the specification allows.
///
/// # Errors
/// INVALID_ARGUMENT.
pub fn capabilities(capabilities: &[v1::VolumeCapability]) -> Result<(), Refusal> {
    if capabilities.is_empty() {
        return Err(Refusal::Missing("volume_capabilities"));
    }
    capabilities.iter().try_for_each(|one| capability("volume_capabilities", one))
}

/// The fields of ValidateVolumeCapabilities.
///
/// # Errors
/// INVALID_ARGUMENT.
pub fn validation(request: &v1::ValidateVolumeCapabilitiesRequest) -> Result<(), Refusal> {
    required("volume_id", &request.volume_id)?;
    if request.volume_capabilities.is_empty() {
        return Err(Refusal::Missing("volume_capabilities"));
    }
    map("volume_context", &request.volume_context)?;
    map("parameters", &request.parameters)?;
    map("mutable_parameters", &request.mutable_parameters)?;
    secrets(&request.secrets)?;
    capabilities(&request.volume_capabilities)
}

/// The fields of ControllerExpandVolume; gives the size that is asked for.
///
/// # Errors
/// INVALID_ARGUMENT.
pub fn expansion(request: &v1::ControllerExpandVolumeRequest) -> Result<v1::CapacityRange, Refusal> {
    required("volume_id", &request.volume_id)?;
    let asked = request.capacity_range.ok_or(Refusal::Missing("capacity_range"))?;
    range(&asked)?;
    secrets(&request.secrets)?;
    if let Some(one) = &request.volume_capability {
        capability("volume_capability", one)?;
    }
    Ok(asked)
}
