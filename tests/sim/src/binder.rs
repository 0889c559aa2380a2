//! The part of kube-controller-manager that a provisioner lives with: the binder and the protection controllers.
//!
//! Binds claims to volumes whose `claimRef` names them, hands unbound claims to their class's provisioner, releases
//! volumes whose claim is gone, takes the `pvc-protection`, `pv-protection` and `vac-protection` finalizers off when
//! nothing uses the object any more, and tells in the condition `Unused` whether a pod uses a bound claim. Of volumes that an
//! in-tree plugin made it says to which driver they are migrated. Not here: choosing among ready-made volumes.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::api::ApiServer;
use crate::api::admission::set_at;
use crate::migration::driver_of;

/// A running binder; it stops when this is dropped.
#[derive(Debug)]
pub struct Binder(JoinHandle<()>);

impl Drop for Binder {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts a binder that looks at everything `delay` after each change. Must be called in a tokio runtime.
pub fn start(api: &ApiServer, delay: Duration) -> Binder {
    let api = api.clone();
    Binder(tokio::spawn(async move {
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

fn is_deleting(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some()
}

fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    finalizers.is_some_and(|all| all.iter().any(|one| one == finalizer))
}

fn drop_finalizer(object: &mut Value, finalizer: &str) {
    if let Some(Value::Array(all)) = object.pointer_mut("/metadata/finalizers") {
        all.retain(|one| one != finalizer);
    }
}

/// `namespace/name`.
fn reference(claim: &Value) -> String {
    format!("{}/{}", text(claim, "/metadata/namespace"), text(claim, "/metadata/name"))
}

/// One look at everything.
fn pass(api: &ApiServer) {
    for claim in api.list("persistentvolumeclaims") {
        sync_claim(api, &claim);
    }
    for volume in api.list("persistentvolumes") {
        sync_volume(api, &volume);
    }
    for class in api.list("volumeattributesclasses") {
        sync_attributes_class(api, &class);
    }
}

/// A class of attributes may go when neither a claim nor a volume names it.
fn sync_attributes_class(api: &ApiServer, class: &Value) {
    const PROTECTION: &str = "kubernetes.io/vac-protection";
    if !is_deleting(class) || !has_finalizer(class, PROTECTION) {
        return;
    }
    let name = text(class, "/metadata/name");
    let users =
        ["persistentvolumeclaims", "persistentvolumes"].into_iter().flat_map(|plural| api.list(plural));
    let names = |object: &Value| {
        let fields = ["/spec/volumeAttributesClassName", "/status/currentVolumeAttributesClassName"];
        fields.iter().any(|field| text(object, field) == name)
    };
    if !users.into_iter().any(|object| names(&object)) {
        api.edit_if_there("volumeattributesclasses", name, |class| drop_finalizer(class, PROTECTION));
    }
}

fn sync_claim(api: &ApiServer, claim: &Value) {
    const PROTECTION: &str = "kubernetes.io/pvc-protection";
    let name = reference(claim);
    tell_whether_unused(api, claim);
    if is_deleting(claim) && has_finalizer(claim, PROTECTION) && !is_used(api, claim) {
        api.edit_if_there("persistentvolumeclaims", &name, |claim| drop_finalizer(claim, PROTECTION));
        return;
    }
    let volume_name = text(claim, "/spec/volumeName");
    if volume_name.is_empty() {
        let volumes = api.list("persistentvolumes");
        // The controller binds no volume that is being deleted.
        match volumes.iter().find(|volume| is_for(volume, claim) && !is_deleting(volume)) {
            Some(volume) => bind(api, claim, volume),
            None => ask_provisioner(api, claim),
        }
        return;
    }
    match api.get("persistentvolumes", volume_name) {
        Some(volume) if text(claim, "/status/phase") != "Bound" && is_for(&volume, claim) => {
            bind(api, claim, &volume)
        }
        // The volume was replaced under its claim.
        Some(volume) if text(&volume, "/status/phase") != "Bound" && is_for(&volume, claim) => {
            api.edit_if_there("persistentvolumes", volume_name, |volume| {
                set_at(volume, &["status", "phase"], json!("Bound"));
            });
        }
        None if text(claim, "/status/phase") == "Bound" && !api.keeps_from_lost(claim) => {
            api.edit_if_there("persistentvolumeclaims", &name, |claim| {
                set_at(claim, &["status", "phase"], json!("Lost"))
            });
        }
        Some(_) | None => {}
    }
}

/// Keeps the condition `Unused` of a bound claim, as Kubernetes does from 1.37 on: one more write right after the binding,
/// and one whenever its first pod comes or its last one goes.
fn tell_whether_unused(api: &ApiServer, claim: &Value) {
    if text(claim, "/status/phase") != "Bound" || is_deleting(claim) {
        return;
    }
    let (status, reason, message) = if is_used(api, claim) {
        ("False", "PodUsingPVC", "A pod is currently referencing this PVC")
    } else {
        ("True", "NoPodsUsingPVC", "No pods are currently referencing this PVC")
    };
    let is_unused = |condition: &Value| text(condition, "/type") == "Unused";
    let conditions =
        claim.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    if conditions.iter().any(|condition| is_unused(condition) && text(condition, "/status") == status) {
        return;
    }
    let mut conditions: Vec<Value> =
        conditions.into_iter().filter(|condition| !is_unused(condition)).collect();
    conditions.push(json!({ "type": "Unused", "status": status, "reason": reason, "message": message }));
    api.edit_if_there("persistentvolumeclaims", &reference(claim), |claim| {
        set_at(claim, &["status", "conditions"], json!(conditions));
    });
}

/// Whether a pod that has not ended mounts the claim.
fn is_used(api: &ApiServer, claim: &Value) -> bool {
    api.list("pods").iter().any(|pod| {
        let ended = matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
        let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
        !ended
            && text(pod, "/metadata/namespace") == text(claim, "/metadata/namespace")
            && volumes.is_some_and(|volumes| {
                let name = text(claim, "/metadata/name");
                volumes.iter().any(|volume| text(volume, "/persistentVolumeClaim/claimName") == name)
            })
    })
}

/// Whether the volume's claimRef is this very claim.
fn is_for(volume: &Value, claim: &Value) -> bool {
    let uid = text(volume, "/spec/claimRef/uid");
    text(volume, "/spec/claimRef/name") == text(claim, "/metadata/name")
        && text(volume, "/spec/claimRef/namespace") == text(claim, "/metadata/namespace")
        && (uid.is_empty() || uid == text(claim, "/metadata/uid"))
}

fn bind(api: &ApiServer, claim: &Value, volume: &Value) {
    api.edit_if_there("persistentvolumes", text(volume, "/metadata/name"), |volume| {
        set_at(
            volume,
            &["spec", "claimRef", "uid"],
            claim.pointer("/metadata/uid").cloned().unwrap_or_default(),
        );
        set_at(volume, &["status", "phase"], json!("Bound"));
    });
    api.edit_if_there("persistentvolumeclaims", &reference(claim), |claim| {
        set_at(claim, &["spec", "volumeName"], json!(text(volume, "/metadata/name")));
        for annotation in ["pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller"] {
            set_at(claim, &["metadata", "annotations", annotation], json!("yes"));
        }
        let copied = |pointer: &str| volume.pointer(pointer).cloned().unwrap_or_default();
        let status = json!({ "phase": "Bound", "accessModes": copied("/spec/accessModes"), "capacity": copied("/spec/capacity") });
        set_at(claim, &["status"], status);
    });
}

/// Names the provisioner in the claim's annotations, as soon as it may begin.
fn ask_provisioner(api: &ApiServer, claim: &Value) {
    let class_name = match text(claim, "/metadata/annotations/volume.beta.kubernetes.io~1storage-class") {
        "" => text(claim, "/spec/storageClassName"),
        beta => beta,
    };
    let Some(class) = (!class_name.is_empty()).then(|| api.get("storageclasses", class_name)).flatten()
    else {
        return;
    };
    let waits = text(&class, "/volumeBindingMode") == "WaitForFirstConsumer";
    let selected = text(claim, "/metadata/annotations/volume.kubernetes.io~1selected-node");
    let provisioner = text(&class, "/provisioner").to_owned();
    if (waits && selected.is_empty()) || provisioner == "kubernetes.io/no-provisioner" {
        return;
    }
    // The claim of an in-tree class is for the driver that has replaced the plugin.
    let provisioner = driver_of(&provisioner).map_or(provisioner, str::to_owned);
    api.edit_if_there("persistentvolumeclaims", &reference(claim), |claim| {
        for annotation in
            ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"]
        {
            set_at(claim, &["metadata", "annotations", annotation], json!(provisioner));
        }
    });
}

/// Says in an annotation which driver serves a volume that an in-tree plugin is said to have made.
fn tell_migration(api: &ApiServer, volume: &Value) {
    const MIGRATED_TO: &str = "pv.kubernetes.io/migrated-to";
    let annotation = |key: &str| volume.pointer("/metadata/annotations")?.get(key)?.as_str();
    let driver = annotation("pv.kubernetes.io/provisioned-by").and_then(driver_of);
    if driver.is_some() && annotation(MIGRATED_TO) != driver {
        api.edit_if_there("persistentvolumes", text(volume, "/metadata/name"), |volume| {
            set_at(volume, &["metadata", "annotations", MIGRATED_TO], json!(driver));
        });
    }
}

fn sync_volume(api: &ApiServer, volume: &Value) {
    const PROTECTION: &str = "kubernetes.io/pv-protection";
    let name = text(volume, "/metadata/name");
    let phase = text(volume, "/status/phase");
    tell_migration(api, volume);
    if is_deleting(volume) && has_finalizer(volume, PROTECTION) && phase != "Bound" {
        api.edit_if_there("persistentvolumes", name, |volume| drop_finalizer(volume, PROTECTION));
        return;
    }
    let wanted = if volume.pointer("/spec/claimRef").is_none() {
        "Available"
    } else {
        let claim =
            format!("{}/{}", text(volume, "/spec/claimRef/namespace"), text(volume, "/spec/claimRef/name"));
        let claim = api.get("persistentvolumeclaims", &claim).filter(|claim| is_for(volume, claim));
        match claim {
            // Bound together with the claim, never alone.
            Some(_) => return,
            None if text(volume, "/spec/claimRef/uid").is_empty() => "Available",
            None => "Released",
        }
    };
    if phase != wanted && phase != "Failed" {
        api.edit_if_there("persistentvolumes", name, |volume| {
            set_at(volume, &["status", "phase"], json!(wanted))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bound_claim_says_whether_a_pod_uses_it() {
        let api = ApiServer::new();
        let _binder = start(&api, Duration::from_millis(5));
        let metadata = |name: &str| json!({ "name": name, "namespace": "a" });
        api.put(json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "v" },
            "spec": {
                "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"],
                "csi": { "driver": "driver.example", "volumeHandle": "h" },
                "claimRef": { "namespace": "a", "name": "c" },
            },
        }));
        api.put(json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata("c"),
            "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
        }));
        let conditions = async || {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let claim = api.get("persistentvolumeclaims", "a/c").unwrap_or_default();
            let all = claim.pointer("/status/conditions").and_then(Value::as_array).cloned();
            let words = |one: &Value| format!("{} {}", text(one, "/type"), text(one, "/status"));
            all.unwrap_or_default().iter().map(words).collect::<Vec<_>>()
        };
        assert_eq!(conditions().await, ["Unused True"]);
        api.edit("persistentvolumeclaims", "a/c", |claim| {
            let ours = json!({ "type": "Resizing", "status": "True" });
            claim.pointer_mut("/status/conditions").and_then(Value::as_array_mut).expect("some").push(ours);
        });
        api.put(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": metadata("p"),
            "spec": {
                "containers": [{ "name": "main", "image": "i" }],
                "volumes": [{ "name": "d", "persistentVolumeClaim": { "claimName": "c" } }],
            },
        }));
        assert_eq!(conditions().await, ["Resizing True", "Unused False"]);
        api.delete("pods", "a/p");
        assert_eq!(conditions().await, ["Resizing True", "Unused True"]);
    }
}
