//! csi-attacher on a real control plane, with upstream's sample role only: kube-controller-manager's attach/detach
//! controller makes the attachments, for pods bound to a registered node whose kubelet is not there.

mod rights;
mod rolling;
mod site;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cluster::stand::Replica;
use cluster::{Signal, wait};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::{CSINode, VolumeAttachment};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use site::{LIMIT, NAME, NODE, Site};

const FINALIZER: &str = "external-attacher/hostpath-csi-k8s-io";

/// Nothing is logged as an error and no permission is missing.
fn is_content(replica: &Replica) {
    let log = replica.last_lines(100_000);
    assert!(!log.contains("permission missing"), "{log}");
    assert!(!log.lines().any(|line| line.starts_with('E')), "{log}");
}

fn counts(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_attach_and_detach_with_the_fewest_writes() {
    let site = Site::up("life").await;
    let mut attacher = site.attacher(&[]);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "publish"}, "stringData": {"user": "very-secret"},
    });
    site.stand.control_plane.apply_object(secret, &site.stand.namespace).await.expect("a secret");
    let reference = json!({"name": "publish", "namespace": site.stand.namespace});
    site.volume("plain", json!({})).await;
    site.volume("read-only", json!({"spec": {"csi": {"readOnly": true}}})).await;
    site.volume("block", json!({"spec": {"volumeMode": "Block"}})).await;
    site.volume("secret", json!({"spec": {"csi": {"controllerPublishSecretRef": reference}}})).await;
    let names = ["plain", "read-only", "block", "secret"];
    site.pod("one", &names[..2]).await;
    site.pod("two", &names[2..]).await;

    let attachments = site.attached(4).await;
    assert_eq!(site.published().await.len(), 4);
    for attachment in &attachments {
        assert_eq!(attachment.metadata.finalizers.as_deref(), Some(&[FINALIZER.to_owned()][..]));
        let annotations = attachment.metadata.annotations.clone().unwrap_or_default();
        assert_eq!(annotations.get("csi.alpha.kubernetes.io/node-id").map(String::as_str), Some(NODE));
        assert!(!format!("{attachment:?}").contains("very-secret"));
    }
    let volumes: Api<PersistentVolume> = site.api();
    for name in names {
        let finalizers = volumes.get(name).await.expect("there").metadata.finalizers.unwrap_or_default();
        assert!(finalizers.contains(&FINALIZER.to_owned()), "{name}: {finalizers:?}");
    }
    assert_eq!(site.calls("a", "ControllerPublishVolume", "OK").await, 4);
    let attached =
        [("persistentvolumes/ 200", 4), ("volumeattachments/ 200", 4), ("volumeattachments/status 200", 4)];
    assert_eq!(site.patches().await, counts(&attached), "three writes for each, none of which failed");

    site.delete_pod("one").await;
    site.delete_pod("two").await;
    site.attached(0).await;
    assert_eq!(site.published().await, Vec::<String>::new());
    assert_eq!(site.calls("a", "ControllerUnpublishVolume", "OK").await, 4);
    let detached =
        [("persistentvolumes/ 200", 4), ("volumeattachments/ 200", 8), ("volumeattachments/status 200", 4)];
    assert_eq!(site.patches().await, counts(&detached), "one more for each, none of which failed");

    let claims: Api<PersistentVolumeClaim> =
        Api::namespaced(site.stand.client.clone(), &site.stand.namespace);
    for name in names {
        claims.delete(name, &DeleteParams::default()).await.expect("deleted");
        volumes.delete(name, &DeleteParams::default()).await.expect("deleted");
    }
    let gone = async || volumes.list(&ListParams::default()).await.ok()?.items.is_empty().then_some(());
    wait::until("the volumes to go", LIMIT, gone).await.expect("our finalizer came off");
    is_content(&attacher);
    assert_eq!(attacher.terminate(LIMIT).await.and_then(|status| status.code()), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_is_detached_when_its_node_or_its_object_is_gone() {
    let site = Site::up("orphan").await;
    let attacher = site.attacher(&[]);
    for name in ["node-gone", "volume-gone"] {
        site.volume(name, json!({})).await;
        site.pod(name, &[name]).await;
    }
    site.attached(2).await;

    // The volume's object, by force: both its finalizers are taken off by hand.
    let volumes: Api<PersistentVolume> = site.api();
    volumes.delete("volume-gone", &DeleteParams::default()).await.expect("deleted");
    let free = json!({"metadata": {"finalizers": null}});
    volumes.patch("volume-gone", &PatchParams::default(), &Patch::Merge(free)).await.expect("patched");
    let gone = async || volumes.get_opt("volume-gone").await.ok()?.is_none().then_some(());
    wait::until("the volume's object to go", LIMIT, gone).await.expect("gone");
    site.delete_pod("volume-gone").await;
    site.attached(1).await;
    assert_eq!(site.published().await.len(), 1);

    // The node, with its CSINode, while a pod still runs there.
    site.api::<CSINode>().delete(NODE, &DeleteParams::default()).await.expect("deleted");
    site.api::<Node>().delete(NODE, &DeleteParams::default()).await.expect("deleted");
    site.delete_pod("node-gone").await;
    site.attached(0).await;
    assert_eq!(site.published().await, Vec::<String>::new());
    is_content(&attacher);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_that_restarts_in_between_is_met_again() {
    let mut site = Site::up("again").await;
    let mut attacher = site.attacher(&["--retry-interval-start=200ms"]);
    site.volume("one", json!({})).await;
    site.volume("two", json!({})).await;
    site.pod("one", &["one"]).await;
    site.attached(1).await;
    site.stand.restart_driver();
    site.pod("two", &["two"]).await;
    site.attached(2).await;
    site.stand.restart_driver();
    site.delete_pod("one").await;
    site.delete_pod("two").await;
    site.attached(0).await;
    assert_eq!(site.published().await, Vec::<String>::new());
    assert!(attacher.exited().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attach_that_cannot_work_says_why_and_goes_on_when_it_can() {
    let site = Site::up("late").await;
    let _attacher = site.attacher(&["--retry-interval-start=1h", "--retry-interval-max=1h"]);
    let nodes: Api<CSINode> = site.api();
    let drivers = |drivers: Value| Patch::Merge(json!({"spec": {"drivers": drivers}}));
    nodes.patch(NODE, &PatchParams::default(), &drivers(json!([]))).await.expect("patched");
    site.volume("data", json!({})).await;
    site.pod("pod", &["data"]).await;
    let message = async || {
        let attachment = site.attachments().await.pop()?;
        attachment.status?.attach_error?.message
    };
    let message = wait::until("the attach error", LIMIT, message).await.expect("an error");
    assert_eq!(message, "CSINode node-1 does not contain driver hostpath.csi.k8s.io");
    let ours = json!([{"name": NAME, "nodeID": NODE, "topologyKeys": null}]);
    nodes.patch(NODE, &PatchParams::default(), &drivers(ours)).await.expect("patched");
    let begun = Instant::now();
    let attachments = site.attached(1).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "took {:?}", begun.elapsed());
    assert!(
        attachments.iter().all(|one| one.status.as_ref().is_some_and(|status| status.attach_error.is_none()))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_takes_over_after_kill_and_at_once_after_sigterm() {
    const COUNT: usize = 40;
    if !cluster::stand::has_hosts("two replicas of csi-attacher") {
        return;
    }
    let site = Site::up("lead").await;
    let election = [
        "--leader-election",
        "--leader-election-lease-duration=6s",
        "--leader-election-renew-deadline=4s",
        "--leader-election-retry-period=2s",
    ];
    let names: Vec<String> = (0..COUNT).map(|number| format!("v{number}")).collect();
    for name in &names {
        site.volume(name, json!({})).await;
    }
    let mut first = site.stand.replica("csi-attacher", "first", &election);
    site.led_by("first").await;
    let mut second = site.stand.replica("csi-attacher", "second", &election);
    for name in &names {
        site.pod(name, &[name]).await;
    }
    let some = async || (site.published().await.len() > 3).then_some(());
    wait::until("some volumes to be published", LIMIT, some).await.expect("published");
    first.kill();
    site.attached(COUNT).await;
    assert_eq!(site.published().await.len(), COUNT);
    assert_eq!(site.leader().await.as_deref(), Some("second"));

    let third = site.stand.replica("csi-attacher", "third", &election);
    let up = async || third.last_lines(100).contains("driver found").then_some(());
    wait::until("the third to be up", LIMIT, up).await.expect("up");
    for name in &names {
        site.delete_pod(name).await;
    }
    let some = async || (site.attachments().await.len() < COUNT - 3).then_some(());
    wait::until("some attachments to go", LIMIT, some).await.expect("gone");
    second.signal(Signal::TERM);
    site.attached(0).await;
    assert_eq!(site.published().await, Vec::<String>::new());
    assert_eq!(second.wait(LIMIT).await.and_then(|status| status.code()), Some(1));
    is_content(&third);
}

/// Attachments made directly, without the attach/detach controller: how fast we are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_attachments_cost_one_call_each_and_no_write_fails() {
    const COUNT: usize = 300;
    let site = Site::up("many").await;
    for number in 0..COUNT {
        let name = format!("v{number}");
        site.unclaimed(&name, json!({})).await;
        site.attachment(&name, NODE).await;
    }
    let begun = Instant::now();
    let attacher = site.attacher(&["--worker-threads=100"]);
    site.attached(COUNT).await;
    let attached = begun.elapsed();
    let begun = Instant::now();
    let all = ListParams::default();
    site.api::<VolumeAttachment>().delete_collection(&DeleteParams::default(), &all).await.expect("deleted");
    site.attached(0).await;
    println!(
        "{COUNT} attached in {attached:?} from the start of the process, detached in {:?}",
        begun.elapsed()
    );
    assert_eq!(site.published().await, Vec::<String>::new());
    for method in ["ControllerPublishVolume", "ControllerUnpublishVolume"] {
        assert_eq!(site.calls("a", method, "OK").await, COUNT, "{method}");
    }
    let count = u64::try_from(COUNT).expect("small");
    let patches = [
        ("persistentvolumes/ 200", count),
        ("volumeattachments/ 200", 2 * count),
        ("volumeattachments/status 200", count),
    ];
    assert_eq!(site.patches().await, counts(&patches));
    is_content(&attacher);
}
