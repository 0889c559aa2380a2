//! The specification's rules that one message can be checked against: required fields and sizes.
//!
//! Messages come as values with the specification's field names. A secrets field is a placeholder there, so
//! its size is not checked. Source: docs/upstream/csi.md, "General rules".

use serde_json::Value;

/// Bytes of a string, unless a field says otherwise.
const STRING: usize = 128;
/// Bytes of a whole map, or of mount flags.
const MAP: usize = 4096;
/// Bytes of a node id.
const NODE_ID: usize = 256;

/// Whose message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Ours.
    Request,
    /// The driver's.
    Reply,
}

/// Fields that a message must have: method, in requests, in replies. A dotted path looks into a message.
const REQUIRED: &[(&str, &[&str], &[&str])] = &[
    ("GetPluginInfo", &[], &["name", "vendor_version"]),
    ("CreateVolume", &["name", "volume_capabilities"], &["volume.volume_id"]),
    ("DeleteVolume", &["volume_id"], &[]),
    ("ControllerPublishVolume", &["volume_id", "node_id", "volume_capability"], &[]),
    ("ControllerUnpublishVolume", &["volume_id"], &[]),
    ("ValidateVolumeCapabilities", &["volume_id", "volume_capabilities"], &[]),
    ("ControllerGetVolume", &["volume_id"], &["volume.volume_id", "status"]),
    ("ControllerGetVolumeHealth", &["volume_id"], &["volume_health.volume_id"]),
    ("NodeGetVolumeHealth", &["volume_id"], &["volume_health.volume_id"]),
    ("ControllerModifyVolume", &["volume_id", "mutable_parameters"], &[]),
    ("ControllerExpandVolume", &["volume_id", "capacity_range"], &["capacity_bytes"]),
    (
        "CreateSnapshot",
        &["name", "source_volume_id"],
        &["snapshot.snapshot_id", "snapshot.source_volume_id", "snapshot.creation_time"],
    ),
    ("DeleteSnapshot", &["snapshot_id"], &[]),
    ("GetSnapshot", &["snapshot_id"], &["snapshot.snapshot_id"]),
    (
        "CreateVolumeGroupSnapshot",
        &["name", "source_volume_ids"],
        &["group_snapshot.group_snapshot_id", "group_snapshot.snapshots"],
    ),
    ("DeleteVolumeGroupSnapshot", &["group_snapshot_id"], &[]),
    ("GetVolumeGroupSnapshot", &["group_snapshot_id"], &["group_snapshot.group_snapshot_id"]),
    ("GetMetadataAllocated", &["snapshot_id"], &[]),
    ("GetMetadataDelta", &["base_snapshot_id", "target_snapshot_id"], &[]),
    ("NodeStageVolume", &["volume_id", "staging_target_path", "volume_capability"], &[]),
    ("NodeUnstageVolume", &["volume_id", "staging_target_path"], &[]),
    ("NodePublishVolume", &["volume_id", "target_path", "volume_capability"], &[]),
    ("NodeUnpublishVolume", &["volume_id", "target_path"], &[]),
    ("NodeGetVolumeStats", &["volume_id", "volume_path"], &["usage"]),
    ("NodeExpandVolume", &["volume_id", "volume_path"], &[]),
    ("NodeGetInfo", &[], &["node_id"]),
];

/// Holds a message against the rules; the error names the field.
pub(crate) fn check(side: Side, method: &str, message: &Value) -> Result<(), String> {
    let name = method.rsplit('/').next().unwrap_or(method);
    let whose = if side == Side::Request { "request" } else { "response" };
    let broken = |what: String| format!("{name} {whose} breaks the specification: {what}");
    let required = REQUIRED.iter().find(|(known, ..)| *known == name);
    let fields =
        required.map_or(&[][..], |(_, request, reply)| if side == Side::Request { request } else { reply });
    for field in fields {
        let pointer = format!("/{}", field.replace('.', "/"));
        if message.pointer(&pointer).is_none_or(is_empty) {
            return Err(broken(format!("{field} is required")));
        }
    }
    sizes(message, "").map_err(&broken)?;
    if name == "GetPluginInfo" && side == Side::Reply {
        plugin_name(message.get("name").and_then(Value::as_str).unwrap_or_default()).map_err(&broken)?;
    }
    health(message).map_err(&broken)?;
    if let Some(capabilities) = message.get("volume_capabilities").and_then(Value::as_array) {
        capabilities.iter().try_for_each(capability).map_err(&broken)?;
    }
    message.get("volume_capability").map_or(Ok(()), capability).map_err(&broken)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(_) | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What a reply says to be wrong: each entry has a status and a reason, and none is there twice.
fn health(reply: &Value) -> Result<(), String> {
    let list =
        |value: &Value, field: &str| value.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut volumes: Vec<Value> = reply.get("volume_health").cloned().into_iter().collect();
    volumes.extend(list(reply, "entries").into_iter().filter(|entry| entry.get("health_statuses").is_some()));
    let mut groups: Vec<_> = volumes.iter().map(|volume| list(volume, "health_statuses")).collect();
    groups.push(list(reply, "backend_health"));
    for group in groups {
        let mut seen = Vec::new();
        for entry in group {
            for field in ["status", "reason"] {
                if entry.get(field).is_none_or(is_empty) {
                    return Err(format!("{field} of a health entry is required"));
                }
            }
            let key = ["status", "reason", "volume_capability"].map(|field| entry.get(field).cloned());
            if seen.contains(&key) {
                return Err(format!("a health entry is there twice: {entry}"));
            }
            seen.push(key);
        }
    }
    Ok(())
}

fn capability(capability: &Value) -> Result<(), String> {
    if capability.get("block").is_none() && capability.get("mount").is_none() {
        return Err("volume_capability.access_type is required".to_owned());
    }
    let mode = capability.pointer("/access_mode/mode").is_some_and(|mode| mode != "UNKNOWN");
    if mode { Ok(()) } else { Err("volume_capability.access_mode is required".to_owned()) }
}

/// Walks a message; `field` is the name of what `value` is in.
fn sizes(value: &Value, field: &str) -> Result<(), String> {
    match value {
        Value::String(text) => {
            let limit = match field {
                "node_id" | "published_node_ids" => NODE_ID,
                // Paths may be as long as the system takes; messages and tokens are for people and drivers.
                "target_path"
                | "staging_target_path"
                | "volume_path"
                | "volume_publish_path"
                | "message"
                | "mount_flags" => {
                    return Ok(());
                }
                _ => STRING,
            };
            let size = text.len();
            if size > limit { Err(format!("{field} has {size} bytes, {limit} are allowed")) } else { Ok(()) }
        }
        Value::Array(items) if field == "mount_flags" => {
            let size: usize = items.iter().filter_map(Value::as_str).map(str::len).sum();
            if size > MAP { Err(format!("{field} has {size} bytes, {MAP} are allowed")) } else { Ok(()) }
        }
        Value::Array(items) => items.iter().try_for_each(|item| sizes(item, field)),
        Value::Object(fields) if is_map(field) => {
            let size: usize =
                fields.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
            if size > MAP { Err(format!("{field} has {size} bytes, {MAP} are allowed")) } else { Ok(()) }
        }
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| sizes(value, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

fn is_map(field: &str) -> bool {
    matches!(
        field,
        "parameters" | "mutable_parameters" | "volume_context" | "publish_context" | "segments" | "manifest"
    )
}

fn plugin_name(name: &str) -> Result<(), String> {
    let ends = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    let inside = name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-.".contains(letter));
    let good = name.len() <= 63 && ends(name.chars().next()) && ends(name.chars().last()) && inside;
    if good {
        Ok(())
    } else {
        Err(format!(
            "name {name:?} must have at most 63 letters, digits, dashes and dots, and begin and end with a letter or digit"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(method: &str, message: Value) -> Result<(), String> {
        check(Side::Request, &format!("/csi.v1.Controller/{method}"), &message)
    }

    #[test]
    fn missing_fields_are_named() {
        let good = json!({"name": "n", "volume_capabilities": [{"mount": {}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}]});
        assert_eq!(request("CreateVolume", good.clone()), Ok(()));
        for field in ["name", "volume_capabilities"] {
            let mut bad = good.clone();
            bad.as_object_mut().unwrap().remove(field);
            assert!(request("CreateVolume", bad).unwrap_err().contains(&format!("{field} is required")));
        }
        let vague = json!({"name": "n", "volume_capabilities": [{"mount": {}}]});
        assert!(request("CreateVolume", vague).unwrap_err().contains("access_mode"));
    }

    #[test]
    fn strings_and_maps_have_their_sizes() {
        let id = |length: usize| json!({"volume_id": "x".repeat(length)});
        assert_eq!(request("DeleteVolume", id(128)), Ok(()));
        assert!(request("DeleteVolume", id(129)).unwrap_err().contains("129 bytes"));
        let with = |length: usize| json!({"volume_id": "v", "mutable_parameters": {"k": "x".repeat(length)}});
        assert_eq!(request("ControllerModifyVolume", with(4095)), Ok(()));
        assert!(request("ControllerModifyVolume", with(4096)).unwrap_err().contains("4097 bytes"));
    }

    #[test]
    fn health_entries_are_complete_and_different() {
        let reply = |entries: Value| {
            let health = json!({"volume_health": {"volume_id": "v", "health_statuses": entries.clone()}});
            let listed = json!({"entries": [{"volume_id": "v", "health_statuses": entries.clone()}]});
            let storage = json!({"backend_health": entries});
            let said = [
                ("Controller/ControllerGetVolumeHealth", &health),
                ("Controller/ControllerListVolumeHealth", &listed),
                ("Node/NodeGetVolumeHealth", &health),
                ("Node/NodeGetStorageHealth", &storage),
            ]
            .map(|(method, reply)| check(Side::Reply, &format!("/csi.v1.{method}"), reply));
            assert!(said.iter().all(|one| one.is_ok() == said[0].is_ok()), "{said:?}");
            said[0].clone()
        };
        let entry = |status: &str, reason: &str| json!({"status": status, "reason": reason});
        assert_eq!(reply(json!([])), Ok(()));
        assert_eq!(
            reply(json!([entry("DEGRADED", "A"), entry("DEGRADED", "B"), entry("DATA_LOSS", "A")])),
            Ok(())
        );
        let twice = json!([entry("DEGRADED", "A"), entry("DEGRADED", "A")]);
        assert!(reply(twice).unwrap_err().contains("is there twice"));
        for missing in ["status", "reason"] {
            let mut entry = entry("DEGRADED", "A");
            entry.as_object_mut().unwrap().remove(missing);
            assert!(reply(json!([entry])).unwrap_err().contains(&format!("{missing} of a health entry")));
        }
    }

    #[test]
    fn replies_are_held_against_their_own_rules() {
        let reply = |name: &str| {
            check(
                Side::Reply,
                "/csi.v1.Identity/GetPluginInfo",
                &json!({"name": name, "vendor_version": "1"}),
            )
        };
        assert_eq!(reply("hostpath.csi.k8s.io"), Ok(()));
        assert!(reply("-bad").unwrap_err().contains("response"));
        assert!(reply("").unwrap_err().contains("name is required"));
    }
}
