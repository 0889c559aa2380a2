//! An API server that follows no ValidatingAdmissionPolicy.

use std::process::Command;
use std::time::Duration;

use cluster::built::executable;
use cluster::{ControlPlane, Options, wait};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_policy_is_followed_nothing_is_converted() {
    let flag = "--disable-admission-plugins=ValidatingAdmissionPolicy".to_owned();
    let options = Options { api_server_flags: vec![flag], ..Options::default() };
    let control_plane = ControlPlane::start(options).await.expect("a control plane");
    let namespace = control_plane.fresh_namespace("unheld").await.expect("a namespace");
    let client = control_plane.client().expect("a client");
    let get = async |path: String| -> Value {
        let request = http::Request::get(path).body(Vec::new()).expect("a request");
        client.request(request).await.unwrap_or_default()
    };
    let names = ["a", "b"];
    for name in names {
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Mi"}, "storageClassName": "none",
                "persistentVolumeReclaimPolicy": "Delete", "cinder": {"volumeID": name},
                "claimRef": {"namespace": namespace, "name": name},
            },
        });
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "volumeName": name, "storageClassName": "none",
                "resources": {"requests": {"storage": "1Mi"}},
            },
        });
        for object in [volume, claim] {
            control_plane.apply_object(object, &namespace).await.expect("applied");
        }
    }
    let claim =
        async |name: &str| get(format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}")).await;
    for name in names {
        let bound = async || claim(name).await["status"]["phase"] == "Bound";
        wait::until_true("the claim to be bound", Duration::from_secs(60), bound).await.expect("bound");
    }
    let file = control_plane.folder().join("undo.jsonl").display().to_string();
    let mut command = Command::new(executable("mooring", "mooring").expect("mooring"));
    command
        .args(["migrate", "--hand-made", "--undo-file", &file])
        .env("KUBECONFIG", control_plane.kubeconfig());
    let output =
        tokio::task::spawn_blocking(move || command.output()).await.expect("joined").expect("started");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("1/2 PersistentVolume a: is as it was\n"), "{told}");
    assert!(!told.contains("PersistentVolume b"), "no other is begun with: {told}");
    assert!(told.contains("does not follow the ValidatingAdmissionPolicy mooring-migrate"), "{told}");
    for name in names {
        let volume = get(format!("/api/v1/persistentvolumes/{name}")).await;
        assert_eq!(volume["spec"]["cinder"]["volumeID"], name);
        assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Delete");
        let claim = claim(name).await;
        assert_eq!(claim["status"]["phase"], "Bound");
        assert!(claim["metadata"]["annotations"]["mooring.dev/migrating"].is_null());
    }
    let policies = get("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies".to_owned()).await;
    let all = policies["items"].as_array().cloned().unwrap_or_default();
    assert!(all.iter().all(|one| one["metadata"]["name"] != "mooring-migrate"), "{all:?}");
}
