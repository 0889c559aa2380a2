//! Sixty claims of every kind that the hostpath driver can serve, and what they need.

use serde_json::{Value, json};

pub(super) const DRIVER: &str = "hostpath.csi.k8s.io";
pub(super) const KEY: &str = "topology.hostpath.csi/node";
const ZONE: &str = "example.com/zone";
/// Where the driver is.
pub(super) const HOME: &str = "node-2";
/// Sizes as users write them.
const SIZES: [&str; 6] = ["1Mi", "1500Ki", "0.5Mi", "1048577", "2M", "1e6"];

/// The nodes: name, zone, and the keys that the driver registered there.
pub(super) const NODES: [(&str, &str, &[&str]); 4] =
    [("node-1", "a", &[KEY]), (HOME, "a", &[KEY]), ("node-3", "b", &[KEY, ZONE]), ("node-4", "c", &[ZONE])];

/// The labels of a node.
pub(super) fn labels(name: &str, zone: &str) -> [(String, String); 2] {
    [(KEY.to_owned(), name.to_owned()), (ZONE.to_owned(), zone.to_owned())]
}

/// A claim: its name, its spec, and the node that is selected for it.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) spec: Value,
    pub(super) node: Option<&'static str>,
}

impl Wanted {
    pub(super) fn new(name: impl Into<String>, class: &str, change: Value) -> Self {
        let mut spec = json!({
            "accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "1Mi"}},
        });
        if let (Value::Object(spec), Value::Object(change)) = (&mut spec, change) {
            spec.extend(change);
        }
        Self { name: name.into(), spec, node: None }
    }

    fn of_size(name: impl Into<String>, class: &str, size: &str) -> Self {
        Self::new(name, class, json!({"resources": {"requests": {"storage": size}}}))
    }

    pub(super) fn at(self, node: &'static str) -> Self {
        Self { node: Some(node), ..self }
    }
}

/// The classes, in the namespace of the test.
pub(super) fn classes(namespace: &str) -> Vec<Value> {
    let prefix = "csi.storage.k8s.io";
    let one = |name: &str, binding: &str, change: Value| {
        let mut class = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
            "provisioner": DRIVER, "reclaimPolicy": "Delete", "volumeBindingMode": binding,
        });
        if let (Value::Object(class), Value::Object(change)) = (&mut class, change) {
            class.extend(change);
        }
        class
    };
    let (now, late) = ("Immediate", "WaitForFirstConsumer");
    let allowed = json!({"allowedTopologies": [
        {"matchLabelExpressions": [{"key": KEY, "values": ["node-3", HOME]}]},
        {"matchLabelExpressions": [{"key": KEY, "values": ["node-1", HOME]}]},
    ]});
    let secret = |stage: &str, name: &str| {
        [
            (format!("{prefix}/{stage}secret-name"), name.to_owned()),
            (format!("{prefix}/{stage}secret-namespace"), namespace.to_owned()),
        ]
    };
    let stages = [
        secret("provisioner-", "provision"),
        secret("controller-publish-", "publish-${pvc.name}"),
        secret("node-stage-", "stage-${pv.name}"),
        secret("node-publish-", "${pvc.annotations['team']}"),
        secret("controller-expand-", "expand-${pvc.namespace}"),
        secret("node-expand-", "expand"),
        secret("controller-modify-", "modify"),
    ];
    let stages: std::collections::BTreeMap<String, String> = stages.into_iter().flatten().collect();
    let default: std::collections::BTreeMap<String, String> = secret("", "provision").into_iter().collect();
    let old = json!({
        "fsType": "ext3", "note": "kept",
        "csiNodeStageSecretName": "stage", "csiNodeStageSecretNamespace": namespace,
    });
    vec![
        one("now", now, json!({})),
        one("late", late, json!({})),
        one(
            "kept",
            now,
            json!({"reclaimPolicy": "Retain", "mountOptions": ["noatime", "nodev"], "parameters": {format!("{prefix}/fstype"): "xfs", "note": "x"}}),
        ),
        one("old-keys", now, json!({"parameters": old})),
        one("secrets", now, json!({"parameters": stages})),
        one("default-secret", now, json!({"parameters": default})),
        one("allowed-now", now, allowed.clone()),
        one("allowed-late", late, allowed),
    ]
}

/// Claims whose volumes others are filled from: they are there before the others are asked for.
pub(super) fn sources() -> Vec<Wanted> {
    vec![
        Wanted::new("source", "now", json!({})),
        Wanted::new("source-block", "now", json!({"volumeMode": "Block"})),
    ]
}

/// The claims. `any` is a node that late-bound claims may be for besides the driver's own.
pub(super) fn claims(any: &'static str) -> Vec<Wanted> {
    let mut all = Vec::new();
    for name in ["data-0", "data-1", "data-2", "web-app-7", "cache", "logs"] {
        all.push(Wanted::new(name, "now", json!({})));
    }
    for (number, size) in SIZES.into_iter().enumerate() {
        all.push(Wanted::of_size(format!("size-{number}"), "now", size));
    }
    for (name, modes) in [
        ("rox", json!(["ReadOnlyMany"])),
        ("rwx", json!(["ReadWriteMany"])),
        ("rwop", json!(["ReadWriteOncePod"])),
        ("two-modes", json!(["ReadWriteOnce", "ReadOnlyMany"])),
    ] {
        all.push(Wanted::new(name, "now", json!({"accessModes": modes})));
    }
    for number in 0..3 {
        all.push(Wanted::new(format!("block-{number}"), "now", json!({"volumeMode": "Block"})));
    }
    for number in 0..6 {
        let node = if number % 2 == 0 { HOME } else { any };
        all.push(Wanted::of_size(format!("late-{number}"), "late", "3Mi").at(node));
    }
    all.push(Wanted::new("late-block-0", "late", json!({"volumeMode": "Block"})).at(HOME));
    all.push(Wanted::new("late-block-1", "late", json!({"volumeMode": "Block"})).at(any));
    for class in ["kept", "old-keys", "default-secret"] {
        all.extend((0..3).map(|number| Wanted::new(format!("{class}-{number}"), class, json!({}))));
    }
    all.extend((0..4).map(|number| Wanted::new(format!("secrets-{number}"), "secrets", json!({}))));
    all.extend((0..4).map(|number| Wanted::new(format!("allowed-{number}"), "allowed-now", json!({}))));
    for number in 0..3 {
        let node = if number == 1 { any } else { HOME };
        all.push(Wanted::new(format!("allowed-late-{number}"), "allowed-late", json!({})).at(node));
    }
    for number in 0..4 {
        let class = if number == 3 { "silver" } else { "gold" };
        let change = json!({"volumeAttributesClassName": class});
        all.push(Wanted::new(format!("attributes-{number}"), "now", change));
    }
    all.extend(filled());
    all
}

/// Claims that are filled from a claim or from a snapshot.
fn filled() -> Vec<Wanted> {
    let claim = |name: &str| json!({"kind": "PersistentVolumeClaim", "name": name});
    let snapshot =
        |name: &str| json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": name});
    let large = json!({"requests": {"storage": "4Mi"}});
    vec![
        Wanted::new("clone", "now", json!({"dataSource": claim("source")})),
        Wanted::new("clone-larger", "now", json!({"dataSource": claim("source"), "resources": large})),
        Wanted::new("clone-ref", "now", json!({"dataSourceRef": claim("source")})),
        Wanted::new(
            "clone-block",
            "now",
            json!({"dataSource": claim("source-block"), "volumeMode": "Block"}),
        ),
        Wanted::new("clone-late", "late", json!({"dataSource": claim("source")})).at(HOME),
        Wanted::new("restored", "now", json!({"dataSource": snapshot("snap")})),
        Wanted::new("restored-larger", "kept", json!({"dataSource": snapshot("snap"), "resources": large})),
        Wanted::new("restored-ref", "now", json!({"dataSourceRef": snapshot("snap")})),
        Wanted::new(
            "restored-block",
            "now",
            json!({"dataSource": snapshot("snap-block"), "volumeMode": "Block"}),
        ),
    ]
}
