//! Claims that have no volume.

use serde_json::json;

use crate::state::{State, claim, class};

pub(crate) const DRIVER: &str = "hostpath.csi.k8s.io";

/// The states.
pub(crate) fn states() -> Vec<State> {
    let secret = json!({"parameters": {
        "csi.storage.k8s.io/provisioner-secret-name": "key-${pvc.name}",
        "csi.storage.k8s.io/provisioner-secret-namespace": "${pvc.namespace}",
    }});
    vec![
        State::of_claim("class-missing", vec![claim("data", "nowhere", json!({}))]),
        State::of_claim(
            "no-pod",
            vec![
                class("late", DRIVER, json!({"volumeBindingMode": "WaitForFirstConsumer"})),
                claim("data", "late", json!({})),
            ],
        ),
        State::of_claim(
            "secret-missing",
            vec![class("secret", DRIVER, secret), claim("data", "secret", json!({}))],
        ),
        State::of_claim(
            "driver-unknown",
            vec![class("typo", "hostpth.csi.k8s.io", json!({})), claim("data", "typo", json!({}))],
        ),
        State::of_claim(
            "refused",
            vec![
                class("csi", DRIVER, json!({})),
                claim("data", "csi", json!({"spec": {"resources": {"requests": {"storage": "3Gi"}}}})),
            ],
        ),
    ]
}
