//! Growing (docs/upstream/resizer.md, "Calls" and "Outcomes").

use csi::v1::{ControllerExpandVolumeRequest, ControllerExpandVolumeResponse};
use resizer::Expansion;
use serde_json::{Value, json};
use sim::objects::secret;
use sim::{Reply, World};
use tonic::Code;

use crate::harness::{
    EXPANDED, FINISHED, MARKED, RESIZER, asking, claim, conditions, events, left, messages, volume, with,
    writes,
};

/// The honest answer, and the node has to go on.
pub(crate) fn node_needed() -> Reply {
    Reply::edit(|reply: &mut ControllerExpandVolumeResponse| reply.node_expansion_required = true)
}

/// The driver answers with this size.
fn answers(bytes: i64) -> Reply {
    Reply::edit(move |reply: &mut ControllerExpandVolumeResponse| reply.capacity_bytes = bytes)
}

#[tokio::test(start_paused = true)]
async fn growth_costs_one_call_and_three_writes() {
    let world = RESIZER
        .case("controller only", asking("2Gi"))
        .ends_with(&[EXPANDED], &[MARKED, "volume 2Gi", FINISHED])
        .await;
    let (claim, volume) = (claim(&world), volume(&world));
    assert_eq!(claim["status"]["capacity"]["storage"], "2Gi");
    assert_eq!(claim["status"]["allocatedResources"]["storage"], "2Gi", "stays, as in upstream");
    assert_eq!(claim["metadata"]["annotations"]["volume.kubernetes.io/node-expansion-not-required"], "true");
    assert_eq!(volume["spec"]["capacity"]["storage"], "2Gi");
    assert_eq!(volume["metadata"]["annotations"], Value::Null);
    assert_eq!(conditions(&world), Vec::<String>::new());
    assert_eq!(events(&world), ["Resizing", "VolumeResizeSuccessful"]);
    assert_eq!(messages(&world, "Resizing"), ["External resizer is resizing volume pv"]);
    assert_eq!(messages(&world, "VolumeResizeSuccessful"), ["Resize volume succeeded"]);
    assert_eq!(world.driver.volumes()["id-of-pv"].capacity, 2 << 30);
}

#[tokio::test(start_paused = true)]
async fn node_is_asked_to_go_on_and_the_volume_remembers() {
    let world = RESIZER
        .case("the node has to go on", asking("2Gi"))
        .driver("ControllerExpandVolume", [node_needed()])
        .ends_with(
            &[EXPANDED],
            &[MARKED, "volume 2Gi before 1Gi", "state NodeResizePending +FileSystemResizePending"],
        )
        .await;
    assert_eq!(claim(&world)["status"]["capacity"]["storage"], "1Gi", "the kubelet's to write");
    assert_eq!(conditions(&world), ["FileSystemResizePending", "Resizing"]);
    assert_eq!(events(&world), ["Resizing", "FileSystemResizeRequired"]);
    assert_eq!(
        messages(&world, "FileSystemResizeRequired"),
        ["Require file system resize of volume on node"]
    );
    finish_on_node(&world);
    tokio::time::sleep(std::time::Duration::from_secs(30)).await;
    assert_eq!(writes(&world).last().unwrap(), "before null", "the claim has the new size");
    assert_eq!(writes(&world).len(), 4);
}

/// What the kubelet writes when it has expanded the file system.
fn finish_on_node(world: &World) {
    world.api.edit("persistentvolumeclaims", "data", |claim| {
        claim["status"]["capacity"]["storage"] = claim["status"]["allocatedResources"]["storage"].clone();
        claim["status"]["allocatedResourceStatuses"] = json!({});
        claim["status"]["conditions"] = json!([]);
    });
}

#[tokio::test(start_paused = true)]
async fn annotations_follow_gate_and_path() {
    RESIZER
        .case("the gate is off", asking("2Gi"))
        .driver("ControllerExpandVolume", [node_needed()])
        .config(|config| config.annotate = false)
        .ends_with(&[EXPANDED], &[MARKED, "volume 2Gi", "state NodeResizePending +FileSystemResizePending"])
        .await;
    let [claim, volume] = asking("2Gi");
    let done =
        json!({"metadata": {"annotations": {"volume.kubernetes.io/node-expansion-not-required": "true"}}});
    let marked = "allocated 2Gi state ControllerResizeInProgress node done null +Resizing";
    RESIZER
        .case("the last growth needed no node", [with(claim, done), volume])
        .driver("ControllerExpandVolume", [node_needed()])
        .ends_with(
            &[EXPANDED],
            &[marked, "volume 2Gi before 1Gi", "state NodeResizePending +FileSystemResizePending"],
        )
        .await;
    let [claim, volume] = asking("2Gi");
    let remembers =
        json!({"metadata": {"annotations": {"volume.alpha.kubernetes.io/pre-resize-capacity": "512Mi"}}});
    let larger = json!({"spec": {"capacity": {"storage": "1536Mi"}}});
    RESIZER
        .case("the node has not finished an earlier growth", [claim, with(with(volume, remembers), larger)])
        .driver("ControllerExpandVolume", [node_needed()])
        .ends_with(&[EXPANDED], &[MARKED, "volume 2Gi", "state NodeResizePending +FileSystemResizePending"])
        .await;
}

#[tokio::test(start_paused = true)]
async fn driver_that_only_nodes_can_ask_is_not_called() {
    let case = |name, objects: [Value; 2]| {
        RESIZER.case(name, objects).config(|config| config.can.expansion = Some(Expansion::Node))
    };
    let writes = [MARKED, "volume 2Gi before 1Gi", "state NodeResizePending +FileSystemResizePending"];
    let world = case("growth", asking("2Gi")).ends_with(&[], &writes).await;
    assert_eq!(events(&world).len(), 2);
    let infeasible = json!({
        "allocatedResources": {"storage": "3Gi"}, "allocatedResourceStatuses": {"storage": "NodeResizeInfeasible"},
    });
    let [claim, volume] = left("2Gi", infeasible);
    let volume = with(volume, json!({"spec": {"capacity": {"storage": "3Gi"}}}));
    // The volume keeps what it has: no size shrinks.
    case("the node could not do more", [claim, volume])
        .ends_with(&[], &[MARKED, "before 1Gi", "state NodeResizePending +FileSystemResizePending"])
        .await;
    let off = |config: &mut resizer::Config| config.can.expansion = None;
    RESIZER.case("nobody expands", asking("2Gi")).config(off).ends_with(&[], &[]).await;
}

#[tokio::test(start_paused = true)]
async fn request_has_what_the_driver_needs() {
    let place =
        json!({"spec": {"csi": {"controllerExpandSecretRef": {"namespace": "secrets", "name": "expand"}}}});
    let [claim, volume] = asking("2Gi");
    let key = secret("secrets", "expand", json!({"user": "YWRtaW4="}));
    let world = RESIZER
        .case("with a secret", [claim, with(volume, place), key])
        .ends_with(&[EXPANDED], &[MARKED, "volume 2Gi", FINISHED])
        .await;
    let call = world.driver.calls_of("ControllerExpandVolume").remove(0);
    let request = call.request::<ControllerExpandVolumeRequest>().unwrap();
    assert_eq!(request.secrets.get("user").map(String::as_str), Some("admin"));
    assert!(request.volume_capability.is_some());
    let capability = |call: &sim::Call| call.method == "ControllerGetCapabilities";
    assert!(!world.driver.calls().iter().any(capability), "known since the start");
}

#[tokio::test(start_paused = true)]
async fn missing_secret_is_told_and_nothing_is_called() {
    let place =
        json!({"spec": {"csi": {"controllerExpandSecretRef": {"namespace": "secrets", "name": "expand"}}}});
    let [claim, volume] = asking("2Gi");
    let world = RESIZER.case("no secret", [claim, with(volume, place)]).ends_with(&[], &[MARKED]).await;
    assert_eq!(conditions(&world), ["Resizing"]);
    let [text] = &messages(&world, "VolumeResizeFailed")[..] else { panic!("{:?}", events(&world)) };
    assert!(
        text.starts_with(
            "resize volume \"pv\" by resizer \"driver.example\" failed: error getting secret expand in namespace secrets: "
        ),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn size_is_what_the_driver_says_if_it_is_enough() {
    let finished = "state null capacity 3Gi node done true -Resizing";
    RESIZER
        .case("larger", asking("2Gi"))
        .driver("ControllerExpandVolume", [answers(3 << 30)])
        .ends_with(&[EXPANDED], &[MARKED, "volume 3Gi", finished])
        .await;
    RESIZER
        .case("no size", asking("2Gi"))
        .driver("ControllerExpandVolume", [answers(0)])
        .ends_with(&[EXPANDED], &[MARKED, "volume 2Gi", FINISHED])
        .await;
    for bytes in [-1, 1 << 30, (2 << 30) - 1] {
        let world = RESIZER
            .case("smaller", asking("2Gi"))
            .driver("ControllerExpandVolume", [answers(bytes)])
            .ends_with(&[EXPANDED, EXPANDED], &[MARKED, "volume 2Gi", FINISHED])
            .await;
        let [text] = &messages(&world, "VolumeResizeFailed")[..] else { panic!("{:?}", events(&world)) };
        assert!(text.contains(&format!("{bytes} bytes")), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn failed_write_after_the_call_repeats_no_call() {
    let fault = || sim::Fault::ApiError(500);
    let world = RESIZER
        .case("the volume's", asking("2Gi"))
        .fault(|step| step.is("patch", "persistentvolumes"), 1, fault())
        .ends_with(&[EXPANDED], &[MARKED, "volume 2Gi (500)", "volume 2Gi", FINISHED])
        .await;
    assert_eq!(events(&world), ["Resizing", "VolumeResizeFailed", "VolumeResizeSuccessful"]);
    let status = json!({
        "allocatedResources": {"storage": "2Gi"}, "allocatedResourceStatuses": {"storage": "ControllerResizeInProgress"},
        "conditions": [{"type": "Resizing", "status": "True"}],
    });
    RESIZER
        .case("the claim's", left("2Gi", status))
        .fault(|step| step.is("patch", "persistentvolumeclaims/status"), 1, fault())
        .ends_with(&[EXPANDED], &["volume 2Gi", &format!("{FINISHED} (500)"), FINISHED])
        .await;
}

#[tokio::test(start_paused = true)]
async fn claim_that_cannot_be_marked_is_not_called_for() {
    let world = RESIZER
        .case("refused once", asking("2Gi"))
        .fault(|step| step.is("patch", "persistentvolumeclaims/status"), 1, sim::Fault::ApiError(500))
        .ends_with(&[EXPANDED], &[&format!("{MARKED} (500)"), MARKED, "volume 2Gi", FINISHED])
        .await;
    assert_eq!(events(&world), ["Resizing", "VolumeResizeSuccessful"], "no event of a mark that failed");
}

#[tokio::test(start_paused = true)]
async fn failure_text_and_condition_are_upstreams() {
    let (refused, repeated) = ("+ControllerResizeError", "-ControllerResizeError");
    let writes = [&[MARKED][..], &[refused, repeated].repeat(5), &[refused]].concat();
    let world = RESIZER
        .case("refused", asking("2Gi"))
        .driver("ControllerExpandVolume", vec![Reply::error(Code::Internal, "no"); 20])
        .ends_with(&["expand id-of-pv to 2Gi Internal"; 6], &writes)
        .await;
    assert_eq!(events(&world), ["Resizing", "VolumeResizeFailed x6"]);
    let text = "rpc error: code = Internal desc = no";
    assert_eq!(
        messages(&world, "VolumeResizeFailed"),
        [format!("resize volume \"pv\" by resizer \"driver.example\" failed: {text}")]
    );
    let claim = claim(&world);
    let condition = claim["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["type"] == "ControllerResizeError");
    let condition = condition.unwrap();
    assert_eq!((condition["status"].as_str(), condition["reason"].as_str()), (Some("True"), Some("Refused")));
    assert_eq!(condition["message"], format!("failed to expand pvc with {text}"));
    assert_eq!(claim["status"]["allocatedResourceStatuses"]["storage"], "ControllerResizeInProgress");
}
