//! What the manifests of our driver's deployments promise, whatever is running.

use std::path::Path;

use cluster::apply::documents;
use cluster::image::TAG;
use serde_json::{Value, json};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../manifests");

const WORKLOADS: [&str; 5] = [
    "hostpath/single-node/plugin.yaml",
    "hostpath/split/node.yaml",
    "hostpath/split/controller.yaml",
    "rbd/node.yaml",
    "rbd/controller.yaml",
];

/// The driver's containers whose mounts must reach the node.
const PRIVILEGED: [(&str, &str); 3] = [
    ("hostpath/single-node/plugin.yaml", "hostpath"),
    ("hostpath/split/node.yaml", "hostpath"),
    ("rbd/node.yaml", "rbd"),
];

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(FOLDER).join(file)).expect("a manifest")
}

/// Every container of the workloads, with the file that it is in.
fn containers() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for file in WORKLOADS {
        for document in documents(&read(file)).expect("YAML") {
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
        let is_driver = PRIVILEGED.contains(&(file.as_str(), name));
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
    assert_eq!(nodes.len(), 3);
    for (file, node) in nodes {
        assert_eq!(node.get("livenessProbe"), None, "{file}");
        let path = node.pointer("/readinessProbe/httpGet/path");
        assert_eq!(path, Some(&json!("/healthz/registration")), "{file}");
    }
}

/// Fields by file and path, each with what it must be equal to.
#[test]
fn rbds_objects_name_each_other() {
    let object = |file: &str| documents(&read(file)).expect("YAML").remove(0);
    let (driver, class) = (object("rbd/csidriver.yaml"), object("rbd/class.yaml"));
    let name = driver.pointer("/metadata/name").expect("a name");
    assert_eq!(class.pointer("/provisioner"), Some(name));
    let secret = object("rbd/secret.yaml");
    for key in ["name", "namespace"] {
        let of_secret = secret.pointer(&format!("/metadata/{key}")).expect("where the Secret is");
        for call in ["provisioner", "controller-expand", "node-stage"] {
            let parameter = format!("csi.storage.k8s.io/{call}-secret-{key}");
            assert_eq!(class["parameters"].get(&parameter), Some(of_secret), "{parameter}");
        }
    }
    let keys = secret.pointer("/stringData").and_then(Value::as_object).expect("keys");
    assert_eq!(keys.keys().collect::<Vec<_>>(), ["userID", "userKey"]);
    let clusters = object("rbd/clusters.yaml");
    let clusters = clusters.pointer("/data/config.json").and_then(Value::as_str).expect("a file");
    let clusters: Value = serde_json::from_str(clusters).expect("JSON");
    assert_eq!(clusters.pointer("/0/clusterID"), class.pointer("/parameters/clusterID"));
    for file in ["rbd/node.yaml", "rbd/controller.yaml"] {
        let text = read(file);
        assert!(
            text.contains("name: mooring-rbd-clusters") && text.contains("mountPath: /etc/ceph-csi-config")
        );
        let flag = format!("--drivername={}", name.as_str().expect("text"));
        assert!(text.contains(&flag) && text.contains("--backend=rbd"), "{file}");
    }
    let listed = read("rbd/kustomization.yaml");
    let entries = std::fs::read_dir(Path::new(FOLDER).join("rbd")).expect("a folder").flatten();
    let files = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    for file in files.filter(|file| file.ends_with(".yaml") && file != "kustomization.yaml") {
        assert_eq!(listed.contains(&format!("- {file}")), file != "csidriver.yaml", "{file}");
    }
}

/// The names of ceph-csi's manifests and examples.
const OF_CEPH_CSI: [&str; 10] = [
    "ceph-csi-config",
    "ceph-csi-encryption-kms-config",
    "ceph-config",
    "csi-rbd-secret",
    "csi-rbd-sc",
    "csi-rbdplugin",
    "csi-rbdplugin-provisioner",
    "rbd-csi-nodeplugin",
    "rbd-csi-provisioner",
    "rbd.csi.ceph.com",
];

#[test]
fn applying_and_deleting_rbds_list_leaves_ceph_csis_objects() {
    let list = read("rbd/kustomization.yaml");
    for file in
        list.lines().filter_map(|line| line.strip_prefix("  - ")).filter(|file| file.ends_with("yaml"))
    {
        for object in documents(&read(&format!("rbd/{file}"))).expect("YAML") {
            let name = object.pointer("/metadata/name").and_then(Value::as_str).expect("a name");
            assert!(!OF_CEPH_CSI.contains(&name), "{file}: {name}");
        }
    }
}
