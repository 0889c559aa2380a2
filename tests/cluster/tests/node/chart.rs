//! The chart on the node: a driver with the sidecars that the chart gives it.

use std::path::Path;
use std::process::Command;

use cluster::binaries::{Binary, Progress, ensure, kubernetes_release};
use cluster::tls::write_certificate;
use serde_json::json;

use crate::guest::Guest;
use crate::site::{ROOT, calm};

const DRIVER: &str = "hostpath.example.com";

const VALUES: &str = include_str!("../../../../charts/mooring/ci/hostpath.yaml");

/// Gives the node what helm makes of the chart with these values, and waits until its pods are ready. The file that was applied.
fn install<N>(guest: &Guest<N>, folder: &Path, values: &str) -> String {
    let [given, made] = ["values.yaml", "rendered.yaml"].map(|name| folder.join(name));
    std::fs::write(&given, values).expect("written");
    let helm = ensure(&[Binary::Helm], &Progress::auto()).expect("helm");
    let mut helm = Command::new(helm.path(Binary::Helm));
    helm.args(["template", "site", "charts/mooring", "--values"]).arg(&given);
    helm.args(["--namespace", &guest.namespace, "--kube-version", kubernetes_release()]);
    let output = helm.current_dir(ROOT).output().expect("helm runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::write(&made, output.stdout).expect("written");
    let file = made.display().to_string();
    guest.kubectl(&["apply", "--server-side", "-f", &file]).expect("applied");
    for workload in ["daemonset/site-mooring-node", "deployment/site-mooring-controller"] {
        if let Err(why) = guest.kubectl(&["rollout", "status", "--timeout=180s", workload]) {
            panic!("{why}: {}", guest.kubectl(&["get", "pods,events"]).unwrap_or_default());
        }
    }
    file
}

/// No container was restarted, and none lacks a permission.
fn is_well<N>(guest: &Guest<N>) {
    for pod in ["controller", "node"] {
        let select = format!("app.kubernetes.io/name=site-mooring-{pod}");
        let path = "jsonpath={.items[*].status.containerStatuses[*].restartCount}";
        let restarts = guest.kubectl(&["get", "pods", "--selector", &select, "-o", path]).expect("pods");
        assert!(restarts.split(' ').all(|count| count == "0"), "{pod}: {restarts}");
        let log =
            guest.kubectl(&["logs", "--selector", &select, "--all-containers", "--tail=-1"]).expect("logs");
        assert!(!log.contains("permission missing") && !log.contains("forbidden"), "{log}");
    }
}

/// The running release is changed to HTTPS: the kubelet's probes ask by it, the driver's too.
fn turn_to_https<N>(guest: &Guest<N>, folder: &Path) {
    write_certificate(folder);
    let [certificate, key] = ["tls.crt", "tls.key"].map(|name| folder.join(name).display().to_string());
    let files = [format!("--cert={certificate}"), format!("--key={key}")];
    guest.kubectl(&["create", "secret", "tls", "site-tls", &files[0], &files[1]]).expect("created");
    let values = VALUES.replace("port: 9808}", "port: 9808, scheme: HTTPS}");
    assert_ne!(values, VALUES);
    install(guest, folder, &format!("{values}tls: {{secretName: site-tls}}\n"));
    let path = "jsonpath={.spec.template.spec.containers[*].readinessProbe.httpGet.scheme}";
    let scheme = guest.kubectl(&["get", "daemonset/site-mooring-node", "-o", path]).expect("read");
    assert_eq!(scheme, "HTTPS");
}

#[test]
fn claim_lives_with_the_sidecars_of_the_chart() {
    let Some(guest) = calm("the chart") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let file = install(&guest, folder.path(), VALUES);
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
    is_well(&guest);
    turn_to_https(&guest, folder.path());
    guest.check("user", "/data/file", &sum);
    is_well(&guest);
    guest.delete("pod/user");
    guest.delete("pvc/claim");
    guest.wait_gone(&volume);
    guest.delete("storageclass/of-the-chart");
    guest.kubectl(&["delete", "--ignore-not-found", "-f", &file]).expect("deleted");
}
