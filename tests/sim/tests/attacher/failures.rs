//! Attaches that fail: what is written of the error, and when it goes.

use std::time::Duration;

use serde_json::{Value, json};
use sim::{Fault, Reply, World};
use tonic::Code;

use crate::harness::{ATTACHER, object};
use crate::objects::{VA, csi_node, pv, va};

const PUBLISHED: &str = "publish id-of-pv1 node1-id Ok";

fn status(world: &World) -> Value {
    object(world, "volumeattachments", VA)["status"].clone()
}

#[tokio::test(start_paused = true)]
async fn unsaved_error_is_saved_at_the_next_failure() {
    let error = "attach error: persistentvolume \"pv1\" not found";
    let failed = format!("{error} (500)");
    ATTACHER
        .case("two failures", [va(), csi_node("node1")])
        .fault(|step| step.is("patch", "volumeattachments/status"), 2, Fault::ApiError(500))
        .ends_with(&[], &[&failed, &failed, error])
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_write_is_repeated_and_its_error_cleared_by_success() {
    let world = ATTACHER
        .case("volume's finalizer", [pv("pv1"), va(), csi_node("node1")])
        .fault(|step| step.is("patch", "persistentvolumes"), 1, Fault::ApiError(403))
        .ends_with(
            &[PUBLISHED],
            &[
                "protect pv1 (403)",
                "attach error: could not add PersistentVolume finalizer: forbidden by the fault plan",
                "protect pv1",
                "save",
                "attached",
            ],
        )
        .await;
    assert_eq!(status(&world).get("attachError"), None);
    let world = ATTACHER
        .case("attachment's finalizer", [pv("pv1"), va(), csi_node("node1")])
        .fault(|step| step.is("patch", "volumeattachments"), 1, Fault::ApiError(500))
        .ends_with(
            &[PUBLISHED],
            &[
                "protect pv1",
                "save (500)",
                "attach error: could not save VolumeAttachment: Internal error occurred",
                "save",
                "attached",
            ],
        )
        .await;
    assert_eq!(status(&world).get("attachError"), None);
    ATTACHER
        .case("attached", [pv("pv1"), va(), csi_node("node1")])
        .fault(|step| step.is("patch", "volumeattachments/status"), 1, Fault::ApiError(500))
        .ends_with(&[PUBLISHED, PUBLISHED], &["protect pv1", "save", "attached (500)", "attached"])
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_is_repeated_and_its_error_cleared_by_success() {
    let full = Reply::error(Code::ResourceExhausted, "no slot left");
    let world = ATTACHER
        .case("error", [pv("pv1"), va(), csi_node("node1")])
        .driver("ControllerPublishVolume", [full])
        .ends_with(
            &["publish id-of-pv1 node1-id ResourceExhausted", PUBLISHED],
            &[
                "protect pv1",
                "save",
                "attach error: rpc error: code = ResourceExhausted desc = no slot left",
                "attached",
            ],
        )
        .await;
    assert_eq!(status(&world).get("attachError"), None);
    ATTACHER
        .case("timeout", [pv("pv1"), va(), csi_node("node1")])
        .driver("ControllerPublishVolume", [Reply::Hang])
        .ends_with(
            &["publish id-of-pv1 node1-id unanswered", PUBLISHED],
            &[
                "protect pv1",
                "save",
                "attach error: rpc error: code = DeadlineExceeded desc = context deadline exceeded",
                "attached",
            ],
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_code_is_stored_with_the_gate_only() {
    let refused = || Reply::error(Code::ResourceExhausted, "no slot left");
    for (gate, expected) in [(true, json!(8)), (false, Value::Null)] {
        let world = ATTACHER
            .case("error", [pv("pv1"), va(), csi_node("node1")])
            .config(|config| config.error_code = gate)
            .config(|config| config.backoff.base = Duration::from_secs(3600))
            .driver("ControllerPublishVolume", [refused()])
            .ends_with(
                &["publish id-of-pv1 node1-id ResourceExhausted"],
                &[
                    "protect pv1",
                    "save",
                    "attach error: rpc error: code = ResourceExhausted desc = no slot left",
                ],
            )
            .await;
        assert_eq!(status(&world)["attachError"].get("errorCode").cloned().unwrap_or_default(), expected);
    }
}
