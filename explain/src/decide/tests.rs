use serde_json::{Value, json};

use super::*;
use crate::fixture::{World, attachment, bound, claim, class, lease, node, object, pod, volume, warning};
use crate::print;

fn causes(objects: impl IntoIterator<Item = Value>) -> Vec<&'static str> {
    World::of(objects).causes(Kind::Claim, "data")
}

const RUNS: i64 = 3;

/// The class, and a csi-provisioner that runs.
fn served(fields: Value) -> Vec<Value> {
    vec![class(fields), lease("d", RUNS), claim(json!({}))]
}

#[test]
fn claim_that_is_bound_and_not_used_is_ready() {
    let answer = World::of([bound(json!({})), volume(json!({}))]).explain(Kind::Claim, "data").unwrap();
    assert_eq!((answer.findings, answer.state.as_str()), (vec![], "Bound to PersistentVolume pv"));
    assert_eq!(answer.unread, Vec::<String>::new());
}

#[test]
fn drivers_answer_says_who_must_act() {
    for (code, expected) in [
        ("ResourceExhausted", "StorageFull"),
        ("OutOfRange", "SizeRefused"),
        ("InvalidArgument", "Refused"),
        ("Unavailable", "DriverSilent"),
        ("Internal", "DriverError"),
    ] {
        let message = format!("rpc error: code = {code} desc = why");
        let mut objects = served(json!({}));
        objects.push(warning("data", "ProvisioningFailed", &message));
        let answer = World::of(objects).explain(Kind::Claim, "data").unwrap();
        let [finding] = &answer.findings[..] else { panic!("{answer:?}") };
        assert_eq!((finding.cause, finding.error.as_deref()), (expected, Some(message.as_str())));
        assert_eq!(finding.since.unwrap().to_string(), "2026-11-30T11:40:00Z", "when it was said first");
    }
}

#[test]
fn lease_tells_whether_somebody_acts() {
    let with = |more: Vec<Value>| causes([class(json!({})), claim(json!({}))].into_iter().chain(more));
    assert_eq!(with(vec![lease("d", RUNS)]), ["Provisioning"]);
    assert_eq!(with(vec![lease("d", 26)]), ["NoLeader"], "15 s, and 10 s for clocks that differ");
    assert_eq!(with(vec![]), ["DriverUnknown"]);
    assert_eq!(with(vec![object(Kind::Driver, "d", json!({}))]), ["NoLeader"]);
    let released =
        object(Kind::Lease, "d", json!({"spec": {"holderIdentity": "", "leaseDurationSeconds": 1}}));
    assert_eq!(with(vec![released]), ["NoLeader"]);
    // Without leader election there is no Lease, and events show that it works.
    let failed = warning("data", "ProvisioningFailed", "rpc error: code = Internal desc = why");
    let mut failed = failed;
    failed["source"] = json!({"component": "d_host_uid"});
    assert_eq!(with(vec![failed.clone()]), ["DriverError"]);
    assert_eq!(with(vec![failed, lease("d", 60)]), ["NoLeader", "DriverError"]);
}

#[test]
fn answer_changes_when_the_lease_runs_out() {
    let answer = World::of(served(json!({}))).explain(Kind::Claim, "data").unwrap();
    assert_eq!(answer.again.unwrap().to_string(), "2026-11-30T12:00:22Z");
}

#[test]
fn provisioner_of_another_kind_has_another_lease() {
    let annotations = json!({"volume.kubernetes.io/storage-provisioner": "rancher.io/local-path"});
    let claim = claim(json!({"metadata": {"annotations": annotations}}));
    let objects = [class(json!({"provisioner": "rancher.io/local-path"})), claim];
    let answer = World::of(objects).explain(Kind::Claim, "data").unwrap();
    let [finding] = &answer.findings[..] else { panic!("{answer:?}") };
    assert_eq!(
        (finding.cause, finding.happened.as_str()),
        ("Provisioning", "external provisioner rancher.io/local-path has the claim")
    );
}

#[test]
fn what_kube_controller_manager_said_before_is_over() {
    let mut objects = served(json!({}));
    let mut said = warning("data", "ProvisioningFailed", "storageclass.storage.k8s.io \"fast\" not found");
    said["source"] = json!({"component": "persistentvolume-controller"});
    objects.push(said);
    assert_eq!(causes(objects), ["Provisioning"]);
}

#[test]
fn claim_that_nobody_handed_over_is_ignored() {
    let mut objects = served(json!({}));
    objects[2]["metadata"]["annotations"].take();
    assert_eq!(causes(objects.clone()), ["NotHandedOver"]);
    objects[2]["metadata"]["creationTimestamp"] = json!("2026-11-30T11:59:50Z");
    let answer = World::of(objects).explain(Kind::Claim, "data").unwrap();
    assert_eq!(answer.findings[0].cause, "Provisioning", "it takes a moment");
    assert_eq!(answer.again.unwrap().to_string(), "2026-11-30T12:00:05Z");
}

#[test]
fn pod_that_waits_for_something_else_is_no_matter_of_the_claim() {
    let with = |status: Value| {
        causes([
            bound(json!({})),
            volume(json!({})),
            pod(json!({"spec": {"nodeName": ""}, "status": status})),
        ])
    };
    let unscheduled = |message: &str| {
        json!({
            "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}],
        })
    };
    assert_eq!(with(unscheduled("0/3 nodes are available: 3 Insufficient cpu.")), Vec::<&str>::new());
    assert_eq!(with(unscheduled("1 node(s) had volume node affinity conflict.")), ["VolumeElsewhere"]);
    let pulls = json!({"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]});
    let mount = warning("app", "FailedMount", "timed out");
    let objects = [bound(json!({})), volume(json!({})), pod(json!({"status": pulls})), mount];
    assert_eq!(causes(objects), Vec::<&str>::new(), "images are pulled once volumes are mounted");
}

#[test]
fn source_without_a_volume_is_followed() {
    let mut objects = served(json!({}));
    objects[2]["spec"]["dataSource"] = json!({"kind": "PersistentVolumeClaim", "name": "source"});
    let mut source = claim(json!({"metadata": {"name": "source", "uid": "uid-source"}}));
    source["spec"]["storageClassName"] = json!("nowhere");
    objects.push(source);
    assert_eq!(causes(objects.clone()), ["SourceNotReady", "ClassMissing"]);
    objects[2]["spec"]["dataSource"]["name"] = json!("data");
    assert_eq!(causes(objects), ["SourceNotReady"], "a clone of itself");
}

#[test]
fn driver_without_topology_is_asked_all_the_same() {
    let late = json!({"volumeBindingMode": "WaitForFirstConsumer"});
    let mut objects = served(late);
    objects[2]["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] = json!("n");
    objects.push(object(Kind::Node, "n", json!({})));
    assert_eq!(causes(objects.clone()), ["NodeWithoutDriver"]);
    objects.push(warning(
        "data",
        "ProvisioningFailed",
        "error generating accessibility requirements: no topology key",
    ));
    assert_eq!(causes(objects.clone()), ["NodeWithoutDriver"]);
    objects.pop();
    objects.push(warning("data", "ProvisioningFailed", "rpc error: code = Internal desc = x"));
    assert_eq!(causes(objects), ["DriverError", "NodeWithoutDriver"]);
}

#[test]
fn default_class_is_written_by_another() {
    let fields =
        json!({"metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}});
    let mut claim = claim(json!({}));
    claim["spec"]["storageClassName"].take();
    assert_eq!(causes([claim.clone(), class(fields)]), ["DefaultClassPending"]);
    assert_eq!(causes([claim, class(json!({}))]), ["NoClass"]);
}

#[test]
fn source_of_another_namespace_needs_a_grant() {
    let source = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s", "namespace": "far"});
    let mut objects = served(json!({}));
    objects[2]["spec"]["dataSourceRef"] = source;
    assert_eq!(causes(objects.clone()), ["GrantMissing"]);
    let grant = |kind: &str, from: &str| {
        object(
            Kind::Grant,
            "g",
            json!({
                "metadata": {"namespace": "far"},
                "spec": {
                    "from": [{"group": "", "kind": "PersistentVolumeClaim", "namespace": from}],
                    "to": [{"group": "snapshot.storage.k8s.io", "kind": kind}],
                },
            }),
        )
    };
    for (grant, expected) in [
        (grant("VolumeSnapshot", "team"), "SourceMissing"),
        (grant("VolumeSnapshot", "other"), "GrantMissing"),
        (grant("Secret", "team"), "GrantMissing"),
    ] {
        assert_eq!(causes(objects.iter().cloned().chain([grant])), [expected]);
    }
}

#[test]
fn in_tree_class_names_the_driver_that_took_over() {
    let annotations = json!({"volume.kubernetes.io/storage-provisioner": "ebs.csi.aws.com"});
    let claim = claim(json!({"metadata": {"annotations": annotations}}));
    let class = class(json!({"provisioner": "kubernetes.io/aws-ebs"}));
    let answer = World::of([claim, class]).explain(Kind::Claim, "data").unwrap();
    let [finding] = &answer.findings[..] else { panic!("{answer:?}") };
    assert!(
        finding.happened.contains("kubernetes.io/aws-ebs, which CSI driver ebs.csi.aws.com has taken over")
    );
    assert!(finding.happened.contains("no Lease ebs-csi-aws-com"), "{}", finding.happened);
}

#[test]
fn growth_is_followed_to_the_node() {
    let grows = |status: Value, more: Vec<Value>| {
        let mut claim = bound(json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}}));
        for (key, value) in status.as_object().unwrap() {
            claim["status"][key] = value.clone();
        }
        causes([claim, volume(json!({})), lease("external-resizer-d", RUNS)].into_iter().chain(more))
    };
    let at = |step: &str| json!({"allocatedResourceStatuses": {"storage": step}});
    let error = |message: &str| json!({"conditions": [{"type": "ControllerResizeError", "status": "True", "message": message}]});
    let runs = || pod(json!({"status": {"phase": "Running"}}));
    assert_eq!(grows(json!({}), vec![]), ["Growing"]);
    assert_eq!(grows(error("rpc error: code = Internal desc = x"), vec![]), ["GrowthFailed"]);
    assert_eq!(grows(error("rpc error: code = FailedPrecondition desc = x"), vec![runs()]), ["GrowthInUse"]);
    assert_eq!(grows(at("ControllerResizeInfeasible"), vec![]), ["GrowthInfeasible"]);
    assert_eq!(grows(at("NodeResizePending"), vec![]), ["GrowthNeedsPod"]);
    assert_eq!(grows(at("NodeResizePending"), vec![runs()]), ["GrowthOnNode"]);
    assert_eq!(grows(at("NodeResizeInfeasible"), vec![runs()]), ["GrowthNodeInfeasible"]);
    // What was said before more was asked for is about something else.
    let asked = json!([{"time": "2026-11-30T11:55:00Z", "fieldsV1": {"f:spec": {"f:resources": {"f:requests": {"f:storage": {}}}}}}]);
    let mut claim = bound(json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}}));
    claim["metadata"]["managedFields"] = asked;
    let old = warning("data", "VolumeResizeFailed", "rpc error: code = Internal desc = x");
    assert_eq!(causes([claim, volume(json!({})), lease("external-resizer-d", RUNS), old]), ["Growing"]);
    let offline = "Unable to expand team/data because CSI driver d only supports offline expansion and volume is currently in-use";
    assert_eq!(grows(json!({}), vec![warning("data", "VolumeResizeFailed", offline)]), ["GrowthInUse"]);
}

#[test]
fn pod_is_followed_to_its_mount() {
    let on = |more: Vec<Value>| {
        let objects =
            [bound(json!({})), volume(json!({})), lease("external-attacher-leader-d", RUNS), pod(json!({}))];
        causes(objects.into_iter().chain(more))
    };
    let with = |more: Vec<Value>| on(node().into_iter().chain(more).collect());
    let attached = || attachment(json!({"status": {"attached": true}}));
    assert_eq!(with(vec![]), ["NoAttachment"]);
    assert_eq!(with(vec![attachment(json!({}))]), ["Attaching"]);
    let failed = json!({"status": {"attachError": {"message": "rpc error: code = Internal desc = x"}}});
    assert_eq!(with(vec![attachment(failed)]), ["AttachFailed"]);
    let elsewhere = json!({"spec": {"nodeName": "other"}, "status": {"attached": true}});
    let other = object(Kind::Node, "other", json!({}));
    assert_eq!(with(vec![attachment(elsewhere), other]), ["AttachedElsewhere"]);
    let gone = attachment(json!({"spec": {"nodeName": "gone"}, "status": {"attached": true}}));
    assert_eq!(with(vec![gone]), ["AttachedElsewhere", "AttachedToGoneNode"]);
    let silent = json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}});
    let elsewhere = attachment(json!({"spec": {"nodeName": "other"}, "status": {"attached": true}}));
    let found = with(vec![elsewhere, object(Kind::Node, "other", silent)]);
    assert_eq!(found, ["AttachedElsewhere", "AttachedToLostNode"]);
    let no_attach = object(Kind::Driver, "d", json!({"spec": {"attachRequired": false}}));
    assert_eq!(with(vec![no_attach]), Vec::<&str>::new(), "the kubelet is at work");
    let mount =
        warning("app", "FailedMount", "MountVolume.MountDevice failed: rpc error: code = Internal desc = x");
    assert_eq!(with(vec![attached(), mount]), ["MountFailed"]);
    assert_eq!(on(vec![attached(), object(Kind::Node, "n", json!({}))]), ["NodeWithoutDriver"]);
}

#[test]
fn volume_that_is_released_is_deleted_or_kept() {
    let released = |fields: Value, more: Vec<Value>| {
        let mut volume = volume(json!({"status": {"phase": "Released"}}));
        for (key, value) in fields.as_object().unwrap() {
            volume["spec"][key] = value.clone();
        }
        World::of([volume, lease("d", RUNS)].into_iter().chain(more)).causes(Kind::Volume, "pv")
    };
    assert_eq!(released(json!({"persistentVolumeReclaimPolicy": "Retain"}), vec![]), ["Retained"]);
    assert_eq!(released(json!({}), vec![]), ["Deleting"]);
    assert_eq!(
        released(
            json!({}),
            vec![attachment(json!({"status": {"attached": true}})), object(Kind::Node, "n", json!({}))]
        ),
        ["StillAttached"]
    );
    let mut failed =
        warning("pv", "VolumeFailedDelete", "rpc error: code = FailedPrecondition desc = in use");
    failed["metadata"]["namespace"] = json!("default");
    assert_eq!(released(json!({}), vec![failed]), ["DeleteFailed"]);
}

#[test]
fn several_default_snapshot_classes_are_named() {
    let default = json!({
        "metadata": {"annotations": {"snapshot.storage.kubernetes.io/is-default-class": "true"}}, "driver": "d",
    });
    let snapshot =
        object(Kind::Snapshot, "s", json!({"spec": {"source": {"persistentVolumeClaimName": "data"}}}));
    let world = |classes: &[&str]| {
        let classes = classes.iter().map(|name| object(Kind::SnapshotClass, name, default.clone()));
        let objects = [
            snapshot.clone(),
            bound(json!({})),
            volume(json!({})),
            lease("snapshot-controller-leader", RUNS),
        ];
        World::of(objects.into_iter().chain(classes))
    };
    let answer = world(&["a", "b"]).explain(Kind::Snapshot, "s").unwrap();
    assert!(answer.findings[0].happened.ends_with("has several default ones: a, b"), "{answer:?}");
    assert_eq!(world(&["a"]).causes(Kind::Snapshot, "s"), ["NoContent"]);
}

#[test]
fn what_may_not_be_read_is_named_and_the_rest_answered() {
    let mut world = World::of(served(json!({})));
    world.objects.push(warning("data", "ProvisioningFailed", "rpc error: code = Internal desc = x"));
    world.refused = vec![Kind::Lease];
    let answer = world.explain(Kind::Claim, "data").unwrap();
    assert_eq!(answer.findings[0].cause, "DriverError");
    assert_eq!(answer.unread, ["leases: a role needs RULE leases"]);
    world.refused = vec![Kind::Claim];
    let error = world.explain(Kind::Claim, "data").unwrap_err();
    let expected =
        "cannot read PersistentVolumeClaim data of namespace team: a role needs RULE persistentvolumeclaims";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn what_is_not_there_is_told_in_one_line() {
    let error = World::default().explain(Kind::Claim, "data").unwrap_err();
    assert_eq!(error.to_string(), "there is no PersistentVolumeClaim data of namespace team");
    let world = World { not_served: vec![Kind::Snapshot], ..World::default() };
    let error = world.explain(Kind::Snapshot, "s").unwrap_err().to_string();
    assert_eq!(
        error,
        "this cluster has no volumesnapshots: install the definitions (CRDs) of external-snapshotter"
    );
    let status =
        json!({"status": {"hard": {"requests.storage": "10Gi"}, "used": {"requests.storage": "10Gi"}}});
    let error = World::of([object(Kind::Quota, "q", status)]).explain(Kind::Claim, "data").unwrap_err();
    assert!(
        error.to_string().ends_with("; ResourceQuota q is used up: 10Gi of 10Gi requests.storage"),
        "{error}"
    );
}

#[test]
fn secret_that_the_class_names_must_be_there() {
    let named = json!({"parameters": {
        "csi.storage.k8s.io/secret-name": "key-${pvc.name}", "csi.storage.k8s.io/secret-namespace": "team",
    }});
    assert_eq!(causes(served(named.clone())), ["SecretMissing"]);
    let there = object(Kind::Secret, "key-data", json!({"data": {"password": "c2VjcmV0"}}));
    let world = World::of(served(named).into_iter().chain([there]));
    let answer = world.explain(Kind::Claim, "data").unwrap();
    assert_eq!(answer.findings[0].cause, "Provisioning");
    assert!(!print::json(&answer).unwrap().contains("c2VjcmV0"));
}

#[test]
fn json_has_the_documented_fields() {
    let answer = World::of([claim(json!({}))]).explain(Kind::Claim, "data").unwrap();
    let found: Value = serde_json::from_str(&print::json(&answer).unwrap()).unwrap();
    let expected = json!({
        "apiVersion": "mooring.dev/v1", "kind": "Explanation",
        "object": {"kind": "PersistentVolumeClaim", "namespace": "team", "name": "data"},
        "ready": false, "state": "Pending",
        "findings": [{
            "cause": "ClassMissing", "happened": "the claim names StorageClass fast, and there is none",
            "waitsFor": "StorageClass fast. Classes here: none", "since": "2026-11-30T11:00:00Z", "who": "admin",
            "error": null, "run": ["kubectl get storageclasses"],
        }],
        "unread": [],
    });
    assert_eq!(found, expected);
}
