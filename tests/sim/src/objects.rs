//! The objects that tests begin with: plain ones, to be changed with [`with`].

use serde_json::{Value, json};

use crate::api::{ApiServer, merge};

/// The driver's name in all of them.
pub const DRIVER: &str = "driver.example";

/// Applies a merge patch (RFC 7386).
pub fn with(mut object: Value, change: Value) -> Value {
    merge(&mut object, &change);
    object
}

/// Volume `name` of the driver, without finalizer. Its handle is [`id_of`](crate::id_of) the name.
pub fn volume(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
            "persistentVolumeReclaimPolicy": "Retain",
            "csi": {"driver": DRIVER, "volumeHandle": crate::id_of(name)},
        },
    })
}

/// A volume of the in-tree plugin for GCE disks.
pub fn gce_pd(name: &str) -> Value {
    with(volume(name), json!({"spec": {"csi": null, "gcePersistentDisk": {"pdName": "disk"}}}))
}

/// Class `fast` of the driver.
pub fn class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"},
        "provisioner": DRIVER, "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate",
    })
}

/// Claim `default/name` of class `fast`, as a user makes it.
pub fn claim(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    })
}

/// Claim `default/name` and volume `volume`, bound to each other, both of 1 Gi.
pub fn bound(name: &str, volume_name: &str) -> [Value; 2] {
    let claim = claim(name);
    // The uid depends on the name only.
    let uid = ApiServer::new().put(claim.clone()).pointer("/metadata/uid").cloned();
    let reference = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "default", "name": name, "uid": uid,
    });
    let status = json!({"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}});
    [
        with(claim, json!({"spec": {"volumeName": volume_name}, "status": status})),
        with(volume(volume_name), json!({"spec": {"claimRef": reference}, "status": {"phase": "Bound"}})),
    ]
}

/// Pod `default/name` that uses this claim.
pub fn pod(name: &str, claim: &str) -> Value {
    let volume = json!({"name": "data", "persistentVolumeClaim": {"claimName": claim}});
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": {"volumes": [volume], "containers": [{"name": "c", "image": "i"}]},
        "status": {"phase": "Running"},
    })
}

/// VolumeAttributesClass `name` of this driver.
pub fn attributes_class(name: &str, driver: &str) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass", "metadata": {"name": name},
        "driverName": driver, "parameters": {"iops": name},
    })
}

/// Attachment `name` of `volume` to `node`, as the attach/detach controller makes it.
pub fn attachment(name: &str, volume: &str, node: &str) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment",
        "metadata": {"name": name},
        "spec": {"attacher": DRIVER, "nodeName": node, "source": {"persistentVolumeName": volume}},
    })
}

/// Node `name` with the driver, which calls it `NAME-id`, beside another driver.
pub fn csi_node(name: &str) -> Value {
    let ours = json!({"name": DRIVER, "nodeID": format!("{name}-id"), "topologyKeys": []});
    csi_node_with(name, json!([{"name": "other", "nodeID": "other-id", "topologyKeys": []}, ours]))
}

/// Node `name` with these drivers.
pub fn csi_node_with(name: &str, drivers: Value) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "CSINode",
        "metadata": {"name": name}, "spec": {"drivers": drivers},
    })
}

/// Node `name` with these labels.
pub fn node(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}})
}

/// Secret `namespace/name` with this data (base64).
pub fn secret(namespace: &str, name: &str, data: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": name, "namespace": namespace}, "data": data,
    })
}
