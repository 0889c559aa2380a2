//! What the API server itself puts into objects, and what it refuses: defaults, admission plugins, validation.

use serde_json::{Map, Value, json};

use super::refusal::Refusal;
use super::resource::{Resource, StatusRule};

/// `object[path] = value` unless something is there; parents are made.
pub(crate) fn default_at(object: &mut Value, path: &[&str], value: Value) {
    if let Some((last, parents)) = path.split_last() {
        let mut place = object;
        for parent in parents {
            place = child(place, parent);
        }
        let place = child(place, last);
        if place.is_null() {
            *place = value;
        }
    }
}

/// `object[path] = value`; parents are made.
pub(crate) fn set_at(object: &mut Value, path: &[&str], value: Value) {
    let mut place = object;
    for part in path {
        place = child(place, part);
    }
    *place = value;
}

fn child<'a>(place: &'a mut Value, key: &str) -> &'a mut Value {
    if !place.is_object() {
        *place = Value::Object(Map::new());
    }
    match place {
        Value::Object(map) => map.entry(key.to_owned()).or_insert(Value::Null),
        // Just made an object.
        other => other,
    }
}

/// Removes `object[path]`.
pub(crate) fn remove_at(object: &mut Value, pointer: &str) {
    if let Some((parent, last)) = pointer.rsplit_once('/')
        && let Some(Value::Object(map)) = object.pointer_mut(parent)
    {
        map.remove(last);
    }
}

/// Defaults of a new object.
pub(crate) fn fill(resource: &Resource, object: &mut Value, default_class: Option<&str>) {
    if resource.status != StatusRule::None && !matches!(resource.plural, "nodes") {
        remove_at(object, "/status");
    }
    match resource.plural {
        "persistentvolumes" => {
            default_at(object, &["spec", "volumeMode"], json!("Filesystem"));
            default_at(object, &["spec", "persistentVolumeReclaimPolicy"], json!("Retain"));
            set_at(object, &["status", "phase"], json!("Pending"));
        }
        "persistentvolumeclaims" => {
            default_at(object, &["spec", "volumeMode"], json!("Filesystem"));
            set_at(object, &["status", "phase"], json!("Pending"));
            if let (Some(class), None) = (default_class, object.pointer("/spec/storageClassName")) {
                set_at(object, &["spec", "storageClassName"], json!(class));
            }
        }
        "storageclasses" => {
            default_at(object, &["reclaimPolicy"], json!("Delete"));
            default_at(object, &["volumeBindingMode"], json!("Immediate"));
        }
        "volumeattachments" => set_at(object, &["status", "attached"], json!(false)),
        "csinodes" => set_at(object, &["status"], json!({})),
        "namespaces" => {
            let name = object.pointer("/metadata/name").cloned().unwrap_or_default();
            set_at(object, &["metadata", "labels", "kubernetes.io/metadata.name"], name);
            set_at(object, &["status", "phase"], json!("Active"));
            default_at(object, &["spec", "finalizers"], json!(["kubernetes"]));
        }
        "pods" => set_at(object, &["status", "phase"], json!("Pending")),
        "events" => {
            default_at(object, &["reportingComponent"], json!(""));
            default_at(object, &["reportingInstance"], json!(""));
        }
        "secrets" => {
            default_at(object, &["type"], json!("Opaque"));
            fold_string_data(object);
        }
        _ => {}
    }
    if !resource.finalizers.is_empty() {
        let mut finalizers =
            object.pointer("/metadata/finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
        for &finalizer in resource.finalizers {
            if !finalizers.iter().any(|one| one == finalizer) {
                finalizers.push(json!(finalizer));
            }
        }
        set_at(object, &["metadata", "finalizers"], Value::Array(finalizers));
    }
}

/// A Secret's write-only `stringData` becomes `data`.
pub(crate) fn fold_string_data(object: &mut Value) {
    let Some(Value::Object(plain)) = object.get("stringData").cloned() else { return };
    for (key, value) in plain {
        let encoded = base64(value.as_str().unwrap_or_default().as_bytes());
        set_at(object, &["data", &key], json!(encoded));
    }
    remove_at(object, "/stringData");
}

/// Standard base64 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number = chunk.iter().fold(0_u32, |number, &byte| (number << 8) | u32::from(byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let index = (number >> (18 - 6 * place)) & 63;
            let letter = LETTERS.get(index as usize).copied().unwrap_or(b'=');
            text.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// Refuses a new object that the API server would refuse.
pub(crate) fn validate_new(resource: &Resource, name: &str, object: &Value) -> Result<(), Refusal> {
    if !is_subdomain(name) {
        let why = format!(
            "metadata.name: Invalid value: \"{name}\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character"
        );
        return Err(Refusal::invalid(resource, name, why));
    }
    let required: &[&str] = match resource.plural {
        "persistentvolumes" => &["/spec/capacity/storage", "/spec/accessModes/0"],
        "persistentvolumeclaims" => &["/spec/accessModes/0", "/spec/resources/requests/storage"],
        "storageclasses" => &["/provisioner"],
        "volumeattachments" => &["/spec/attacher", "/spec/nodeName", "/spec/source"],
        "volumeattributesclasses" => &["/driverName"],
        "csistoragecapacities" => &["/storageClassName"],
        _ => &[],
    };
    let csi: &[&str] = match (resource.plural, object.pointer("/spec/csi")) {
        ("persistentvolumes", Some(_)) => &["/spec/csi/driver", "/spec/csi/volumeHandle"],
        _ => &[],
    };
    for pointer in required.iter().chain(csi) {
        if object.pointer(pointer).is_none_or(|value| value.is_null() || *value == json!("")) {
            let field = pointer.trim_start_matches('/').replace("/0", "").replace('/', ".");
            return Err(Refusal::invalid(resource, name, format!("{field}: Required value")));
        }
    }
    Ok(())
}

/// Refuses a change that the API server would refuse.
pub(crate) fn validate_change(
    resource: &Resource,
    name: &str,
    old: &Value,
    new: &Value,
) -> Result<(), Refusal> {
    for pointer in resource.immutable {
        let (pointer, may_be_set) =
            pointer.strip_suffix('?').map_or((*pointer, false), |pointer| (pointer, true));
        let (before, after) = (old.pointer(pointer), new.pointer(pointer));
        let empty = |value: Option<&Value>| value.is_none_or(|value| value.is_null() || *value == json!(""));
        if before != after && !(empty(before) && (may_be_set || empty(after))) {
            let field = pointer.trim_start_matches('/').replace('/', ".");
            return Err(Refusal::invalid(resource, name, format!("{field}: Forbidden: field is immutable")));
        }
    }
    let finalizers = |object: &Value| {
        object.pointer("/metadata/finalizers").and_then(Value::as_array).cloned().unwrap_or_default()
    };
    if old.pointer("/metadata/deletionTimestamp").is_some() {
        let before = finalizers(old);
        let added: Vec<_> = finalizers(new).into_iter().filter(|one| !before.contains(one)).collect();
        if !added.is_empty() {
            let why = format!(
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
            );
            return Err(Refusal::invalid(resource, name, why));
        }
    }
    Ok(())
}

/// RFC 1123: what almost every object's name must be.
fn is_subdomain(name: &str) -> bool {
    let label = |label: &str| {
        let edge =
            |letter: Option<char>| letter.is_some_and(|l| l.is_ascii_lowercase() || l.is_ascii_digit());
        edge(label.chars().next())
            && edge(label.chars().last())
            && label.chars().all(|l| l.is_ascii_lowercase() || l.is_ascii_digit() || l == '-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_base64_with_padding() {
        for (plain, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn knows_names() {
        assert!(is_subdomain("pvc-1.a"));
        for bad in ["", "-a", "A", "a_b", "a.", "a..b"] {
            assert!(!is_subdomain(bad), "{bad}");
        }
    }
}
