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
