//! csi-resizer on a real control plane, with the role of the manifest only, a quota, and the admission plugins of
//! kube-apiserver.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that looks where nothing is fails, as it should"
)]

mod against_go;
mod site;

use cluster::stand::Replica;
use serde_json::{Value, json};
use site::{LIMIT, Site, conditions};

/// Nothing is logged as an error and no permission is missing.
fn is_content(replica: &Replica) {
    let log = replica.last_lines(100_000);
    assert!(!log.contains("permission missing"), "{log}");
    assert!(!log.lines().any(|line| line.starts_with('E')), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_grow_with_three_writes_each_and_no_conflict() {
    const COUNT: usize = 20;
    let site = Site::up("grow", &["--disable-node-expansion"]).await;
    let names: Vec<String> = (0..COUNT).map(|number| format!("data-{number}")).collect();
    for name in &names {
        site.volume(name).await;
    }
    let mut resizer = site.stand.sidecar("csi-resizer", "a", &[]);
    let before = site.patches().await;
    for name in &names {
        site.request(name, "5Mi").await;
    }
    for name in &names {
        let claim = site.until_has(name, "5Mi").await;
        assert_eq!(conditions(&claim), Vec::<String>::new());
        assert_eq!(claim["status"]["allocatedResources"]["storage"], "5Mi");
        assert_eq!(claim["status"].get("allocatedResourceStatuses"), None);
        assert_eq!(
            claim["metadata"]["annotations"]["volume.kubernetes.io/node-expansion-not-required"],
            "true"
        );
        assert_eq!(site.pv(name).await["spec"]["capacity"]["storage"], "5Mi");
        assert_eq!(site.events(name, 2).await, ["Resizing", "VolumeResizeSuccessful"]);
    }
    let after = site.patches().await;
    let grown = |key: &str| after.get(key).unwrap_or(&0) - before.get(key).unwrap_or(&0);
    let count = COUNT as u64;
    assert_eq!(grown("persistentvolumeclaims/status 200"), 2 * count, "{after:?}");
    assert_eq!(grown("persistentvolumes/ 200"), count, "{after:?}");
    assert!(after.keys().all(|key| key.ends_with(" 200")), "{after:?}");
    assert_eq!(site.calls("a", "ControllerExpandVolume", "OK").await, COUNT);
    assert_eq!(site.calls("a", "ControllerGetCapabilities", "OK").await, 1, "once, at the start");
    is_content(&resizer);
    resizer.terminate(LIMIT).await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_finishes_a_growth_and_the_volume_forgets() {
    let site = Site::up("node", &[]).await;
    site.volume("data").await;
    let resizer = site.stand.sidecar("csi-resizer", "a", &[]);
    site.request("data", "5Mi").await;
    let pending =
        |claim: &Value| claim["status"]["allocatedResourceStatuses"]["storage"] == "NodeResizePending";
    let claim = site.until("data", "to wait for its node", pending).await;
    assert_eq!(conditions(&claim), ["FileSystemResizePending", "Resizing"]);
    assert_eq!(claim["status"]["capacity"]["storage"], "1Mi");
    let before = "volume.alpha.kubernetes.io/pre-resize-capacity";
    assert_eq!(site.pv("data").await["metadata"]["annotations"][before], "1Mi");
    assert_eq!(site.events("data", 2).await, ["FileSystemResizeRequired", "Resizing"]);
    // More is requested meanwhile: that waits for the node.
    site.request("data", "6Mi").await;
    // What the kubelet writes when it has expanded the file system.
    let unused = claim["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let unused: Vec<Value> = unused.into_iter().filter(|one| one["type"] == "Unused").collect();
    let status = json!({"capacity": {"storage": "5Mi"}, "allocatedResourceStatuses": {"storage": null}, "conditions": unused});
    site.patch("data/status", json!({"status": status})).await.expect("patched");
    site.until("data", "to wait for its node again", |claim| {
        pending(claim) && claim["status"]["allocatedResources"]["storage"] == "6Mi"
    })
    .await;
    let status = json!({"capacity": {"storage": "6Mi"}, "allocatedResourceStatuses": {"storage": null}, "conditions": []});
    site.patch("data/status", json!({"status": status})).await.expect("patched");
    let forgotten =
        async || site.pv("data").await["metadata"]["annotations"].get(before).is_none().then_some(());
    cluster::wait::until("the volume to forget", LIMIT, forgotten).await.expect("forgotten");
    assert_eq!(site.calls("a", "ControllerExpandVolume", "OK").await, 2);
    is_content(&resizer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn infeasible_size_is_left_for_a_smaller_one_within_quota() {
    let flags = ["--disable-node-expansion", "--max-volume-size=10485760"];
    let site = Site::up("smaller", &flags).await;
    site.volume("data").await;
    let _resizer = site.stand.sidecar("csi-resizer", "a", &[]);
    let infeasible = |claim: &Value| {
        claim["status"]["allocatedResourceStatuses"]["storage"] == "ControllerResizeInfeasible"
    };
    site.request("data", "100Mi").await;
    let claim = site.until("data", "to be infeasible", infeasible).await;
    assert_eq!(conditions(&claim), ["ControllerResizeError", "Resizing"]);
    assert_eq!(site.events("data", 2).await, ["Resizing", "VolumeResizeFailed"]);
    let too_much = json!({"spec": {"resources": {"requests": {"storage": "5Gi"}}}});
    let refused = site.patch("data", too_much).await.expect_err("above the quota");
    assert!(refused.to_string().contains("exceeded quota"), "{refused}");
    site.request("data", "8Mi").await;
    let claim = site.until_has("data", "8Mi").await;
    assert_eq!(conditions(&claim), Vec::<String>::new());
    assert_eq!(claim["status"]["allocatedResources"]["storage"], "8Mi");
    assert_eq!(claim["status"].get("allocatedResourceStatuses"), None);
    assert_eq!(site.calls("a", "ControllerExpandVolume", "OutOfRange").await, 1, "one call a size");
    let namespace = &site.stand.namespace;
    let charged = async || {
        let quota = site.get(&format!("/api/v1/namespaces/{namespace}/resourcequotas/quota")).await;
        (quota["status"]["used"]["requests.storage"] == "8Mi").then_some(())
    };
    cluster::wait::until("the quota to charge what is used", LIMIT, charged).await.expect("charged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volume_is_modified_once_its_class_is_there() {
    let flags = ["--disable-node-expansion", "--enable-controller-modify-volume"];
    let site = Site::up("modify", &flags).await;
    site.volume("data").await;
    site.attributes_class("gold").await;
    let resizer = site.stand.sidecar("csi-resizer", "a", &["--extra-modify-metadata=false"]);
    let has = |class: &'static str| {
        move |claim: &Value| claim["status"]["currentVolumeAttributesClassName"] == class
    };
    site.name_class("data", "gold").await;
    let claim = site.until("data", "to be gold", has("gold")).await;
    assert_eq!((conditions(&claim), claim["status"].get("modifyVolumeStatus")), (Vec::new(), None));
    assert_eq!(site.pv("data").await["spec"]["volumeAttributesClassName"], "gold");
    assert_eq!(site.events("data", 2).await, ["VolumeModify", "VolumeModifySuccessful"]);
    site.name_class("data", "silver").await;
    let pending = |claim: &Value| claim["status"]["modifyVolumeStatus"]["status"] == "Pending";
    site.until("data", "to wait for its class", pending).await;
    site.attributes_class("silver").await;
    site.until("data", "to be silver", has("silver")).await;
    assert_eq!(site.pv("data").await["spec"]["volumeAttributesClassName"], "silver");
    assert_eq!(site.calls("a", "ControllerModifyVolume", "OK").await, 2);
    let log = resizer.last_lines(100_000);
    assert!(!log.contains("permission missing"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn driver_that_cannot_modify_leaves_the_class_alone() {
    let site = Site::up("cannot", &["--disable-node-expansion"]).await;
    site.volume("data").await;
    site.attributes_class("gold").await;
    let resizer = site.stand.sidecar("csi-resizer", "a", &[]);
    site.name_class("data", "gold").await;
    site.request("data", "2Mi").await;
    let claim = site.until_has("data", "2Mi").await;
    assert_eq!(claim["status"].get("modifyVolumeStatus"), None);
    is_content(&resizer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn driver_that_can_do_nothing_ends_the_start() {
    for (flags, code) in [
        (&["--hidden-capabilities=CONTROLLER_SERVICE"][..], 1),
        (&["--disable-controller-expansion", "--disable-node-expansion"], 255),
    ] {
        let site = Site::up("useless", flags).await;
        let mut resizer = site.stand.sidecar("csi-resizer", "a", &[]);
        let ended = resizer.wait(LIMIT).await.and_then(|status| status.code());
        assert_eq!(ended, Some(code), "{flags:?}: {}", resizer.last_lines(20));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volume_that_only_its_node_expands_is_left_to_it() {
    let site = Site::up("trivial", &["--disable-controller-expansion"]).await;
    site.volume("data").await;
    let resizer = site.stand.sidecar("csi-resizer", "a", &[]);
    site.request("data", "5Mi").await;
    site.until("data", "to wait for its node", |claim| {
        claim["status"]["allocatedResourceStatuses"]["storage"] == "NodeResizePending"
    })
    .await;
    assert_eq!(site.pv("data").await["spec"]["capacity"]["storage"], "5Mi");
    assert_eq!(site.calls("a", "ControllerExpandVolume", "OK").await, 0);
    is_content(&resizer);
}
