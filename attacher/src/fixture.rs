//! The objects that the tests of decisions start from.

use std::time::Duration;

use base::queue::Backoff;
use kubernetes::object::{Attachment, Keep, Object, Scope, Volume};
use serde_json::{Value, json};
use translation::Plugins;

use crate::config::{Capabilities, Config};
use crate::publication::registry::{Pair, Publication};

pub(crate) const DRIVER: &str = "csi/test";
pub(crate) const FINALIZER: &str = "external-attacher/csi-test";

pub(crate) fn scope() -> Scope {
    Scope { driver: DRIVER.into(), keep: Keep::ATTACH, ..Scope::default() }
}

pub(crate) fn config() -> Config {
    Config {
        driver: DRIVER.into(),
        finalizer: FINALIZER.into(),
        timeout: Duration::from_secs(15),
        backoff: Backoff { base: Duration::from_secs(1), max: Duration::from_secs(300) },
        workers: 10,
        resync: Duration::from_secs(600),
        reconcile_sync: Duration::from_secs(60),
        max_entries: 0,
        default_fs: "".into(),
        error_code: true,
        plugins: Plugins::default(),
        can: Capabilities {
            attach: true,
            read_only: true,
            single_node_multi_writer: false,
            lists_nodes: false,
        },
    }
}

/// An attachment of volume `pv1` to `node1`, changed by a merge patch.
pub(crate) fn attachment(change: Value) -> Attachment {
    let mut object = json!({
        "metadata": {"name": "pv1-node1", "uid": "uid-1", "resourceVersion": "7"},
        "spec": {"attacher": DRIVER, "nodeName": "node1", "source": {"persistentVolumeName": "pv1"}},
        "status": {"attached": false},
    });
    merge(&mut object, change);
    Attachment::slim(serde_json::from_value(object).unwrap(), &scope()).expect("is kept")
}

pub(crate) fn volume(change: Value) -> Volume {
    let mut object = json!({
        "metadata": {"name": "pv1", "uid": "uid-pv1", "resourceVersion": "3"},
        "spec": {"csi": {"driver": DRIVER, "volumeHandle": "handle1"}, "accessModes": ["ReadWriteOnce"]},
    });
    merge(&mut object, change);
    Volume::from_wire(serde_json::from_value(object).unwrap(), &scope())
}

/// The publication that results from attaching that volume.
pub(crate) fn publication() -> Publication {
    Publication {
        attachment: attachment(json!({})).meta,
        pair: Pair { handle: "handle1".into(), node_id: "node1-id".into() },
        volume: Some("pv1".into()),
        node: "node1".into(),
        secret: None,
        migrated: false,
    }
}

/// RFC 7386.
pub(crate) fn merge(into: &mut Value, change: Value) {
    let Value::Object(change) = change else {
        *into = change;
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let Some(into) = into.as_object_mut() else { return };
    for (key, value) in change {
        if value.is_null() {
            into.remove(&key);
        } else {
            merge(into.entry(key).or_insert(Value::Null), value);
        }
    }
}
