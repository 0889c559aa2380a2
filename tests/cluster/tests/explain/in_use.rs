//! Claims that have a volume: growth, attributes, pods, deletion.

use serde_json::{Value, json};

use crate::site::DRIVER;
use crate::state::{State, bound, claim, lease, object, pod};

/// The states.
pub(crate) fn states() -> Vec<State> {
    [growth(), use_(), removal()].into_iter().flatten().collect()
}

/// A claim of the driver that asks for more once it is bound.
fn grows(to: &str) -> Value {
    claim("data", "csi", json!({"later": {"spec": {"resources": {"requests": {"storage": to}}}}}))
}

fn growth() -> Vec<State> {
    let attributes = |name: &str, parameters: Value| {
        object(
            "storage.k8s.io/v1",
            "VolumeAttributesClass",
            name,
            json!({"driverName": DRIVER, "parameters": parameters}),
        )
    };
    let changes =
        |to: &str| claim("data", "csi", json!({"later": {"spec": {"volumeAttributesClassName": to}}}));
    let mut idle = bound("growth-no-leader", "gone", "gone.example.com", json!({}));
    idle.push(claim(
        "data",
        "gone",
        json!({
            "spec": {"volumeName": "pv-growth-no-leader"},
            "later": {"spec": {"resources": {"requests": {"storage": "2Mi"}}}},
        }),
    ));
    let refused = json!([{
        "type": "ControllerResizeError", "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z",
        "message": "failed to expand pvc with rpc error: code = FailedPrecondition desc = volume is in use",
    }]);
    let mut in_use = bound("growth-in-use", "gone", "offline.example.com", json!({}));
    in_use.insert(0, lease("external-resizer-offline-example-com", "2099-01-02T03:04:05.000000Z"));
    in_use.push(pod("app", "data", json!({"spec": {"nodeName": "node-1"}, "status": {"phase": "Running"}})));
    in_use.push(claim(
        "data",
        "gone",
        json!({
            "spec": {"volumeName": "pv-growth-in-use"}, "status": {"conditions": refused},
            "later": {"spec": {"resources": {"requests": {"storage": "2Mi"}}}},
        }),
    ));
    vec![
        State::of_claim("growth-infeasible", vec![grows("3Gi")]),
        State::of_claim("growth-needs-pod", vec![grows("2Mi")]),
        State::of_claim("growth-in-use", in_use),
        State::of_claim("growth-no-leader", idle),
        State::of_claim("modify-missing", vec![changes("nowhere")]),
        State::of_claim(
            "modify-infeasible",
            vec![attributes("bad", json!({"colour": "red"})), changes("bad")],
        ),
    ]
}

fn use_() -> Vec<State> {
    let on = |node: &str| pod("app", "data", json!({"spec": {"nodeName": node}}));
    let with = |mut objects: Vec<Value>, more: Vec<Value>| {
        objects.extend(more);
        objects
    };
    let full = json!({"spec": {"nodeSelector": {"kubernetes.io/hostname": "node-full"}, "tolerations": [{"operator": "Exists"}]}});
    vec![
        State::of_claim(
            "attach-failed",
            with(bound("attach-failed", "static", DRIVER, json!({})), vec![on("node-1")]),
        ),
        State::of_claim(
            "attach-no-driver",
            with(bound("attach-no-driver", "static", DRIVER, json!({})), vec![on("node-2")]),
        ),
        State::of_claim(
            "attached-elsewhere",
            vec![
                claim("data", "csi", json!({"bound": true})),
                pod("first", "data", json!({"spec": {"nodeName": "node-lost"}, "attached": true})),
                pod("second", "data", json!({"spec": {"nodeName": "node-2"}})),
            ],
        ),
        State::of_claim(
            "volume-limit",
            with(
                bound("volume-limit", "static", "full.example.com", json!({})),
                vec![pod("app", "data", full)],
            ),
        ),
    ]
}

fn removal() -> Vec<State> {
    let deleted = |finalizers: &[&str]| {
        claim("data", "nowhere", json!({"metadata": {"finalizers": finalizers}, "deleted": true}))
    };
    let clone = claim(
        "copy",
        "csi",
        json!({"spec": {"dataSource": {"kind": "PersistentVolumeClaim", "name": "data"}}}),
    );
    let snapshot = object(
        "snapshot.storage.k8s.io/v1",
        "VolumeSnapshot",
        "snap",
        json!({
            "spec": {"source": {"persistentVolumeClaimName": "data"}},
        }),
    );
    let mut in_use = bound("claim-in-use", "static", DRIVER, json!({}));
    in_use.push(pod("app", "data", json!({"spec": {"nodeName": "node-1"}})));
    in_use.push(claim("data", "static", json!({"spec": {"volumeName": "pv-claim-in-use"}, "deleted": true})));
    vec![
        State::of_claim("claim-in-use", in_use),
        State::of_claim(
            "claim-cloned",
            vec![clone, deleted(&["provisioner.storage.kubernetes.io/cloning-protection"])],
        ),
        State::of_claim(
            "claim-snapshotted",
            vec![snapshot, deleted(&["snapshot.storage.kubernetes.io/pvc-as-source-protection"])],
        ),
        State::of_claim("claim-held", vec![deleted(&["example.com/held"])]),
    ]
}
