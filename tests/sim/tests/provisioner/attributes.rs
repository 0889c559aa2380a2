//! Claims that name a VolumeAttributesClass (docs/upstream/provisioner.md, "Request").

use std::collections::BTreeMap;
use std::time::Duration;

use csi::v1::CreateVolumeRequest;
use provisioner::Config;
use serde_json::{Value, json};
use sim::objects::{DRIVER, class, with};
use sim::{Reply, World};
use tonic::Code;

use crate::harness::{PROVISIONER, events, waiting};

/// Class `name` of attributes, with a parameter that says its name.
pub(crate) fn attributes_class(name: &str, driver: &str) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass", "metadata": {"name": name},
        "driverName": driver, "parameters": {"tier": name},
    })
}

/// A claim that names it.
pub(crate) fn of_class(claim: &str, name: &str) -> Value {
    with(waiting(claim), json!({"spec": {"volumeAttributesClassName": name}}))
}

fn modifies(config: &mut Config) {
    config.can.modify = true;
}

/// The mutable parameters of each CreateVolume.
fn sent(world: &World) -> Vec<BTreeMap<String, String>> {
    let calls = world.driver.calls_of("CreateVolume");
    let parameters =
        |call: &sim::Call| call.request::<CreateVolumeRequest>().unwrap().mutable_parameters.clone();
    calls.iter().map(parameters).collect()
}

fn tier(name: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("tier".to_owned(), name.to_owned())])
}

const MADE: (&[&str], &[&str]) = (&["CreateVolume Some(Ok)"], &["create persistentvolumes 201"]);

#[tokio::test(start_paused = true)]
async fn parameters_are_sent_and_the_volume_names_the_class() {
    let objects = [class(), attributes_class("gold", DRIVER), of_class("data", "gold")];
    let world = PROVISIONER.case("gold", objects).config(modifies).ends_with(MADE.0, MADE.1).await;
    assert_eq!(sent(&world), [tier("gold")]);
    assert_eq!(world.api.list("persistentvolumes")[0]["spec"]["volumeAttributesClassName"], "gold");
}

#[tokio::test(start_paused = true)]
async fn without_the_gate_the_class_is_ignored() {
    let objects = [class(), of_class("data", "gold")];
    let case = PROVISIONER.case("gate off", objects).config(|config| config.attributes_classes = None);
    let world = case.ends_with(MADE.0, MADE.1).await;
    assert_eq!(sent(&world), [BTreeMap::new()]);
    assert_eq!(world.api.list("persistentvolumes")[0]["spec"]["volumeAttributesClassName"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn class_that_cannot_be_had_is_named_and_tried_again() {
    let foreign = attributes_class("gold", "other.example");
    for (name, objects, change, text) in [
        (
            "cannot modify",
            vec![attributes_class("gold", DRIVER)],
            (|_| {}) as fn(&mut Config),
            "MODIFY_VOLUME missing",
        ),
        ("missing", vec![], modifies, "volumeattributesclasses.storage.k8s.io \"gold\" not found"),
        ("another driver's", vec![foreign], modifies, "VolumeAttributesClass gold is other.example's"),
    ] {
        let objects = objects.into_iter().chain([class(), of_class("data", "gold")]);
        let world = PROVISIONER.case(name, objects).config(change).ends_with(&[], &[]).await;
        let told = events(&world);
        let failed = |event: &String| event.starts_with("ProvisioningFailed: ") && event.contains(text);
        assert!(told.iter().any(failed), "{name}: {told:?}");
        if name == "missing" {
            world.api.put(attributes_class("gold", DRIVER));
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert_eq!(sent(&world), [tier("gold")]);
        }
    }
}

/// What may be under way is sent again as it was, whatever the class says by then.
#[tokio::test(start_paused = true)]
async fn retry_sends_the_parameters_that_were_sent() {
    let objects = [class(), attributes_class("gold", DRIVER), of_class("data", "gold")];
    let case = PROVISIONER
        .case("made anew", objects)
        .config(modifies)
        .driver("CreateVolume", [Reply::error(Code::DeadlineExceeded, "slow")])
        .meanwhile(|world| {
            let unprotected = |class: &mut Value| class["metadata"]["finalizers"] = json!([]);
            world.api.edit("volumeattributesclasses", "gold", unprotected);
            world.api.delete("volumeattributesclasses", "gold");
            let anew = with(attributes_class("gold", DRIVER), json!({"parameters": {"tier": "other"}}));
            world.api.put(anew);
        });
    let calls = ["CreateVolume Some(DeadlineExceeded)", "CreateVolume Some(Ok)"];
    let world = case.ends_with(&calls, MADE.1).await;
    assert_eq!(sent(&world), [tier("gold"), tier("gold")]);
}
