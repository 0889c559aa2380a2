//! The objects that the cases begin with.

use serde_json::{Value, json};

pub(crate) const DRIVER: &str = "driver.example";
pub(crate) const FINALIZER: &str = "external-attacher/driver-example";
pub(crate) const VA: &str = "va1";

/// Applies a merge patch (RFC 7386).
pub(crate) fn with(mut object: Value, change: Value) -> Value {
    merge(&mut object, change);
    object
}

fn merge(into: &mut Value, change: Value) {
    let Value::Object(change) = change else {
        *into = change;
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let Some(into) = into.as_object_mut() else { return };
    for (key, value) in change {
        if value.is_null() {
            into.remove(&key);
        } else {
            merge(into.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// Volume `name` of our driver, without finalizer.
pub(crate) fn pv(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
            "persistentVolumeReclaimPolicy": "Retain",
            "csi": {"driver": DRIVER, "volumeHandle": sim::id_of(name)},
        },
    })
}

/// The same with our finalizer.
pub(crate) fn protected(name: &str) -> Value {
    with(pv(name), json!({"metadata": {"finalizers": [FINALIZER]}}))
}

/// Attachment `name` of `volume` to `node`, as the attach/detach controller makes it.
pub(crate) fn attachment(name: &str, volume: &str, node: &str) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment",
        "metadata": {"name": name},
        "spec": {"attacher": DRIVER, "nodeName": node, "source": {"persistentVolumeName": volume}},
    })
}

/// The usual attachment: `va1` of `pv1` to `node1`.
pub(crate) fn va() -> Value {
    attachment(VA, "pv1", "node1")
}

/// The usual attachment with a volume that exists only in it.
pub(crate) fn inline() -> Value {
    let spec = json!({
        "accessModes": ["ReadWriteOnce"],
        "csi": {"driver": DRIVER, "volumeHandle": sim::id_of("inline")},
    });
    with(va(), json!({"spec": {"source": {"persistentVolumeName": null, "inlineVolumeSpec": spec}}}))
}

/// As our attach leaves it: `attached`, with finalizer, node id and note.
pub(crate) fn ours(object: Value) -> Value {
    let metadata = json!({"finalizers": [FINALIZER], "annotations": {
        "csi.alpha.kubernetes.io/node-id": "node1-id",
        "mooring.dev/volume-handle": sim::id_of("pv1"),
    }});
    with(object, json!({"metadata": metadata, "status": {"attached": true}}))
}

/// As the Go attacher's attach leaves it: `attached`, with finalizer and node id.
pub(crate) fn theirs(object: Value) -> Value {
    let metadata =
        json!({"finalizers": [FINALIZER], "annotations": {"csi.alpha.kubernetes.io/node-id": "node1-id"}});
    with(object, json!({"metadata": metadata, "status": {"attached": true}}))
}

/// Node `name` with our driver, which calls it `NAME-id`.
pub(crate) fn csi_node(name: &str) -> Value {
    let ours = json!({"name": DRIVER, "nodeID": format!("{name}-id"), "topologyKeys": []});
    csi_node_with(name, json!([{"name": "other", "nodeID": "other-id", "topologyKeys": []}, ours]))
}

pub(crate) fn csi_node_with(name: &str, drivers: Value) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "CSINode",
        "metadata": {"name": name}, "spec": {"drivers": drivers},
    })
}

/// Adds a reference to secret `secrets/publish` to a volume or inline attachment.
pub(crate) fn with_secret_ref(object: Value) -> Value {
    let csi = json!({"csi": {"controllerPublishSecretRef": {"namespace": "secrets", "name": "publish"}}});
    let inline = object.pointer("/spec/source/inlineVolumeSpec").is_some();
    let spec = if inline { json!({"source": {"inlineVolumeSpec": csi}}) } else { csi };
    with(object, json!({"spec": spec}))
}

/// Secret `secrets/publish` with this data (base64).
pub(crate) fn secret(data: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": "publish", "namespace": "secrets"}, "data": data,
    })
}

/// A volume of the in-tree plugin for GCE disks.
pub(crate) fn gce_pd(name: &str) -> Value {
    with(pv(name), json!({"spec": {"csi": null, "gcePersistentDisk": {"pdName": "disk"}}}))
}
