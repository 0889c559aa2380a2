//! Pods that use our volumes on a real node: kubelet, containerd, our images, our manifests.
//!
//! One node for all tests of this program. A test that disturbs the node has it for itself.

mod site;

use std::time::Duration;

use cluster::node::NODE;
use site::site;

#[test]
fn a_pod_runs() {
    let Some(site) = site("a pod on a real node") else { return };
    let guest = site.calm();
    guest.kubectl_apply(
        r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "hello"}, "spec": {"restartPolicy": "Never",
            "containers": [{"name": "main", "image": "mooring.invalid/busybox:v1", "command": ["sh", "-c", "echo seen by $(uname -n)"]}]}}"#,
    );
    guest.wait_for("hello to end", Duration::from_secs(60), || {
        guest.kubectl(&["get", "pod", "hello", "-o", "jsonpath={.status.phase}"]).is_ok_and(|phase| phase == "Succeeded")
    });
    assert_eq!(guest.kubectl(&["logs", "hello"]).expect("logs").trim(), "seen by hello");
    assert_eq!(guest.kubectl(&["get", "pod", "hello", "-o", "jsonpath={.spec.nodeName}"]).expect("a node"), NODE);
}
