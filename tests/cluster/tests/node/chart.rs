//! The chart on the node: a driver with the sidecars that the chart gives it.

use std::process::Command;

use cluster::binaries::{Binary, Progress, ensure, kubernetes_release};
use serde_json::json;

use crate::guest::Guest;
use crate::site::{ROOT, calm};

const DRIVER: &str = "hostpath.example.com";

/// What helm makes of the chart's values for our driver.
fn rendered<N>(guest: &Guest<N>) -> String {
    let helm = ensure(&[Binary::Helm], &Progress::auto()).expect("helm");
    let mut helm = Command::new(helm.path(Binary::Helm));
    helm.args(["template", "site", "charts/mooring", "--values", "charts/mooring/ci/hostpath.yaml"]);
    helm.args(["--namespace", &guest.namespace, "--kube-version", kubernetes_release()]);
    let output = helm.current_dir(ROOT).output().expect("helm runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn claim_lives_with_the_sidecars_of_the_chart() {
    let Some(guest) = calm("the chart") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rendered.yaml").display().to_string();
    std::fs::write(&file, rendered(&guest)).expect("written");
    guest.kubectl(&["apply", "--server-side", "-f", &file]).expect("applied");
    for workload in ["daemonset/site-mooring-node", "deployment/site-mooring-controller"] {
        if let Err(why) = guest.kubectl(&["rollout", "status", "--timeout=180s", workload]) {
            panic!("{why}: {}", guest.kubectl(&["get", "pods,events"]).unwrap_or_default());
        }
    }
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "of-the-chart"},
        "provisioner": DRIVER, "allowVolumeExpansion": true, "volumeBindingMode": "WaitForFirstConsumer",
    });
    guest.apply(&class.to_string());
    guest.claim("claim", "of-the-chart", json!({}));
    guest.pod_with_claim("user", "claim");
    let sum = guest.write("user", "/data/file");
    guest.check("user", "/data/file", &sum);
    let volume = guest.volume("claim");
    assert_eq!(guest.field(&format!("pv/{volume}"), ".spec.csi.driver"), DRIVER);
    let capacities = || {
        guest
            .kubectl(&["get", "csistoragecapacities", "-o", "jsonpath={.items[*].storageClassName}"])
            .unwrap_or_default()
    };
    guest.wait_for("the capacity of the class", || capacities().contains("of-the-chart"));
    guest.request("claim", "128Mi");
    guest
        .wait_for("the growth", || guest.field(&format!("pv/{volume}"), ".spec.capacity.storage") == "128Mi");
    for pod in ["controller", "node"] {
        let select = format!("app.kubernetes.io/name=site-mooring-{pod}");
        let path = "jsonpath={.items[*].status.containerStatuses[*].restartCount}";
        let restarts = guest.kubectl(&["get", "pods", "--selector", &select, "-o", path]).expect("pods");
        assert!(restarts.split(' ').all(|count| count == "0"), "{pod}: {restarts}");
        let log =
            guest.kubectl(&["logs", "--selector", &select, "--all-containers", "--tail=-1"]).expect("logs");
        assert!(!log.contains("permission missing") && !log.contains("forbidden"), "{log}");
    }
    guest.delete("pod/user");
    guest.delete("pvc/claim");
    guest.wait_gone(&volume);
    guest.delete("storageclass/of-the-chart");
    guest.kubectl(&["delete", "--ignore-not-found", "-f", &file]).expect("deleted");
}
