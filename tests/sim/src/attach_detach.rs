//! The part of kube-controller-manager that an attacher lives with: a VolumeAttachment for each volume that a pod on a
//! node uses, and its deletion when no such pod is left.
//!
//! Not here: waiting until the volume is unmounted, and volumes that stand in a pod itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::api::ApiServer;
use crate::migration::driver_of_volume;

/// A running attach-detach controller; it stops when this is dropped.
#[derive(Debug)]
pub struct AttachDetach(JoinHandle<()>);

impl Drop for AttachDetach {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts one that looks at everything `delay` after each change. Must be called in a tokio runtime.
pub fn start(api: &ApiServer, delay: Duration) -> AttachDetach {
    let api = api.clone();
    AttachDetach(tokio::spawn(async move {
        let mut changes = api.changes();
        loop {
            changes.borrow_and_update();
            pass(&api);
            if changes.changed().await.is_err() {
                return;
            }
            tokio::time::sleep(delay).await;
        }
    }))
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// One look at everything.
fn pass(api: &ApiServer) {
    let wanted: BTreeMap<String, Value> =
        api.list("pods").iter().flat_map(|pod| attachments(api, pod)).collect();
    for (name, attachment) in &wanted {
        if api.get("volumeattachments", name).is_none() {
            // Refused only if somebody else made it meanwhile.
            let _ = api.create(attachment.clone());
        }
    }
    for attachment in api.list("volumeattachments") {
        let name = text(&attachment, "/metadata/name");
        if !wanted.contains_key(name) && attachment.pointer("/metadata/deletionTimestamp").is_none() {
            api.delete("volumeattachments", name);
        }
    }
}

/// The attachments that `pod` needs, by name.
fn attachments(api: &ApiServer, pod: &Value) -> Vec<(String, Value)> {
    let node = text(pod, "/spec/nodeName");
    if node.is_empty() || matches!(text(pod, "/status/phase"), "Succeeded" | "Failed") {
        return Vec::new();
    }
    let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array).into_iter().flatten();
    let attachment = |volume: &Value| {
        let claim = text(volume, "/persistentVolumeClaim/claimName");
        let claim =
            api.get("persistentvolumeclaims", &format!("{}/{claim}", text(pod, "/metadata/namespace")))?;
        let volume = api.get("persistentvolumes", text(&claim, "/spec/volumeName"))?;
        let driver = driver_of_volume(&volume)?;
        let volume = text(&volume, "/metadata/name");
        if text(&claim, "/status/phase") != "Bound" {
            return None;
        }
        let name = format!("csi-{volume}-{node}");
        let object = json!({
            "apiVersion": "storage.k8s.io/v1",
            "kind": "VolumeAttachment",
            "metadata": { "name": name },
            "spec": { "attacher": driver, "nodeName": node, "source": { "persistentVolumeName": volume } },
        });
        Some((name, object))
    };
    volumes.filter_map(attachment).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_attachment_comes_and_goes_with_its_pod() {
        let api = ApiServer::new();
        let _controller = start(&api, Duration::from_millis(5));
        let metadata = |name: &str| json!({ "name": name, "namespace": "a" });
        api.put(json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "v" },
            "spec": {
                "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"],
                "csi": { "driver": "driver.example", "volumeHandle": "h" },
            },
        }));
        api.put(json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata("c"),
            "spec": {
                "volumeName": "v", "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } },
            },
            "status": { "phase": "Bound" },
        }));
        let pod = |name: &str, node: Option<&str>| {
            json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": metadata(name),
                "spec": {
                    "nodeName": node,
                    "containers": [{ "name": "main", "image": "i" }],
                    "volumes": [{ "name": "d", "persistentVolumeClaim": { "claimName": "c" } }],
                },
            })
        };
        api.put(pod("waits", None));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(api.count("volumeattachments"), 0);
        api.put(pod("runs", Some("n")));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let made: Vec<Value> = api
            .list("volumeattachments")
            .iter()
            .map(|made| made.pointer("/spec").cloned().unwrap_or_default())
            .collect();
        let source = json!({ "persistentVolumeName": "v" });
        assert_eq!(made, [json!({ "attacher": "driver.example", "nodeName": "n", "source": source })]);
        api.delete("pods", "a/runs");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(api.count("volumeattachments"), 0);
    }
}
