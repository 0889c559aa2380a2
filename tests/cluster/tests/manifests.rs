//! What the manifests of the hostpath deployment promise, whatever is running.

use std::path::Path;

use cluster::apply::documents;
use cluster::image::TAG;
use serde_json::{Value, json};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../manifests/hostpath");

/// Every container of the workloads, with the file that it is in.
fn containers() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for file in ["single-node/plugin.yaml", "split/node.yaml", "split/controller.yaml"] {
        let text = std::fs::read_to_string(Path::new(FOLDER).join(file)).expect("a manifest");
        for document in documents(&text).expect("YAML") {
            let containers = document.pointer("/spec/template/spec/containers").and_then(Value::as_array);
            found.extend(containers.expect("containers").iter().map(|one| (file.to_owned(), one.clone())));
        }
    }
    found
}

#[test]
fn images_are_ours_and_of_this_version() {
    for (file, container) in containers() {
        let image = container.get("image").and_then(Value::as_str).expect("an image");
        let name = image.strip_prefix("mooring/").and_then(|rest| rest.strip_suffix(&format!(":{TAG}")));
        assert!(name.is_some(), "{file}: {image}");
        assert_eq!(container.get("imagePullPolicy"), Some(&json!("IfNotPresent")), "{file}: {image}");
        assert_eq!(container.get("command"), None, "{file}: the image knows what it runs");
    }
}

#[test]
fn only_the_driver_is_privileged() {
    for (file, container) in containers() {
        let name = container.get("name").and_then(Value::as_str).expect("a name");
        let context = container.get("securityContext").expect("a security context");
        assert_eq!(context.get("readOnlyRootFilesystem"), Some(&json!(true)), "{file}: {name}");
        let is_driver = name == "hostpath";
        assert_eq!(context.get("privileged").is_some(), is_driver, "{file}: {name}");
        if !is_driver {
            assert_eq!(context.get("capabilities"), Some(&json!({ "drop": ["ALL"] })), "{file}: {name}");
            assert_eq!(context.get("allowPrivilegeEscalation"), Some(&json!(false)), "{file}: {name}");
            assert_eq!(
                context.pointer("/seccompProfile/type"),
                Some(&json!("RuntimeDefault")),
                "{file}: {name}"
            );
            // SELinux lets no other type connect to a privileged container's socket.
            let kind = context.pointer("/seLinuxOptions/type");
            assert_eq!(kind, Some(&json!("spc_t")), "{file}: {name}");
        }
    }
}

#[test]
fn registration_gates_readiness_and_restarts_nothing() {
    // The container `node` serves the driver's `/healthz`: its restart would be taken for the driver's death.
    let nodes: Vec<_> =
        containers().into_iter().filter(|(_, one)| one.get("name") == Some(&json!("node"))).collect();
    assert_eq!(nodes.len(), 2);
    for (file, node) in nodes {
        assert_eq!(node.get("livenessProbe"), None, "{file}");
        let path = node.pointer("/readinessProbe/httpGet/path");
        assert_eq!(path, Some(&json!("/healthz/registration")), "{file}");
    }
}
