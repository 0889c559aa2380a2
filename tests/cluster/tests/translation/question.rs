//! Random questions: objects as users and controllers write them, and as nobody should.
//!
//! Each field is taken from values that lead somewhere: those that the sheet of the plugin names, beside broken ones.

mod source;

use fastrand::Rng;
use serde_json::{Map, Value, json};
use translation::Plugin;

/// What both are asked.
pub(crate) enum Question {
    /// A class.
    Class { plugin: Plugin, class: Value },
    /// A volume of a pod.
    Inline { plugin: Plugin, volume: Value, namespace: String },
    /// An in-tree PersistentVolume.
    ToCsi { plugin: Plugin, volume: Value },
    /// A CSI PersistentVolume.
    ToInTree { plugin: Plugin, volume: Value },
    /// A volume's handle and a node's id.
    Repair { plugin: Plugin, handle: String, node: String },
    /// The driver's name.
    Names { plugin: Plugin },
}

const ZONE_KEYS: [&str; 4] = [
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
];

impl Question {
    /// Any question about the plugin.
    pub(crate) fn random(rng: &mut Rng, plugin: Plugin) -> Self {
        match rng.u8(0..20) {
            0..4 => Self::Class { plugin, class: class(rng, plugin) },
            4..7 => {
                let mut volume = source::inline(rng, plugin);
                volume["name"] = pick(rng, &["vol", "data-1"]).into();
                Self::Inline { plugin, volume, namespace: pick(rng, &["", "default", "pods"]) }
            }
            7..12 => Self::ToCsi { plugin, volume: volume(rng, plugin, source::in_tree) },
            12..18 => Self::ToInTree { plugin, volume: volume(rng, plugin, source::csi) },
            18 => Self::Repair { plugin, handle: source::handle(rng, plugin), node: source::node_id(rng) },
            _ => Self::Names { plugin },
        }
    }

    /// What it is about.
    pub(crate) fn plugin(&self) -> Plugin {
        match self {
            Self::Class { plugin, .. }
            | Self::Inline { plugin, .. }
            | Self::ToCsi { plugin, .. }
            | Self::ToInTree { plugin, .. }
            | Self::Repair { plugin, .. }
            | Self::Names { plugin } => *plugin,
        }
    }

    /// As the Go program reads it.
    pub(crate) fn to_json(&self) -> Value {
        let plugin = self.plugin().name();
        match self {
            Self::Class { class, .. } => json!({"operation": "class", "plugin": plugin, "class": class}),
            Self::Inline { volume, namespace, .. } => {
                json!({"operation": "inline", "plugin": plugin, "inline": volume, "namespace": namespace})
            }
            Self::ToCsi { volume, .. } => json!({"operation": "to_csi", "plugin": plugin, "volume": volume}),
            Self::ToInTree { volume, .. } => {
                json!({"operation": "to_in_tree", "plugin": plugin, "volume": volume})
            }
            Self::Repair { handle, node, .. } => json!({
                "operation": "repair", "plugin": plugin, "driver": self.plugin().driver(), "handle": handle, "nodeID": node,
            }),
            Self::Names { .. } => json!({"operation": "names", "plugin": plugin}),
        }
    }
}

/// One of these.
pub(crate) fn pick(rng: &mut Rng, values: &[&str]) -> String {
    rng.choice(values).copied().unwrap_or_default().to_owned()
}

/// Whether to, one time in `times`.
pub(crate) fn once_in(rng: &mut Rng, times: u32) -> bool {
    rng.u32(0..times) == 0
}

/// Sets the field half of the time.
pub(crate) fn maybe(rng: &mut Rng, object: &mut Value, field: &str, value: impl FnOnce(&mut Rng) -> Value) {
    if rng.bool() {
        object[field] = value(rng);
    }
}

/// A name of a parameter or attribute in a spelling of its own.
fn respelt(rng: &mut Rng, name: &str) -> String {
    match rng.u8(0..6) {
        0 => name.to_uppercase(),
        1 => {
            let mut letters = name.chars();
            let first = letters.next().map(|letter| letter.to_ascii_uppercase());
            first.into_iter().chain(letters).collect()
        }
        _ => name.to_owned(),
    }
}

/// Some of these pairs, with their names respelt.
pub(crate) fn pairs(rng: &mut Rng, names: &[&str], value: impl Fn(&mut Rng, &str) -> String) -> Value {
    let mut found = Map::new();
    for name in names {
        if once_in(rng, 3) {
            let value = value(rng, name);
            found.insert(respelt(rng, name), value.into());
        }
    }
    Value::Object(found)
}

fn class(rng: &mut Rng, plugin: Plugin) -> Value {
    let mut names = vec!["fstype", "type", "csi.storage.k8s.io/node-publish-secret-name"];
    let zones = match rng.u8(0..4) {
        0 => &["zone"][..],
        1 => &["zones"],
        2 => &["zone", "zones"],
        _ => &[],
    };
    names.extend(zones);
    names.extend(source::parameters(plugin));
    let mut parameters = pairs(rng, &names, |rng, name| match name {
        "zone" => zone(rng),
        "zones" => {
            (0..rng.usize(1..4)).map(|_| zone(rng)).collect::<Vec<_>>().join(pick(rng, &[",", ", "]).as_str())
        }
        _ => pick(rng, &["", "a", "ext4", "true", "10.0.0.1:6789,10.0.0.2:6789"]),
    });
    // Without these rbd refuses every class.
    if plugin == Plugin::Rbd && !once_in(rng, 4) {
        parameters["monitors"] = "10.0.0.1:6789".into();
        parameters["adminSecretName"] = "s".into();
    }
    let mut class =
        json!({"metadata": {"name": "c"}, "provisioner": plugin.name(), "parameters": parameters});
    if once_in(rng, 3) {
        class["allowedTopologies"] = (0..rng.usize(0..3)).map(|_| allowed_term(rng, plugin)).collect();
    }
    maybe(rng, &mut class, "reclaimPolicy", |rng| pick(rng, &["Delete", "Retain"]).into());
    maybe(rng, &mut class, "mountOptions", |_| json!(["noatime"]));
    maybe(rng, &mut class, "volumeBindingMode", |_| "WaitForFirstConsumer".into());
    class
}

fn allowed_term(rng: &mut Rng, plugin: Plugin) -> Value {
    let expression = |rng: &mut Rng| {
        let values: Vec<String> = (0..rng.usize(1..3)).map(|_| zone(rng)).collect();
        json!({"key": key(rng, plugin), "values": values})
    };
    json!({"matchLabelExpressions": (0..rng.usize(0..3)).map(|_| expression(rng)).collect::<Vec<_>>()})
}

/// A key of topologies.
fn key(rng: &mut Rng, plugin: Plugin) -> String {
    let of_driver = source::topology_keys(plugin);
    let mut keys = ZONE_KEYS.to_vec();
    keys.extend(of_driver);
    keys.extend(of_driver);
    keys.push("example.com/rack");
    pick(rng, &keys)
}

fn zone(rng: &mut Rng) -> String {
    let known = [
        "us-central1-a",
        "us-central1-b",
        "us-west-2a",
        "us-gov-east-1a",
        "us-west-2-lax-1a",
        "us-east-1-wl1-bos-wlz-1",
    ];
    let odd = [
        "",
        "0",
        "12",
        " us-central1-a ",
        "nova",
        "eastus-1",
        "a-b",
        "a-b-c-d",
        "a-b-c-d-e-f",
        "us-west-10a",
    ];
    if once_in(rng, 5) { pick(rng, &odd) } else { pick(rng, &known) }
}

fn volume(rng: &mut Rng, plugin: Plugin, spec: fn(&mut Rng, Plugin) -> Value) -> Value {
    let mut spec = spec(rng, plugin);
    maybe(rng, &mut spec, "accessModes", |rng| {
        let modes = ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"];
        (0..rng.usize(0..3)).map(|_| pick(rng, &modes)).collect()
    });
    maybe(rng, &mut spec, "capacity", |_| json!({"storage": "1Gi"}));
    maybe(rng, &mut spec, "volumeMode", |rng| pick(rng, &["Filesystem", "Block"]).into());
    maybe(rng, &mut spec, "claimRef", |rng| {
        let mut claim = json!({"name": "c"});
        maybe(rng, &mut claim, "namespace", |_| "claims".into());
        claim
    });
    if rng.bool() {
        spec["nodeAffinity"] = affinity(rng, plugin);
    }
    let mut metadata = json!({"name": pick(rng, &["pv", "pvc-1"])});
    maybe(rng, &mut metadata, "labels", labels);
    maybe(rng, &mut metadata, "annotations", annotations);
    json!({"metadata": metadata, "spec": spec})
}

fn affinity(rng: &mut Rng, plugin: Plugin) -> Value {
    // Zones of one region often enough, or regions are never found.
    let of_one = rng.bool();
    let known = zone(rng);
    let requirement = |rng: &mut Rng| {
        let values: Vec<String> =
            (0..rng.usize(0..3)).map(|_| if of_one { known.clone() } else { zone(rng) }).collect();
        let operator = if once_in(rng, 8) { "Exists" } else { "In" };
        json!({"key": key(rng, plugin), "operator": operator, "values": values})
    };
    let term = |rng: &mut Rng| json!({"matchExpressions": (0..rng.usize(0..4)).map(|_| requirement(rng)).collect::<Vec<_>>()});
    match rng.u8(0..10) {
        0 => json!({}),
        1 => json!({"required": {"nodeSelectorTerms": []}}),
        _ => {
            json!({"required": {"nodeSelectorTerms": (0..rng.usize(1..3)).map(|_| term(rng)).collect::<Vec<_>>()}})
        }
    }
}

fn labels(rng: &mut Rng) -> Value {
    let mut labels = json!({"app": "x"});
    for key in ZONE_KEYS {
        if once_in(rng, 3) {
            labels[key] = match rng.u8(0..8) {
                0 => "us-central1-a__us-central1-b".into(),
                1 => "us-west-2b__us-west-2a__us-west-2a".into(),
                2 => pick(rng, &["__", "a__", " a __ b ", "us-central1-a__us-west1-b"]).into(),
                _ => zone(rng).into(),
            };
        }
    }
    labels
}

fn annotations(rng: &mut Rng) -> Value {
    let names = [
        "kubernetes.io/azure-file-resource-group",
        "openstorage.io/auth-secret-name",
        "openstorage.io/auth-secret-namespace",
        "rbd.csi.ceph.com/volume-handle",
        "clusterID",
        "imageFeatures",
        "imageFormat",
        "journalPool",
    ];
    let mut found = json!({"pv.kubernetes.io/provisioned-by": "x"});
    for name in names {
        if rng.bool() {
            found[name] = pick(rng, &["", "a", "b"]).into();
        }
    }
    found
}
