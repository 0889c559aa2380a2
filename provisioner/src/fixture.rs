//! The objects that the tests of decisions start from (docs/upstream/provisioner.md, "Test cases").

use base::queue::Backoff;
use kubernetes::object::{AttributesVersion, Claim, Class, Keep, Object, Scope, Volume};
use serde_json::{Value, json};
use std::time::Duration;
use translation::Plugins;

use crate::config::{Capabilities, Config};
use crate::node::NodeSettings;

/// The driver of the tests.
pub(crate) const DRIVER: &str = "test-driver";

pub(crate) fn scope() -> Scope {
    Scope { driver: DRIVER.into(), keep: Keep::PROVISION.and(Keep::PLACE), ..Scope::default() }
}

pub(crate) fn config() -> Config {
    Config {
        driver: "test-driver".into(),
        identity: "test-provisioner".into(),
        timeout: Duration::from_secs(10),
        backoff: Backoff { base: Duration::from_secs(1), max: Duration::from_secs(300) },
        workers: 100,
        clone_workers: 1,
        prefix: "test".into(),
        uuid_length: Some(5),
        default_fs: "ext4".into(),
        extra_metadata: false,
        publish_read_only: false,
        prevent_mode_conversion: true,
        snapshot_sweep: Some(Duration::from_secs(300)),
        cross_namespace: false,
        topology: true,
        strict_topology: false,
        immediate_topology: true,
        attributes_classes: Some(AttributesVersion::V1),
        node: None,
        capacity: None,
        plugins: Plugins::default(),
        intents: None,
        can: Capabilities { controller: true, create_delete: true, ..Capabilities::default() },
    }
}

/// The settings of node `node-1`.
pub(crate) fn node() -> NodeSettings {
    NodeSettings {
        name: "node-1".into(),
        segments: [("host".to_owned(), "node-1".to_owned()), ("zone".to_owned(), "z1".to_owned())].into(),
        immediate: true,
        base_delay: Duration::from_secs(20),
        max_delay: Duration::from_secs(60),
    }
}

pub(crate) fn claim() -> Claim {
    claim_from(json!({}), json!({}))
}

/// The fixture's claim with its annotations and fields of its spec replaced.
pub(crate) fn claim_from(annotations: Value, spec: Value) -> Claim {
    let mut object = json!({
        "metadata": {"name": "fake-pvc", "namespace": "fake-ns", "uid": "testid", "resourceVersion": "12",
            "annotations": {"volume.kubernetes.io/storage-provisioner": "test-driver"}},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "fake-sc",
            "resources": {"requests": {"storage": "100"}},
        },
    });
    merge(&mut object["metadata"]["annotations"], annotations);
    merge(&mut object["spec"], spec);
    Claim::slim(serde_json::from_value(object).unwrap(), &scope()).expect("is ours")
}

pub(crate) fn with_annotations(mut claim: Claim, annotations: &[(&str, &str)]) -> Claim {
    let map = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    claim.meta.annotations = kubernetes::object::Pairs::filtered(Some(map), |_| true);
    claim
}

pub(crate) fn class() -> Class {
    class_from(json!({}))
}

/// The fixture's class with fields replaced.
pub(crate) fn class_from(fields: Value) -> Class {
    let mut object = json!({
        "metadata": {"name": "fake-sc", "uid": "class-uid"},
        "provisioner": "test-driver",
        "reclaimPolicy": "Delete",
    });
    merge(&mut object, fields);
    Class::slim(serde_json::from_value(object).unwrap(), &scope()).expect("is ours")
}

pub(crate) fn volume(object: Value) -> Volume {
    Volume::from_wire(serde_json::from_value(object).unwrap(), &scope())
}

fn merge(into: &mut Value, fields: Value) {
    if let (Some(into), Value::Object(fields)) = (into.as_object_mut(), fields) {
        into.extend(fields);
    }
}
