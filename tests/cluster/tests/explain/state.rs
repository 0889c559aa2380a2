//! A state: objects, and what is to be said of one of them.

use serde_json::{Value, json};

/// One state in which an object is stuck.
pub(crate) struct State {
    /// Its name, and that of its namespace.
    pub(crate) name: &'static str,
    /// What is asked, as on the command line.
    pub(crate) ask: &'static str,
    /// The objects, in their order.
    pub(crate) objects: Vec<Value>,
}

impl State {
    /// A state in which the claim `data` is stuck.
    pub(crate) fn of_claim(name: &'static str, objects: Vec<Value>) -> Self {
        Self { name, ask: "pvc data", objects }
    }

    /// The arguments of `mooring explain`.
    pub(crate) fn args(&self) -> Vec<&str> {
        let mut args: Vec<&str> = self.ask.split(' ').collect();
        args.extend(["-n", self.name]);
        args
    }
}

/// An object; `fields` has its spec, status, metadata and so on.
pub(crate) fn object(api_version: &str, kind: &str, name: &str, fields: Value) -> Value {
    let object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
    merged(object, fields)
}

/// A claim of a class for 1 MiB.
pub(crate) fn claim(name: &str, class: &str, fields: Value) -> Value {
    let spec = json!({
        "accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "1Mi"}},
    });
    merged(object("v1", "PersistentVolumeClaim", name, json!({"spec": spec})), fields)
}

/// A class of a driver.
pub(crate) fn class(name: &str, driver: &str, fields: Value) -> Value {
    merged(object("storage.k8s.io/v1", "StorageClass", name, json!({"provisioner": driver})), fields)
}

/// A pod that mounts a claim.
pub(crate) fn pod(name: &str, claim: &str, fields: Value) -> Value {
    let spec = json!({
        "containers": [{"name": "main", "image": "none"}], "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": false,
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}],
    });
    merged(object("v1", "Pod", name, json!({"spec": spec})), fields)
}

/// `fields` put over `object`, map by map.
pub(crate) fn merged(mut object: Value, fields: Value) -> Value {
    match (&mut object, fields) {
        (Value::Object(object), Value::Object(fields)) => {
            for (key, value) in fields {
                let old = object.remove(&key).unwrap_or(Value::Null);
                object.insert(key, merged(old, value));
            }
        }
        (object, fields) => *object = fields,
    }
    object
}

/// A volume of a driver, and a claim that is bound to it: `pv-NAMESPACE` and `data`.
pub(crate) fn bound(namespace: &str, class: &str, driver: &str, volume: Value) -> Vec<Value> {
    let claim = claim("data", class, json!({"spec": {"volumeName": format!("pv-{namespace}")}}));
    vec![self::volume(namespace, class, driver, volume), claim]
}

/// A volume of a driver that is kept for the claim `data`: `pv-NAMESPACE`.
pub(crate) fn volume(namespace: &str, class: &str, driver: &str, fields: Value) -> Value {
    let name = format!("pv-{namespace}");
    let spec = json!({
        "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Mi"}, "storageClassName": class,
        "persistentVolumeReclaimPolicy": "Retain", "csi": {"driver": driver, "volumeHandle": name},
        "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": "data"},
    });
    merged(object("v1", "PersistentVolume", &name, json!({"spec": spec})), fields)
}

/// A VolumeAttachment `va-NAMESPACE` of `pv-NAMESPACE`.
pub(crate) fn attachment(namespace: &str, driver: &str, node: &str, fields: Value) -> Value {
    let source = json!({"persistentVolumeName": format!("pv-{namespace}")});
    let spec = json!({"attacher": driver, "nodeName": node, "source": source});
    let name = format!("va-{namespace}");
    merged(object("storage.k8s.io/v1", "VolumeAttachment", &name, json!({"spec": spec})), fields)
}

/// A Lease that somebody renewed at this time.
pub(crate) fn lease(name: &str, renewed: &str) -> Value {
    let spec = json!({
        "holderIdentity": "host-1", "leaseDurationSeconds": 15, "renewTime": renewed, "acquireTime": renewed,
    });
    object("coordination.k8s.io/v1", "Lease", name, json!({"spec": spec}))
}
