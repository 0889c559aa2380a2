//! Requests and objects that the scripts are written with.

use serde_json::{Value, json};

use super::Exchange;

pub(crate) const PVS: &str = "/api/v1/persistentvolumes";
pub(crate) const PVCS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
pub(crate) const VAS: &str = "/apis/storage.k8s.io/v1/volumeattachments";
pub(crate) const CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";
pub(crate) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
pub(crate) const SNAPSHOTS: &str = "/apis/snapshot.storage.k8s.io/v1/namespaces/default/volumesnapshots";
pub(crate) const SECRETS: &str = "/api/v1/namespaces/default/secrets";
pub(crate) const EVENTS: &str = "/api/v1/namespaces/default/events";

pub(crate) fn request(
    method: &'static str,
    path: &str,
    content_type: &'static str,
    body: &Value,
) -> Exchange {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    Exchange { method, path: path.to_owned(), content_type, accept: "", body, keep: None }
}

pub(crate) fn get(path: &str) -> Exchange {
    request("GET", path, "", &Value::Null)
}

pub(crate) fn post(path: &str, body: Value) -> Exchange {
    request("POST", path, "application/json", &body)
}

pub(crate) fn put(path: &str, body: Value) -> Exchange {
    request("PUT", path, "application/json", &body)
}

pub(crate) fn merge(path: &str, body: Value) -> Exchange {
    request("PATCH", path, "application/merge-patch+json", &body)
}

pub(crate) fn json_patch(path: &str, body: Value) -> Exchange {
    request("PATCH", path, "application/json-patch+json", &body)
}

pub(crate) fn strategic(path: &str, body: Value) -> Exchange {
    request("PATCH", path, "application/strategic-merge-patch+json", &body)
}

pub(crate) fn delete(path: &str) -> Exchange {
    request("DELETE", path, "application/json", &json!({}))
}

pub(crate) fn volume(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": { "name": name, "labels": { "group": "a" } },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": { "storage": "1Gi" },
            "csi": { "driver": "d.example", "volumeHandle": name },
        },
    })
}

pub(crate) fn claim(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": { "name": name },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "fast",
            "resources": { "requests": { "storage": "1Gi" } },
        },
    })
}

pub(crate) fn attachment(name: &str) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "VolumeAttachment",
        "metadata": { "name": name },
        "spec": { "attacher": "d.example", "nodeName": "n1", "source": { "persistentVolumeName": "one" } },
    })
}
