//! The ways to call it: as kubectl's plugin, as JSON, with a watch, with few rights.

use std::time::Duration;

use cluster::wait::until_true;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};

use crate::site::{DRIVER, Site};
use crate::state::{claim, class, object, pod};

/// What an account that may see objects, but neither Leases nor Secrets, is let see.
const FEW_RIGHTS: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: few}
rules:
  - apiGroups: [""]
    resources: [persistentvolumeclaims, persistentvolumes, pods, events, nodes]
    verbs: [get, list]
  - apiGroups: [storage.k8s.io]
    resources: [storageclasses, csidrivers, csinodes, volumeattachments]
    verbs: [get, list]
"#;

/// Tries them all, in namespaces of their own.
pub(crate) async fn all(site: &Site) {
    with_few_rights(site).await;
    as_plugin_and_json(site).await;
    bad_input(site).await;
    watching(site).await;
}

async fn namespace(site: &Site, name: &str) {
    site.put(object("v1", "Namespace", name, json!({})), "").await;
}

/// What may not be read is said in a line with the rule; a Secret's content is never shown.
async fn with_few_rights(site: &Site) {
    namespace(site, "few").await;
    let parameters = json!({
        "csi.storage.k8s.io/provisioner-secret-name": "key", "csi.storage.k8s.io/provisioner-secret-namespace": "few",
    });
    site.put(class("few", "nobody.example.com", json!({"parameters": parameters})), "").await;
    site.put(claim("data", "few", json!({})), "few").await;
    site.put(object("v1", "Secret", "key", json!({"stringData": {"password": "hunter2-hunter2"}})), "few")
        .await;
    let account =
        site.stand.control_plane.service_account("few", "few", FEW_RIGHTS).await.expect("an account");
    let said =
        site.explain(&["pvc", "data", "-n", "few", &format!("--kubeconfig={}", account.display())]).await;
    let leases = r#"not read: leases: a role needs {apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs: ["list"]}"#;
    let secret = r#"not read: Secret key of namespace few: a role needs {apiGroups: [""], resources: ["secrets"], verbs: ["get"]}"#;
    assert!(said.contains(leases) && said.contains(secret), "{said}");
    assert!(
        said.contains("  happened:  csi-provisioner of CSI driver nobody.example.com has the claim"),
        "{said}"
    );
    let with_all = site.explain(&["pvc", "data", "-n", "few", "-o", "json"]).await;
    assert!(with_all.contains("DriverUnknown") && !with_all.contains("not read"), "{with_all}");
    for text in [said, with_all] {
        assert!(!text.contains("hunter2") && !text.contains("aHVudGVy"), "{text}");
    }
}

/// kubectl calls it by another name; JSON has the shape of docs/explain.md.
async fn as_plugin_and_json(site: &Site) {
    let link = site.stand.control_plane.folder().join("kubectl-mooring");
    std::os::unix::fs::symlink(site.mooring(), &link).expect("a link");
    let mut command = std::process::Command::new(link);
    command.args(["explain", "pvc", "data", "-o", "json"]).env_remove("KUBECONFIG");
    command.arg(format!("--kubeconfig={}", site.kubeconfig().display())).arg("-nclass-missing");
    let output = command.output().expect("run");
    assert!(output.status.success(), "an answer is success: {output:?}");
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&found["kind"], &found["ready"]), (&json!("Explanation"), &json!(false)), "{found}");
    assert_eq!(
        found["object"],
        json!({"kind": "PersistentVolumeClaim", "namespace": "class-missing", "name": "data"})
    );
    let finding = &found["findings"][0];
    assert_eq!((&finding["cause"], &finding["who"]), (&json!("ClassMissing"), &json!("admin")), "{found}");
    assert!(finding["since"].is_string() && finding["error"].is_null(), "{found}");
}

/// One line, and an exit code that is not 0.
async fn bad_input(site: &Site) {
    for (args, code, expected) in [
        (
            vec!["pvc", "nothing"],
            1,
            "mooring explain: there is no PersistentVolumeClaim nothing of namespace default",
        ),
        (vec!["pv", "nothing"], 1, "mooring explain: there is no PersistentVolume nothing"),
        (vec!["pod", "app"], 2, "cannot explain \"pod\": only pvc, pv, va and snapshot"),
    ] {
        let output = site.command(&args).output().expect("run");
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr).trim_end(), expected, "{args:?}");
    }
}

/// The answer is printed again when it changes, and only then.
async fn watching(site: &Site) {
    namespace(site, "watched").await;
    site.put(claim("data", "watched", json!({})), "watched").await;
    let command = site.command(&["pvc", "data", "-n", "watched", "--watch", "-o=json"]);
    let mut process = site.stand.control_plane.spawn("explain", command).expect("started");
    let log = site.stand.control_plane.folder().join("explain.log");
    let causes = || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        // The last answer may be half written.
        let answers = serde_json::Deserializer::from_str(&text).into_iter::<Value>().map_while(Result::ok);
        answers
            .map(|answer| answer["findings"][0]["cause"].as_str().unwrap_or("none").to_owned())
            .collect::<Vec<_>>()
    };
    let mut expected = vec!["ClassMissing"];
    let seen = async |expected: &[&str]| {
        let come = async || causes().len() >= expected.len();
        until_true(&format!("{expected:?}"), Duration::from_secs(20), come).await.expect("an answer");
        assert_eq!(causes(), expected);
    };
    seen(&expected).await;
    let late = json!({"volumeBindingMode": "WaitForFirstConsumer"});
    site.put(class("watched", DRIVER, late), "").await;
    expected.push("NoPod");
    seen(&expected).await;
    site.put(pod("app", "data", json!({"spec": {"nodeName": "node-1"}})), "watched").await;
    expected.push("SchedulerPassedOver");
    seen(&expected).await;
    site.put(claim("data", "watched", json!({"deleted": true})), "watched").await;
    expected.push("InUse");
    seen(&expected).await;
    let end = DeleteParams::background();
    let pods: Api<Pod> = Api::namespaced(site.stand.client.clone(), "watched");
    pods.delete("app", &end).await.expect("deleted");
    let gone = async || causes().last().is_some_and(|last| last == "NotFound");
    until_true("the end to be told", Duration::from_secs(20), gone).await.expect("told");
    process.kill();
}
