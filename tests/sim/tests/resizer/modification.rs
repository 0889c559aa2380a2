//! VolumeAttributesClasses (docs/upstream/resizer.md, "Modify").

use std::time::Duration;

use csi::v1::ControllerModifyVolumeRequest;
use serde_json::{Value, json};
use sim::objects::{attributes_class, secret};
use sim::{Fault, Reply, Running, World};
use tokio::time::{Instant, sleep};
use tonic::Code;

use crate::harness::{
    DRIVER, RESIZER, bound, calls, claim, conditions, events, messages, volume, with, world_with, writes,
};

const MODIFIED: &str = "modify id-of-pv iops=gold Ok";
const BEGUN: &str = "modify InProgress to gold +ModifyingVolume";
const DONE: &str = "class gold modify null -ModifyingVolume";
const CLASSED: &str = "volume of class gold";

/// A claim that names this class, and has the other.
fn naming(wanted: &str, current: &str) -> [Value; 2] {
    let [claim, volume] = bound("data", "pv");
    let names = json!({"spec": {"volumeAttributesClassName": wanted}, "status": {"currentVolumeAttributesClassName": current}});
    [with(claim, names), volume]
}

fn with_class(wanted: &str, current: &str) -> Vec<Value> {
    let classes = ["gold", "silver"].map(|name| attributes_class(name, DRIVER));
    naming(wanted, current).into_iter().chain(classes).collect()
}

fn status(phase: &str, target: &str) -> Value {
    json!({"status": {"modifyVolumeStatus": {"status": phase, "targetVolumeAttributesClassName": target}}})
}

fn shown(message: &str) -> Value {
    json!({"status": {"conditions": [{"type": "ModifyingVolume", "status": "True", "message": message}]}})
}

/// As `with_class`, with this on top of the claim.
fn with_status(wanted: &str, change: Value) -> Vec<Value> {
    let mut objects = with_class(wanted, "");
    objects[0] = with(objects[0].clone(), change);
    objects
}

fn name(world: &World, class: &str) {
    world.api.edit("persistentvolumeclaims", "data", |claim| {
        claim["spec"]["volumeAttributesClassName"] = json!(class);
    });
}

#[tokio::test(start_paused = true)]
async fn modification_costs_one_call_and_three_writes() {
    let world =
        RESIZER.case("a class", with_class("gold", "")).ends_with(&[MODIFIED], &[BEGUN, CLASSED, DONE]).await;
    let status = claim(&world)["status"].clone();
    assert_eq!(status["currentVolumeAttributesClassName"], "gold");
    assert_eq!((status["modifyVolumeStatus"].clone(), conditions(&world)), (Value::Null, Vec::new()));
    assert_eq!(volume(&world)["spec"]["volumeAttributesClassName"], "gold");
    assert_eq!(events(&world), ["VolumeModify", "VolumeModifySuccessful"]);
    assert_eq!(messages(&world, "VolumeModify"), ["external resizer is modifying volume data with vac gold"]);
    assert_eq!(
        messages(&world, "VolumeModifySuccessful"),
        ["external resizer modified volume data with vac gold successfully"]
    );
    assert_eq!(world.driver.volumes()["id-of-pv"].mutable_parameters["iops"], "gold");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_done_for_what_does_not_concern_us() {
    let objects = |change_claim: Value, change_volume: Value| {
        let mut objects = with_class("gold", "");
        objects[0] = with(objects[0].clone(), change_claim);
        objects[1] = with(objects[1].clone(), change_volume);
        objects
    };
    for (name, objects) in [
        ("it has the class", with_class("gold", "gold")),
        ("it names none", with_class("", "")),
        ("it no longer names one", with_class("", "gold")),
        ("not bound", objects(json!({"status": {"phase": "Pending"}}), json!({}))),
        ("another driver's", objects(json!({}), json!({"spec": {"csi": {"driver": "other"}}}))),
        ("an in-tree volume", objects(json!({}), json!({"spec": {"csi": null, "nfs": {}}}))),
        ("a former claim of the name", objects(json!({}), json!({"spec": {"claimRef": {"uid": "former"}}}))),
    ] {
        RESIZER.case(name, objects).ends_with(&[], &[]).await;
    }
    let off = |config: &mut resizer::Config| config.classes = None;
    let world = RESIZER.case("off", with_class("gold", "")).config(off).ends_with(&[], &[]).await;
    let asked = world.api.requests().into_iter().any(|asked| asked.resource == "volumeattributesclasses");
    assert!(!asked, "off means no watch");
}

#[tokio::test(start_paused = true)]
async fn request_has_names_and_secret_when_it_should() {
    let mut objects = with_class("gold", "");
    let annotations = json!({"volume.kubernetes.io/controller-modify-secret-name": "modify",
        "volume.kubernetes.io/controller-modify-secret-namespace": "secrets"});
    objects[1] = with(objects[1].clone(), json!({"metadata": {"annotations": annotations}}));
    objects.push(secret("secrets", "modify", json!({"user": "YWRtaW4="})));
    let names = "csi.storage.k8s.io/pv/name=pv,csi.storage.k8s.io/pvc/name=data,csi.storage.k8s.io/pvc/namespace=default";
    let world = RESIZER
        .case("with names", objects)
        .config(|config| config.extra_modify_metadata = true)
        .ends_with(&[&format!("modify id-of-pv {names},iops=gold Ok")], &[BEGUN, CLASSED, DONE])
        .await;
    let call = world.driver.calls_of("ControllerModifyVolume").remove(0);
    let request = call.request::<ControllerModifyVolumeRequest>().unwrap();
    assert_eq!(request.secrets.get("user").map(String::as_str), Some("admin"));
}

#[tokio::test(start_paused = true)]
async fn class_that_appears_later_is_picked_up() {
    let world = RESIZER
        .case("missing", naming("gold", ""))
        .meanwhile(|world| drop(world.api.put(attributes_class("gold", DRIVER))))
        .ends_with(&[MODIFIED], &["modify Pending", BEGUN, CLASSED, DONE])
        .await;
    assert_eq!(events(&world), ["VolumeModifyFailed", "VolumeModify", "VolumeModifySuccessful"]);
    assert_eq!(messages(&world, "VolumeModifyFailed"), ["VAC \"gold\" does not exist."]);
    let kept = with_status("nowhere", status("Infeasible", "silver"));
    let world =
        RESIZER.case("missing, another was tried before", kept).ends_with(&[], &["modify Pending"]).await;
    let last = claim(&world)["status"]["modifyVolumeStatus"].clone();
    assert_eq!(last, json!({"status": "Pending", "targetVolumeAttributesClassName": "silver"}));
}

#[tokio::test(start_paused = true)]
async fn class_of_another_driver_is_not_used() {
    let objects = naming("gold", "").into_iter().chain([attributes_class("gold", "other")]);
    let world = RESIZER
        .case("foreign", objects)
        .meanwhile(|world| {
            world
                .api
                .edit("volumeattributesclasses", "gold", |class| class["metadata"]["finalizers"] = json!([]));
            world.api.delete("volumeattributesclasses", "gold");
            world.api.put(attributes_class("gold", DRIVER));
        })
        .ends_with(&[MODIFIED], &["modify Pending", BEGUN, CLASSED, DONE])
        .await;
    let [text] = &messages(&world, "VolumeModifyFailed")[..] else { panic!("{:?}", events(&world)) };
    assert!(text.contains("\"gold\"") && text.contains("other"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn each_code_leaves_its_status() {
    for number in 1..=16 {
        let code = Code::from_i32(number);
        let refused = format!("modify id-of-pv iops=gold {code:?}");
        let case = RESIZER.case("one answer", with_class("gold", ""));
        let case = case.driver("ControllerModifyVolume", [Reply::error(code, "no")]);
        let failed = |phase: &str| format!("modify {phase} to gold +ModifyingVolume +ModifyVolumeError");
        let done = "class gold modify null -ModifyingVolume -ModifyVolumeError";
        let world = match code {
            Code::InvalidArgument => case.ends_with(&[&refused], &[BEGUN, &failed("Infeasible")]).await,
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Unavailable
            | Code::ResourceExhausted
            | Code::Aborted => {
                case.ends_with(&[&refused, MODIFIED], &[BEGUN, &failed("InProgress"), CLASSED, done]).await
            }
            _ => {
                case.ends_with(&[&refused, MODIFIED], &[BEGUN, &failed("InProgress"), BEGUN, CLASSED, done])
                    .await
            }
        };
        let [text] = &messages(&world, "VolumeModifyFailed")[..] else { panic!("{:?}", events(&world)) };
        let is_open = text.ends_with(". Still modifying to VAC gold");
        let expected = matches!(
            code,
            Code::Cancelled
                | Code::DeadlineExceeded
                | Code::Unavailable
                | Code::ResourceExhausted
                | Code::Aborted
        );
        assert_eq!((is_open, text.contains("desc = no")), (expected, true), "{text}");
    }
}

fn begun(objects: Vec<Value>) -> (World, Running) {
    let world = world_with(&["pv"]);
    objects.into_iter().for_each(|object| drop(world.api.put(object)));
    let running = RESIZER.run(&world, |config| config.resync = Duration::ZERO);
    (world, running)
}

#[tokio::test(start_paused = true)]
async fn infeasible_class_is_tried_once_an_interval() {
    let (world, _running) = begun(with_class("gold", ""));
    world.driver.always("ControllerModifyVolume", Reply::error(Code::InvalidArgument, "no"));
    let start = Instant::now();
    sleep(Duration::from_secs(1000)).await;
    let times: Vec<u64> =
        world.driver.calls().iter().map(|call| call.at.duration_since(start).as_secs()).collect();
    assert_eq!(times, [0, 300, 600, 900]);
    assert_eq!(conditions(&world), ["ModifyVolumeError", "ModifyingVolume"]);
    world.driver.be_honest();
    name(&world, "silver");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(
        calls(&world).last().unwrap(),
        "modify id-of-pv iops=silver Ok",
        "another class is tried at once"
    );
}

/// Whether the class changes at once, or the former one is finished first; in memory, and as the status tells a new process.
#[tokio::test(start_paused = true)]
async fn class_of_now_is_taken_once_the_former_is_refused() {
    let (world, _running) = begun(with_class("gold", ""));
    let replies = [Reply::error(Code::Aborted, "busy"), Reply::error(Code::InvalidArgument, "no")];
    world.driver.script("ControllerModifyVolume", replies);
    sleep(Duration::from_millis(500)).await;
    name(&world, "silver");
    sleep(Duration::from_secs(20)).await;
    let expected = ["gold Aborted", "gold InvalidArgument", "silver Ok"];
    assert_eq!(calls(&world), expected.map(|call| format!("modify id-of-pv iops={call}")));
    assert_eq!(volume(&world)["spec"]["volumeAttributesClassName"], "silver");
}

#[tokio::test(start_paused = true)]
async fn other_class_waits_only_for_a_call_that_may_be_under_way() {
    for (code, restart, next) in [
        (Code::Internal, false, &["silver"][..]),
        (Code::Internal, true, &["silver"]),
        (Code::DeadlineExceeded, false, &["gold", "silver"]),
        (Code::DeadlineExceeded, true, &["gold", "silver"]),
    ] {
        let (world, running) = begun(with_class("gold", ""));
        world.driver.script("ControllerModifyVolume", [Reply::error(code, "no")]);
        sleep(Duration::from_millis(500)).await;
        let running = if restart {
            running.stop();
            None
        } else {
            Some(running)
        };
        name(&world, "silver");
        let again = restart.then(|| RESIZER.run(&world, |_| ()));
        sleep(Duration::from_secs(60)).await;
        let mut expected = vec![format!("modify id-of-pv iops=gold {code:?}")];
        expected.extend(next.iter().map(|class| format!("modify id-of-pv iops={class} Ok")));
        assert_eq!(calls(&world), expected, "{code:?}, restart: {restart}");
        assert_eq!(volume(&world)["spec"]["volumeAttributesClassName"], "silver");
        assert_eq!(conditions(&world), Vec::<String>::new());
        // What was uncertain is forgotten: the next class is taken at once.
        name(&world, "gold");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(calls(&world).len(), expected.len() + 1, "{code:?}");
        drop((running, again));
    }
}

#[tokio::test(start_paused = true)]
async fn modification_that_is_no_longer_wanted() {
    let infeasible =
        with(status("Infeasible", "gold"), shown("Modifying volume to \"gold\" failed. Waiting for retry."));
    let world =
        RESIZER.case("cancelled", with_status("", infeasible)).ends_with(&[], &["-ModifyingVolume"]).await;
    assert_eq!(events(&world), ["VolumeModifyCanceled"]);
    assert_eq!(messages(&world, "VolumeModifyCanceled"), ["Cancelled modify."]);
    assert_eq!(
        claim(&world)["status"]["modifyVolumeStatus"]["status"],
        "Infeasible",
        "stays, as in upstream"
    );
    let busy = with(status("InProgress", "gold"), shown("Modifying volume to \"gold\" is in progress."));
    let world = RESIZER
        .case("finished all the same", with_status("", busy.clone()))
        .ends_with(&[MODIFIED], &[CLASSED, DONE])
        .await;
    assert_eq!(events(&world), ["VolumeModifySuccessful"]);
    RESIZER
        .case("finished, then the other", with_status("silver", busy))
        .ends_with(
            &[MODIFIED, "modify id-of-pv iops=silver Ok"],
            &[
                CLASSED,
                DONE,
                "modify InProgress to silver +ModifyingVolume",
                "volume of class silver",
                "class silver modify null -ModifyingVolume",
            ],
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn failed_write_after_the_call_repeats_no_call() {
    for (resource, writes) in [
        ("persistentvolumes", [BEGUN, "volume of class gold (500)", CLASSED, DONE]),
        ("nothing", [BEGUN, CLASSED, DONE, ""]),
    ] {
        let expected: Vec<&str> = writes.into_iter().filter(|write| !write.is_empty()).collect();
        RESIZER
            .case(resource, with_class("gold", ""))
            .fault(move |step| step.is("patch", resource), 1, Fault::ApiError(500))
            .ends_with(&[MODIFIED], &expected)
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn older_cluster_serves_the_class_as_v1beta1() {
    let (world, _running) = {
        let world = world_with(&["pv"]);
        world.api.serve_as_beta("volumeattributesclasses");
        with_class("gold", "").into_iter().for_each(|object| drop(world.api.put(object)));
        let running = RESIZER.run(&world, |config| config.classes = Some("v1beta1"));
        (world, running)
    };
    sleep(Duration::from_secs(30)).await;
    assert_eq!((calls(&world), writes(&world).len()), (vec![MODIFIED.to_owned()], 3));
}

#[tokio::test(start_paused = true)]
async fn volumes_grow_although_classes_cannot_be_listed() {
    let grows = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    let mut objects = with_class("gold", "");
    objects[0] = with(objects[0].clone(), grows);
    let (world, _running) = begun(objects);
    let of_classes = |step: &sim::Step| {
        step.is("watch", "volumeattributesclasses") || step.is("list", "volumeattributesclasses")
    };
    world.steps.on(of_classes, 6, Fault::ApiError(403));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(calls(&world), ["expand id-of-pv to 2Gi Ok"]);
    sleep(Duration::from_secs(120)).await;
    assert_eq!(calls(&world)[1..], [MODIFIED.to_owned()], "once they can, they are used");
}
