//! The objects that the tests of decisions start from.

use std::time::Duration;

use base::queue::Backoff;
use kubernetes::object::{Claim, Keep, Object, Scope, Volume};
use serde_json::{Value, json};
use translation::Plugins;

use crate::config::{Capabilities, Config};

pub(crate) const DRIVER: &str = "driver.example";
pub(crate) const NOW: &str = "2026-01-01T00:00:00Z";

pub(crate) fn scope() -> Scope {
    Scope { driver: DRIVER.into(), keep: Keep::RESIZE, ..Scope::default() }
}

/// A configuration in which nothing can be done.
pub(crate) fn config() -> Config {
    let (short, long) = (Duration::from_secs(1), Duration::from_secs(300));
    Config {
        driver: DRIVER.into(),
        expand_timeout: short,
        modify_timeout: short,
        backoff: Backoff { base: short, max: long },
        workers: 1,
        resync: long,
        looks_at_pods: true,
        extra_modify_metadata: false,
        annotate: true,
        plugins: Plugins::default(),
        classes: None,
        can: Capabilities::default(),
    }
}

/// The usual claim, bound to the usual volume, changed by a merge patch.
pub(crate) fn claim(change: Value) -> Claim {
    let mut object = json!({
        "metadata": {"name": "data", "namespace": "default", "uid": "claim-uid", "resourceVersion": "1"},
        "spec": {"volumeName": "pv", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}},
    });
    merge(&mut object, &change);
    Claim::slim(serde_json::from_value(object).unwrap(), &scope()).unwrap()
}

/// The usual volume, changed by a merge patch.
pub(crate) fn volume(change: Value) -> Volume {
    let mut object = json!({
        "metadata": {"name": "pv", "uid": "volume-uid", "resourceVersion": "1"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
            "claimRef": {"namespace": "default", "name": "data", "uid": "claim-uid"},
            "csi": {"driver": DRIVER, "volumeHandle": "handle"},
        },
    });
    merge(&mut object, &change);
    Volume::slim(serde_json::from_value(object).unwrap(), &scope()).unwrap()
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        match (value.is_null(), target.as_object_mut()) {
            (true, Some(map)) => drop(map.remove(key)),
            (false, Some(map)) => merge(map.entry(key).or_insert(Value::Null), value),
            (_, None) => {}
        }
    }
}
