//! The objects that the cases begin with, as attachers leave them.

use serde_json::{Value, json};
pub(crate) use sim::objects::{DRIVER, attachment, csi_node, csi_node_with, gce_pd, volume as pv, with};

pub(crate) const FINALIZER: &str = "external-attacher/driver-example";
pub(crate) const VA: &str = "va1";

/// The same with our finalizer.
pub(crate) fn protected(name: &str) -> Value {
    with(pv(name), json!({"metadata": {"finalizers": [FINALIZER]}}))
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

/// Adds a reference to secret `secrets/publish` to a volume or inline attachment.
pub(crate) fn with_secret_ref(object: Value) -> Value {
    let csi = json!({"csi": {"controllerPublishSecretRef": {"namespace": "secrets", "name": "publish"}}});
    let inline = object.pointer("/spec/source/inlineVolumeSpec").is_some();
    let spec = if inline { json!({"source": {"inlineVolumeSpec": csi}}) } else { csi };
    with(object, json!({"spec": spec}))
}

/// Secret `secrets/publish` with this data (base64).
pub(crate) fn secret(data: Value) -> Value {
    sim::objects::secret("secrets", "publish", data)
}
