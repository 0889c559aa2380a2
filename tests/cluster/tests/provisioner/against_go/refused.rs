//! Claims that fail, each for another reason, and what they need.

use serde_json::{Value, json};

use super::mix::{DRIVER, HOME, KEY, Wanted};

/// Claims that are to get another node.
pub(super) const RESCHEDULED: [&str; 2] = ["gone-node", "full-node"];

/// Claims that fail because of their class or of themselves. The name of a class is that of its claim.
pub(super) fn classes(namespace: &str) -> Vec<Value> {
    let prefix = "csi.storage.k8s.io";
    let one = |name: &str, parameters: Value| {
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
            "provisioner": DRIVER, "volumeBindingMode": "Immediate", "parameters": parameters,
        })
    };
    let name = format!("{prefix}/provisioner-secret-name");
    let place = format!("{prefix}/provisioner-secret-namespace");
    let mut nowhere = one("nowhere", json!({}));
    nowhere["volumeBindingMode"] = json!("WaitForFirstConsumer");
    nowhere["allowedTopologies"] = json!([{"matchLabelExpressions": [{"key": KEY, "values": ["node-9"]}]}]);
    vec![
        one("half-secret", json!({&name: "provision"})),
        one("empty-secret", json!({&name: "", &place: namespace})),
        one("no-secret", json!({&name: "missing", &place: namespace})),
        one("bad-template", json!({&name: "${nothing}", &place: namespace})),
        one("unknown-key", json!({format!("{prefix}/no-such-key"): "x"})),
        one("two-file-systems", json!({"fsType": "xfs", format!("{prefix}/fstype"): "ext4"})),
        one("no-pool", json!({"kind": "none"})),
        nowhere,
    ]
}

/// VolumeAttributesClasses: another driver's, and one that the driver refuses.
pub(super) fn attributes() -> [Value; 2] {
    [("foreign", "other.example", "level"), ("invalid", DRIVER, "colour")].map(|(name, driver, key)| {
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass", "metadata": {"name": name},
            "driverName": driver, "parameters": {key: "x"},
        })
    })
}

/// The claims. Claim `source` is bound and has 1 Mi, claim `unbound` has no volume.
pub(super) fn claims() -> Vec<Wanted> {
    let claim = |name: &str| json!({"kind": "PersistentVolumeClaim", "name": name});
    let snapshot =
        |name: &str| json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": name});
    let size = |size: &str| json!({"requests": {"storage": size}});
    let now = |name: &str, change: Value| Wanted::new(name, "now", change);
    let of_class = |name: &str| Wanted::new(name, name, json!({}));
    let mut all: Vec<Wanted> = [
        "half-secret",
        "empty-secret",
        "no-secret",
        "bad-template",
        "unknown-key",
        "two-file-systems",
        "no-pool",
    ]
    .map(of_class)
    .into();
    all.extend([
        of_class("nowhere").at("node-1"),
        Wanted::new("gone-node", "late", json!({})).at("node-9"),
        Wanted::new("full-node", "late", json!({"resources": size("1Gi")})).at(HOME),
        now("too-large", json!({"resources": size("2Ti")})),
        now("selector", json!({"selector": {"matchLabels": {"a": "b"}}})),
        now("snapshot-missing", json!({"dataSource": snapshot("missing")})),
        now("snapshot-unready", json!({"dataSource": snapshot("unready")})),
        now("snapshot-foreign", json!({"dataSource": snapshot("foreign")})),
        now("snapshot-larger", json!({"dataSource": snapshot("large")})),
        now("snapshot-of-block", json!({"dataSource": snapshot("block"), "volumeMode": "Filesystem"})),
        now("snapshot-gone", json!({"dataSource": snapshot("gone")})),
        now("clone-missing", json!({"dataSource": claim("missing")})),
        now("clone-unbound", json!({"dataSource": claim("unbound")})),
        now("clone-larger", json!({"dataSource": claim("source"), "resources": size("512Ki")})),
        now("clone-to-block", json!({"dataSource": claim("source"), "volumeMode": "Block"})),
        now("attributes-missing", json!({"volumeAttributesClassName": "missing"})),
        now("attributes-foreign", json!({"volumeAttributesClassName": "foreign"})),
        now("attributes-invalid", json!({"volumeAttributesClassName": "invalid"})),
    ]);
    all
}

/// Claims of which neither says anything: with no class, and with one that is not there.
pub(super) fn ignored() -> [Wanted; 2] {
    [Wanted::new("classless", "", json!({})), Wanted::new("class-missing", "missing", json!({}))]
}
