//! TestProvision, TestShouldProvision, TestFSTypeProvision and TestCreateDriverReturnsInvalidCapacityDuringProvision. The
//! cases of node deployment are in `on_nodes.rs`.

use csi::v1::volume_capability::AccessType;
use csi::v1::volume_capability::access_mode::Mode;
use csi::v1::{CreateVolumeRequest, CreateVolumeResponse};
use provisioner::Config;
use serde_json::{Value, json};
use sim::objects::{DRIVER, class, secret, with};
use sim::{Reply, World};
use tonic::Code;

use crate::attributes::attributes_class;
use crate::harness::{PROVISIONER, events, waiting};

const CREATED: &[&str] = &["CreateVolume Some(Ok)"];
const STORED: &[&str] = &["create persistentvolumes 201"];

/// A claim that is served: what differs from the plain claim, class and configuration, and what is then so.
struct Served {
    name: &'static str,
    class: Value,
    claim: Value,
    config: fn(&mut Config),
    /// Of the request and of the PersistentVolume.
    holds: fn(&CreateVolumeRequest, &Value) -> bool,
}

impl Served {
    fn plain(name: &'static str, holds: fn(&CreateVolumeRequest, &Value) -> bool) -> Self {
        Self { name, class: json!({}), claim: json!({}), config: |_| {}, holds }
    }

    fn class(self, parameters: Value) -> Self {
        Self { class: json!({"parameters": parameters}), ..self }
    }

    fn claim(self, spec: Value) -> Self {
        Self { claim: json!({"spec": spec}), ..self }
    }

    fn config(self, config: fn(&mut Config)) -> Self {
        Self { config, ..self }
    }
}

/// What every row has beside its own objects.
fn objects(class_change: Value, claim_change: Value) -> Vec<Value> {
    vec![
        with(class(), class_change),
        with(waiting("data"), claim_change),
        secret("default", "key", json!({"token": "dA=="})),
        secret("default", "data", json!({"token": "dQ=="})),
        attributes_class("gold", DRIVER),
        attributes_class("foreign", "other.example"),
    ]
}

fn request(world: &World) -> CreateVolumeRequest {
    world.driver.calls_of("CreateVolume")[0].request::<CreateVolumeRequest>().unwrap().clone()
}

fn modes(request: &CreateVolumeRequest) -> Vec<Mode> {
    let mode = |one: &csi::v1::VolumeCapability| Mode::try_from(one.access_mode.unwrap().mode).unwrap();
    request.volume_capabilities.iter().map(mode).collect()
}

fn mount(request: &CreateVolumeRequest) -> Option<(String, Vec<String>)> {
    match request.volume_capabilities[0].access_type.clone()? {
        AccessType::Mount(mount) => Some((mount.fs_type, mount.mount_flags)),
        AccessType::Block(_) => None,
    }
}

fn fs_is(request: &CreateVolumeRequest, volume: &Value, fs: &str) -> bool {
    let stored = volume["spec"]["csi"]["fsType"].as_str().unwrap_or_default();
    mount(request).is_some_and(|(asked, _)| asked == fs) && stored == fs
}

/// Secrets of all stages are this one.
fn all_secrets_are(volume: &Value, name: &str) -> bool {
    let reference = json!({"name": name, "namespace": "default"});
    let stages = ["controllerPublish", "nodeStage", "nodePublish", "controllerExpand", "nodeExpand"];
    let annotations = &volume["metadata"]["annotations"];
    let noted = |which: &str| {
        annotations[format!("volume.kubernetes.io/{which}-secret-name")] == name
            && annotations[format!("volume.kubernetes.io/{which}-secret-namespace")] == "default"
    };
    stages.iter().all(|stage| volume["spec"]["csi"][format!("{stage}SecretRef")] == reference)
        && noted("provisioner-deletion")
        && noted("controller-modify")
}

fn tells_writers(config: &mut Config) {
    config.can.single_node_multi_writer = true;
}

fn modifies(config: &mut Config) {
    config.can.modify = true;
}

fn modes_rows() -> Vec<Served> {
    let row = |name, modes: &[&str], config, holds| {
        Served::plain(name, holds).claim(json!({"accessModes": modes})).config(config)
    };
    let plain: fn(&mut Config) = |_| {};
    vec![
        row("provision with access mode multi node multi writer", &["ReadWriteMany"], plain, |request, _| {
            modes(request) == [Mode::MultiNodeMultiWriter]
        }),
        row(
            "provision with access mode multi node multi readonly with sidecar arg false",
            &["ReadOnlyMany"],
            plain,
            |request, volume| {
                modes(request) == [Mode::MultiNodeReaderOnly]
                    && volume["spec"]["csi"].get("readOnly").is_none()
            },
        ),
        row(
            "provision with access mode multi node multi readonly with sidecar arg true",
            &["ReadOnlyMany"],
            |config| config.publish_read_only = true,
            |request, volume| {
                modes(request) == [Mode::MultiNodeReaderOnly] && volume["spec"]["csi"]["readOnly"] == true
            },
        ),
        row("provision with access mode single node writer", &["ReadWriteOnce"], plain, |request, _| {
            modes(request) == [Mode::SingleNodeWriter]
        }),
        row(
            "provision with access mode single node writer and single node multi writer capability",
            &["ReadWriteOnce"],
            tells_writers,
            |request, _| modes(request) == [Mode::SingleNodeMultiWriter],
        ),
        row(
            "provision with access mode single node single writer and single node multi writer capability",
            &["ReadWriteOncePod"],
            tells_writers,
            |request, _| modes(request) == [Mode::SingleNodeSingleWriter],
        ),
        row(
            "provision with multiple access modes",
            &["ReadWriteOnce", "ReadOnlyMany"],
            plain,
            |request, _| modes(request) == [Mode::SingleNodeWriter, Mode::MultiNodeReaderOnly],
        ),
    ]
}

fn file_system_rows() -> Vec<Served> {
    let no_default: fn(&mut Config) = |config| config.default_fs = "".into();
    vec![
        Served::plain("fstype not set/'nil' in SC to provision", |request, volume| {
            fs_is(request, volume, "ext4")
        }),
        Served::plain("Other fstype(ex:'xfs') set in SC", |request, volume| fs_is(request, volume, "xfs"))
            .class(json!({"fstype": "xfs"})),
        Served::plain("fstype not set/Nil and defaultFSType arg unset for provisioner", |request, volume| {
            fs_is(request, volume, "")
        })
        .config(no_default),
        Served::plain("fstype set in SC and defaultFSType arg unset for provisioner", |request, volume| {
            fs_is(request, volume, "xfs")
        })
        .class(json!({"fstype": "xfs"}))
        .config(no_default),
        Served::plain("provision with prefixed FS Type key", |request, volume| {
            fs_is(request, volume, "xfs") && request.parameters.is_empty()
        })
        .class(json!({"csi.storage.k8s.io/fstype": "xfs"})),
        Served::plain("provision with volume mode(Filesystem)", |request, volume| {
            volume["spec"]["volumeMode"] == "Filesystem" && fs_is(request, volume, "ext4")
        })
        .claim(json!({"volumeMode": "Filesystem"})),
        Served::plain("provision with volume mode(Block)", |request, volume| {
            mount(request).is_none()
                && volume["spec"]["volumeMode"] == "Block"
                && volume["spec"]["csi"].get("fsType").is_none()
        })
        .claim(json!({"volumeMode": "Block"})),
        Served {
            class: json!({"mountOptions": ["foo=bar", "baz=qux"]}),
            ..Served::plain("provision with mount options", |request, volume| {
                mount(request).is_some_and(|(_, flags)| flags == ["foo=bar", "baz=qux"])
                    && volume["spec"]["mountOptions"] == json!(["foo=bar", "baz=qux"])
            })
        },
    ]
}

fn secret_rows() -> Vec<Served> {
    let stages = [
        "provisioner",
        "controller-publish",
        "node-stage",
        "node-publish",
        "controller-expand",
        "node-expand",
        "controller-modify",
    ];
    let mut each = json!({});
    for stage in stages {
        each[format!("csi.storage.k8s.io/{stage}-secret-name")] = json!("key");
        each[format!("csi.storage.k8s.io/{stage}-secret-namespace")] = json!("default");
    }
    let default = |name: &str| json!({"csi.storage.k8s.io/secret-name": name, "csi.storage.k8s.io/secret-namespace": "default"});
    vec![
        Served::plain("provision with secrets", |request, volume| {
            request.secrets["token"] == "t" && all_secrets_are(volume, "key") && request.parameters.is_empty()
        })
        .class(each),
        Served::plain("provision with default secrets", |request, volume| {
            request.secrets["token"] == "t" && all_secrets_are(volume, "key")
        })
        .class(default("key")),
        Served::plain("provision with default secrets with template", |request, volume| {
            request.secrets["token"] == "u" && all_secrets_are(volume, "data")
        })
        .class(default("${pvc.name}")),
    ]
}

fn other_rows() -> Vec<Served> {
    vec![
        Served::plain("normal provision", |request, volume| {
            let uid = volume["spec"]["claimRef"]["uid"].as_str().unwrap_or_default();
            let annotations = json!({
                "pv.kubernetes.io/provisioned-by": DRIVER,
                "volume.kubernetes.io/provisioner-deletion-secret-name": "",
                "volume.kubernetes.io/provisioner-deletion-secret-namespace": "",
            });
            let attributes = json!({"storage.kubernetes.io/csiProvisionerIdentity": "test-provisioner"});
            request.name == format!("pvc-{uid}")
                && request.parameters.is_empty()
                && request.secrets.is_empty()
                && volume["metadata"]["annotations"] == annotations
                && volume["spec"]["csi"]["volumeAttributes"] == attributes
                && volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
        }),
        Served::plain("normal provision with extra metadata", |request, volume| {
            let expected = json!({
                "csi.storage.k8s.io/pvc/name": "data", "csi.storage.k8s.io/pvc/namespace": "default",
                "csi.storage.k8s.io/pv/name": volume["metadata"]["name"],
            });
            json!(request.parameters) == expected
        })
        .config(|config| config.extra_metadata = true),
        Served::plain("normal provision with VolumeAttributesClass", |request, volume| {
            request.mutable_parameters["tier"] == "gold"
                && volume["spec"]["volumeAttributesClassName"] == "gold"
        })
        .claim(json!({"volumeAttributesClassName": "gold"}))
        .config(modifies),
        Served::plain(
            "normal provision with VolumeAttributesClass but feature gate is disabled",
            |request, volume| {
                request.mutable_parameters.is_empty()
                    && volume["spec"].get("volumeAttributesClassName").is_none()
            },
        )
        .claim(json!({"volumeAttributesClassName": "gold"}))
        .config(|config| config.attributes_classes = None),
    ]
}

#[tokio::test(start_paused = true)]
async fn claims_that_upstream_serves_are_served_alike() {
    let rows = [other_rows(), modes_rows(), file_system_rows(), secret_rows()];
    for Served { name, class, claim, config, holds } in rows.into_iter().flatten() {
        let case = PROVISIONER.case(name, objects(class, claim)).config(config);
        let world = case.ends_with(CREATED, STORED).await;
        let (request, volume) = (request(&world), world.api.list("persistentvolumes")[0].clone());
        assert!(holds(&request, &volume), "{name}: {request:?} {volume}");
        let said = events(&world);
        assert!(said.len() == 2 && said[1].starts_with("ProvisioningSucceeded: "), "{name}: {said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn claims_that_upstream_refuses_unasked_are_refused_alike() {
    let plain: fn(&mut Config) = |_| {};
    let parameters = |parameters: Value| json!({"parameters": parameters});
    let attributes = |name: &str| json!({"spec": {"volumeAttributesClassName": name}});
    let (name, namespace) =
        ("csi.storage.k8s.io/provisioner-secret-name", "csi.storage.k8s.io/provisioner-secret-namespace");
    let selector = json!({"spec": {"selector": {}}});
    for (row, class, claim, config, text) in [
        (
            "multiple fsType provision",
            parameters(json!({"fsType": "ext4", "csi.storage.k8s.io/fstype": "xfs"})),
            json!({}),
            plain,
            "fstype",
        ),
        ("fail to get secret reference", parameters(json!({name: "key"})), json!({}), plain, namespace),
        ("fail not nil selector", json!({}), selector, plain, "Selector is not supported"),
        (
            "fail to get credentials",
            parameters(json!({name: "gone", namespace: "default"})),
            json!({}),
            plain,
            "error getting secret gone in namespace default: ",
        ),
        (
            "fail to get secret reference for invalid default secret parameter template",
            parameters(
                json!({"csi.storage.k8s.io/secret-name": "${no.such}", "csi.storage.k8s.io/secret-namespace": "default"}),
            ),
            json!({}),
            plain,
            "no.such",
        ),
        (
            "fail normal provision with VolumeAttributesClass but driver does not support MODIFY_VOLUME",
            json!({}),
            attributes("gold"),
            plain,
            "MODIFY_VOLUME",
        ),
        (
            "fail normal provision with VolumeAttributesClass but VAC does not exist",
            json!({}),
            attributes("nowhere"),
            modifies,
            "\"nowhere\" not found",
        ),
        (
            "fail normal provision with VolumeAttributesClass but driver name does not match",
            json!({}),
            attributes("foreign"),
            modifies,
            "other.example",
        ),
    ] {
        let world = PROVISIONER.case(row, objects(class, claim)).config(config).ends_with(&[], &[]).await;
        let said = events(&world);
        let told = |event: &String| event.starts_with("ProvisioningFailed: ") && event.contains(text);
        assert!(said.iter().any(told), "{row}: {said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn answers_of_the_driver_lead_to_what_upstream_does() {
    let sized = |change: fn(&mut i64)| {
        Reply::edit(move |reply: &mut CreateVolumeResponse| {
            if let Some(volume) = &mut reply.volume {
                change(&mut volume.capacity_bytes);
            }
        })
    };
    let deleted: &[&str] = &["CreateVolume Some(Ok)", "DeleteVolume Some(Ok)", "CreateVolume Some(Ok)"];
    for (row, reply, calls, text) in [
        (
            "fail vol with less capacity",
            sized(|bytes| *bytes -= 1),
            deleted,
            "1073741823 less than requested capacity 1073741824",
        ),
        ("provision with size 0", sized(|bytes| *bytes = 0), CREATED, ""),
        (
            "provision with final error",
            Reply::error(Code::Unauthenticated, "no"),
            &["CreateVolume Some(Unauthenticated)", "CreateVolume Some(Ok)"],
            "rpc error: code = Unauthenticated desc = no",
        ),
        (
            "provision with transient error",
            Reply::error(Code::DeadlineExceeded, "slow"),
            &["CreateVolume Some(DeadlineExceeded)", "CreateVolume Some(Ok)"],
            "rpc error: code = DeadlineExceeded desc = slow",
        ),
    ] {
        let case = PROVISIONER.case(row, objects(json!({}), json!({}))).driver("CreateVolume", [reply]);
        let world = case.ends_with(calls, STORED).await;
        let said = events(&world);
        let failed = said.iter().filter(|event| event.starts_with("ProvisioningFailed: "));
        let failed: Vec<&String> = failed.collect();
        assert_eq!(failed.len(), usize::from(!text.is_empty()), "{row}: {said:?}");
        assert!(failed.iter().all(|event| event.contains(text)), "{row}: {said:?}");
        let size = world.api.list("persistentvolumes")[0]["spec"]["capacity"]["storage"].clone();
        assert_eq!(size, "1Gi", "{row}");
    }
}
