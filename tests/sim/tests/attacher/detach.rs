//! Detaching (docs/upstream/attacher.md, "Detach" and "Test cases").

use csi::v1::ControllerUnpublishVolumeRequest;
use serde_json::{Value, json};
use sim::{Fault, Reply, World};
use tonic::Code;

use crate::harness::{ATTACHER, Case, object};
use crate::objects::{
    VA, csi_node, csi_node_with, gce_pd, inline, ours, protected, secret, theirs, va, with, with_secret_ref,
};
use sim::Ended;

const WITHDRAWN: &str = "unpublish id-of-pv1 node1-id Ok";
const WITHDRAWN_INLINE: &str = "unpublish id-of-inline node1-id Ok";

/// A case in which the attachment was deleted before the attacher started.
fn deleted(name: &'static str, objects: impl IntoIterator<Item = Value>) -> Case {
    ATTACHER.case(name, objects).deleted("volumeattachments", VA)
}

fn gone(world: &Ended) {
    assert_eq!(world.api.get("volumeattachments", VA), None);
}

#[tokio::test(start_paused = true)]
async fn one_detach_costs_one_call_and_one_write() {
    gone(
        &deleted("noted by us", [protected("pv1"), ours(va()), csi_node("node1")])
            .ends_with(&[WITHDRAWN], &["unbind"])
            .await,
    );
    gone(
        &deleted("attached by Go", [protected("pv1"), theirs(va()), csi_node("node1")])
            .ends_with(&[WITHDRAWN], &["unbind"])
            .await,
    );
    gone(
        &deleted("inline", [theirs(inline()), csi_node("node1")])
            .ends_with(&[WITHDRAWN_INLINE], &["unbind"])
            .await,
    );
    let live = ATTACHER
        .case("deleted while we run", [protected("pv1"), ours(va()), csi_node("node1")])
        .meanwhile(|world| assert!(world.api.delete("volumeattachments", VA)));
    gone(&live.ends_with(&[WITHDRAWN], &["unbind"]).await);
}

#[tokio::test(start_paused = true)]
async fn an_attachment_that_stays_says_that_it_is_detached() {
    let kept = || {
        with(
            ours(va()),
            json!({"metadata": {"finalizers": ["example.com/a", "external-attacher/driver-example"]}}),
        )
    };
    let full = with(
        kept(),
        json!({"status": {"attachmentMetadata": {"device": "d"}, "detachError": {"message": "m"}}}),
    );
    let world = deleted("another's finalizer", [protected("pv1"), full, csi_node("node1")])
        .ends_with(&[WITHDRAWN], &["unbind", "detached"])
        .await;
    let left = object(&world, "volumeattachments", VA);
    assert_eq!(left["status"], json!({"attached": false}));
    assert_eq!(left["metadata"]["finalizers"], json!(["example.com/a"]));
    let never = with(kept(), json!({"status": {"attached": false}}));
    deleted("never attached", [protected("pv1"), never, csi_node("node1")])
        .ends_with(&[WITHDRAWN], &["unbind"])
        .await;
    deleted("gone before the status is written", [protected("pv1"), kept(), csi_node("node1")])
        .fault(|step| step.is("patch", "volumeattachments/status"), 1, Fault::Missing)
        .ends_with(&[WITHDRAWN], &["unbind", "detached (404)"])
        .await;
    deleted("a proxy says 404", [protected("pv1"), kept(), csi_node("node1")])
        .fault(|step| step.is("patch", "volumeattachments/status"), 1, Fault::ApiError(404))
        .ends_with(&[WITHDRAWN, WITHDRAWN], &["unbind", "detached (404)", "detached"])
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_detached_is_left_alone() {
    let done =
        with(va(), json!({"metadata": {"finalizers": ["example.com/a"]}, "status": {"attached": false}}));
    deleted("no finalizer, not attached", [protected("pv1"), done, csi_node("node1")])
        .ends_with(&[], &[])
        .await;
    let foreign = with(ours(va()), json!({"spec": {"attacher": "other"}}));
    deleted("another driver's", [protected("pv1"), foreign, csi_node("node1")]).ends_with(&[], &[]).await;
}

#[tokio::test(start_paused = true)]
async fn secrets_are_found_in_the_note_or_in_the_volume() {
    let noted = || {
        with(
            ours(va()),
            json!({"metadata": {"annotations": {"mooring.dev/publish-secret": "secrets/publish"}}}),
        )
    };
    for (name, data, expected) in
        [("present", json!({"user": "YWRtaW4="}), json!({"user": "admin"})), ("empty", json!({}), json!({}))]
    {
        for (objects, withdrawn) in [
            (vec![with_secret_ref(protected("pv1")), theirs(va())], WITHDRAWN),
            (vec![noted()], WITHDRAWN),
            (vec![with_secret_ref(theirs(inline()))], WITHDRAWN_INLINE),
        ] {
            let objects = objects.into_iter().chain([csi_node("node1"), secret(data.clone())]);
            let world = deleted(name, objects).ends_with(&[withdrawn], &["unbind"]).await;
            let call = world.driver.calls_of("ControllerUnpublishVolume").pop().unwrap();
            let request: &ControllerUnpublishVolumeRequest = call.request().unwrap();
            assert_eq!(serde_json::to_value(&request.secrets).unwrap(), expected, "{name}");
        }
    }
    let error = "detach error: failed to load secret \"secrets/publish\": secrets \"publish\" not found in namespace secrets";
    deleted("missing", [with_secret_ref(protected("pv1")), theirs(va()), csi_node("node1")])
        .ends_with(&[], &[error])
        .await;
    deleted("missing, noted", [noted(), csi_node("node1")]).ends_with(&[], &[error]).await;
    deleted("missing, inline", [with_secret_ref(theirs(inline())), csi_node("node1")])
        .ends_with(&[], &[error])
        .await;
    let comes = deleted("comes", [noted(), csi_node("node1")])
        .meanwhile(|world| drop(world.api.put(secret(json!({})))));
    gone(&comes.ends_with(&[WITHDRAWN], &[error, "unbind"]).await);
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_is_repeated_whatever_its_code() {
    for code in [Code::Internal, Code::NotFound, Code::Unimplemented] {
        let world = deleted("refused", [protected("pv1"), ours(va()), csi_node("node1")])
            .driver("ControllerUnpublishVolume", [Reply::error(code, "no")])
            .ends_with(
                &[&format!("unpublish id-of-pv1 node1-id {code:?}"), WITHDRAWN],
                &[&format!("detach error: rpc error: code = {} desc = no", csi::code_name(code)), "unbind"],
            )
            .await;
        gone(&world);
    }
    let world = deleted("timeout", [protected("pv1"), ours(va()), csi_node("node1")])
        .driver("ControllerUnpublishVolume", [Reply::Hang])
        .ends_with(
            &["unpublish id-of-pv1 node1-id unanswered", WITHDRAWN],
            &["detach error: rpc error: code = DeadlineExceeded desc = context deadline exceeded", "unbind"],
        )
        .await;
    gone(&world);
}

#[tokio::test(start_paused = true)]
async fn a_detach_error_never_has_a_code() {
    let world = deleted("refused", [protected("pv1"), ours(va()), csi_node("node1")])
        .config(|config| config.backoff.base = std::time::Duration::from_secs(3600))
        .config(|config| config.backoff.max = std::time::Duration::from_secs(3600))
        .driver("ControllerUnpublishVolume", [Reply::error(Code::Internal, "no")])
        .ends_with(
            &["unpublish id-of-pv1 node1-id Internal"],
            &["detach error: rpc error: code = Internal desc = no"],
        )
        .await;
    let status = &object(&world, "volumeattachments", VA)["status"];
    assert_eq!(status["attached"], json!(true), "it still is");
    let fields: Vec<&String> = status["detachError"].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["message", "time"]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_write_is_repeated_after_calling_again() {
    let error = "detach error: could not mark as detached: Internal error occurred";
    let world = deleted("finalizer", [protected("pv1"), ours(va()), csi_node("node1")])
        .fault(|step| step.is("patch", "volumeattachments"), 1, Fault::ApiError(500))
        .ends_with(&[WITHDRAWN, WITHDRAWN], &["unbind (500)", error, "unbind"])
        .await;
    gone(&world);
    let kept = with(
        ours(va()),
        json!({"metadata": {"finalizers": ["example.com/a", "external-attacher/driver-example"]}}),
    );
    deleted("status", [protected("pv1"), kept, csi_node("node1")])
        .fault(|step| step.is("patch", "volumeattachments/status"), 1, Fault::ApiError(500))
        .ends_with(&[WITHDRAWN, WITHDRAWN], &["unbind", "detached (500)", "detached"])
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_note_replaces_a_volume_that_is_gone() {
    gone(&deleted("volume gone", [ours(va()), csi_node("node1")]).ends_with(&[WITHDRAWN], &["unbind"]).await);
    gone(&deleted("volume and node gone", [ours(va())]).ends_with(&[WITHDRAWN], &["unbind"]).await);
    // A volume of the same name that came later is not what was published.
    let another = with(protected("pv1"), json!({"spec": {"csi": {"volumeHandle": "id-of-pv2"}}}));
    gone(
        &deleted("volume replaced", [another, ours(va()), csi_node("node1")])
            .ends_with(&[WITHDRAWN], &["unbind"])
            .await,
    );
}

#[tokio::test(start_paused = true)]
async fn without_note_and_volume_the_error_says_what_to_do() {
    let error = "detach error: persistentvolume \"pv1\" not found, and the VolumeAttachment lacks annotation \
        mooring.dev/volume-handle: restore the PersistentVolume, or set the annotation to the volume's id, or detach the \
        volume by hand and remove finalizer external-attacher/driver-example from the VolumeAttachment";
    let stuck = || deleted("unknown volume", [theirs(va()), csi_node("node1")]);
    stuck().ends_with(&[], &[error]).await;
    let failed = format!("{error} (500)");
    stuck()
        .fault(|step| step.is("patch", "volumeattachments/status"), 2, Fault::ApiError(500))
        .ends_with(&[], &[&failed, &failed, error])
        .await;
    gone(
        &stuck()
            .meanwhile(|world| drop(world.api.put(protected("pv1"))))
            .ends_with(&[WITHDRAWN], &[error, "unbind"])
            .await,
    );
    let annotate = |world: &World| {
        world.api.edit("volumeattachments", VA, |object| {
            object["metadata"]["annotations"]["mooring.dev/volume-handle"] = json!("id-of-pv1");
        });
    };
    gone(&stuck().meanwhile(annotate).ends_with(&[WITHDRAWN], &[error, "unbind"]).await);
}

#[tokio::test(start_paused = true)]
async fn node_id_comes_from_csi_node_then_annotation() {
    let elsewhere = || csi_node_with("node1", json!([{"name": "other", "nodeID": "o", "topologyKeys": []}]));
    let renamed =
        csi_node_with("node1", json!([{"name": "driver.example", "nodeID": "new-id", "topologyKeys": []}]));
    deleted("CSINode", [ours(va()), renamed.clone()])
        .ends_with(&[WITHDRAWN, "unpublish id-of-pv1 new-id Ok"], &["unbind"])
        .await;
    deleted("the driver does not know the former id", [ours(va()), renamed])
        .driver("ControllerUnpublishVolume", [Reply::error(Code::NotFound, "no node node1-id")])
        .ends_with(&["unpublish id-of-pv1 node1-id NotFound", "unpublish id-of-pv1 new-id Ok"], &["unbind"])
        .await;
    deleted("no CSINode", [ours(va())]).ends_with(&[WITHDRAWN], &["unbind"]).await;
    deleted("driver not on it", [ours(va()), elsewhere()]).ends_with(&[WITHDRAWN], &["unbind"]).await;
    let bare =
        || with(ours(va()), json!({"metadata": {"annotations": {"csi.alpha.kubernetes.io/node-id": null}}}));
    let error = "detach error: csinode.storage.k8s.io \"node1\" not found, and the VolumeAttachment lacks annotation \
        csi.alpha.kubernetes.io/node-id: let the driver register on the node again, or set the annotation to the node's \
        id at the driver";
    deleted("neither", [bare()]).ends_with(&[], &[error]).await;
    let comes = deleted("comes", [bare()]).meanwhile(|world| drop(world.api.put(csi_node("node1"))));
    gone(&comes.ends_with(&[WITHDRAWN], &[error, "unbind"]).await);
}

#[tokio::test(start_paused = true)]
async fn sources_that_cannot_be_read_are_errors() {
    let source = |change: Value| with(theirs(inline()), json!({"spec": {"source": change}}));
    for (name, attachment, error) in [
        (
            "both",
            source(json!({"persistentVolumeName": "pv1"})),
            "detach error: both spec.source.persistentVolumeName and spec.source.inlineVolumeSpec are set: only one may be",
        ),
        (
            "neither",
            source(json!({"inlineVolumeSpec": null})),
            "detach error: neither spec.source.persistentVolumeName nor spec.source.inlineVolumeSpec is set",
        ),
    ] {
        deleted(name, [protected("pv1"), attachment, csi_node("node1")]).ends_with(&[], &[error]).await;
    }
    let error = "detach error: volumes of in-tree plugin kubernetes.io/gce-pd cannot be translated to CSI driver \
        pd.csi.storage.gke.io in this release: use a volume of the CSI driver, or the sidecar that translates them";
    deleted("in-tree", [gce_pd("pv1"), theirs(va()), csi_node("node1")]).ends_with(&[], &[error]).await;
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_is_being_deleted_is_detached_all_the_same() {
    let world = deleted("volume deleted", [protected("pv1"), theirs(va()), csi_node("node1")])
        .deleted("persistentvolumes", "pv1")
        .ends_with(&[WITHDRAWN], &["unbind", "release pv1"])
        .await;
    gone(&world);
    let finalizers = &object(&world, "persistentvolumes", "pv1")["metadata"]["finalizers"];
    assert_eq!(*finalizers, json!(["kubernetes.io/pv-protection"]));
}
