//! TestDelete and TestDeleteVolumeErrorHandling.

use csi::v1::DeleteVolumeRequest;
use serde_json::{Value, json};
use sim::objects::{attachment, class, secret, with};
use sim::{Reply, World};
use tonic::Code;

use crate::harness::{PROVISIONER, events, released};
use crate::on_nodes::ON_NODE;

const DELETED: &[&str] = &["DeleteVolume Some(Ok)"];
const GONE: &[&str] = &["delete persistentvolumes 200", "patch persistentvolumes 200"];
const NAME: &str = "volume.kubernetes.io/provisioner-deletion-secret-name";
const NAMESPACE: &str = "volume.kubernetes.io/provisioner-deletion-secret-namespace";

/// A class whose provision Secret is this one.
fn class_with(name: &str) -> Value {
    let parameters = json!({
        "csi.storage.k8s.io/provisioner-secret-name": name,
        "csi.storage.k8s.io/provisioner-secret-namespace": "default",
    });
    with(class(), json!({"parameters": parameters}))
}

/// A released volume whose annotations name this Secret; `None`: they do not speak of it.
fn volume(name: Option<&str>) -> Value {
    let Some(name) = name else { return released("pv") };
    let namespace = if name.is_empty() { "" } else { "default" };
    with(released("pv"), json!({"metadata": {"annotations": {NAME: name, NAMESPACE: namespace}}}))
}

/// Secrets `noted` and `of-class`, which say their name.
fn secrets() -> [Value; 2] {
    [secret("default", "noted", json!({"is": "bg=="})), secret("default", "of-class", json!({"is": "Yw=="}))]
}

fn sent(world: &World) -> Vec<String> {
    let calls = world.driver.calls_of("DeleteVolume");
    let sent = |call: &sim::Call| {
        call.request::<DeleteVolumeRequest>().unwrap().secrets.get("is").cloned().unwrap_or_default()
    };
    calls.iter().map(sent).collect()
}

#[tokio::test(start_paused = true)]
async fn deletion_gets_the_secret_that_upstream_gives_it() {
    for (row, volume, class, expected) in [
        ("simple - valid case", volume(None), Some(class()), ""),
        ("simple - valid case with ClaimRef", volume(Some("")), Some(class()), ""),
        ("empty annotation values, class present", volume(Some("")), Some(class_with("of-class")), ""),
        ("empty annotation values, class absent", volume(Some("")), None, ""),
        ("non-empty annotations, class present", volume(Some("noted")), Some(class_with("noted")), "n"),
        ("non-empty annotations, class absent", volume(Some("noted")), None, "n"),
        ("non-empty annotations, class changed", volume(Some("noted")), Some(class_with("of-class")), "n"),
        ("annotated secret missing", volume(Some("gone")), Some(class_with("of-class")), ""),
        ("no annotations", volume(None), Some(class_with("of-class")), "c"),
        ("no annotations, class absent", volume(None), None, ""),
    ] {
        let objects = secrets().into_iter().chain(class).chain([volume]);
        let world = PROVISIONER.case(row, objects).ends_with(DELETED, GONE).await;
        assert_eq!((sent(&world), events(&world)), (vec![expected.to_owned()], vec![]), "{row}");
    }
}

#[tokio::test(start_paused = true)]
async fn deletion_that_upstream_refuses_is_refused() {
    let template = json!({"csi.storage.k8s.io/provisioner-secret-name": "static-${pvc.annotations['akey']}"});
    let no_csi = with(volume(None), json!({"spec": {"csi": null, "hostPath": {"path": "/data"}}}));
    for (row, volume, class, text) in [
        (
            "fail - pvc.annotations not supported for Create/Delete Volume Secret",
            volume(None),
            with(class(), json!({"parameters": template})),
            "provisioner-secret-namespace",
        ),
        ("fail - pv without CSI", no_csi, class(), "has no csi source"),
    ] {
        let world = PROVISIONER.case(row, [class, volume]).ends_with(&[], &[]).await;
        let said = events(&world);
        let told = |event: &String| event.starts_with("VolumeFailedDelete: ") && event.contains(text);
        assert!(!said.is_empty() && said.iter().all(told), "{row}: {said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn attachment_postpones_the_deletion_as_upstream_does() {
    let of = |volume: &str| attachment("va", volume, "node-1");
    let leaving = with(of("pv"), json!({"metadata": {"finalizers": ["someone/else"]}}));
    for (row, attachment, deleted, postponed) in [
        (
            "fail - delete when volume is still attached",
            with(of("pv"), json!({"status": {"attached": true}})),
            false,
            true,
        ),
        (
            "fail - VolumeAttachment present, not attached",
            with(of("pv"), json!({"status": {"attached": false}})),
            false,
            true,
        ),
        ("fail - VolumeAttachment with deletionTimestamp", leaving, true, true),
        ("succeed - attachment of another volume", of("another"), false, false),
    ] {
        let mut case = PROVISIONER.case(row, [class(), attachment, volume(None)]);
        if deleted {
            case = case.deleted("volumeattachments", "va");
        }
        let (calls, writes) = if postponed { (&[][..], &[][..]) } else { (DELETED, GONE) };
        let world = case.ends_with(calls, writes).await;
        let said = events(&world);
        if postponed {
            let text =
                "VolumeDelete: persistentvolume pv is still attached to node node-1, waiting for detach";
            assert_eq!(said, [text], "{row}");
            assert_eq!(world.api.list("events")[0]["type"], "Normal", "{row}");
        } else {
            assert_eq!(said, Vec::<String>::new(), "{row}");
        }
    }
}

/// `controller_persistentvolume_delete_*` are in `metrics.rs`.
#[tokio::test(start_paused = true)]
async fn failed_deletion_is_told_and_tried_again_as_upstream_s() {
    let case = PROVISIONER.case("plain error", [class(), volume(None)]);
    let case = case.driver("DeleteVolume", [Reply::error(Code::Internal, "no")]);
    let world = case.ends_with(&["DeleteVolume Some(Internal)", "DeleteVolume Some(Ok)"], GONE).await;
    assert_eq!(events(&world), ["VolumeFailedDelete: rpc error: code = Internal desc = no"]);
    assert_eq!(world.api.list("events")[0]["type"], "Warning");
}

#[tokio::test(start_paused = true)]
async fn node_deletes_its_own_volumes_only() {
    for (row, host, calls, writes) in [
        ("distributed, ignore PV from other host", "node-2", &[][..], &[][..]),
        ("distributed, delete PV from our host", "node-1", DELETED, GONE),
    ] {
        let place = json!({"key": "host", "operator": "In", "values": [host]});
        let affinity = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [place]}]}});
        let volume = with(volume(None), json!({"spec": {"nodeAffinity": affinity}}));
        let case = ON_NODE.case(row, [class(), volume]);
        let world = case.ends_with(calls, writes).await;
        assert_eq!(events(&world), Vec::<String>::new(), "{row}");
    }
}
