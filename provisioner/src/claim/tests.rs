//! Upstream's TestFSTypeProvision and TestProvision, as far as request and object show the outcome
//! (docs/upstream/provisioner.md, "Test cases").

use std::collections::BTreeMap;

use csi::v1;
use csi::v1::volume_capability::AccessType;
use csi::v1::volume_capability::access_mode::Mode;
use kubernetes::object::{Claim, Class};
use serde_json::{Value, json};

use super::error::ProvisionError;
use super::object::new_volume;
use super::outcome::State;
use super::request::{Found, Prepared, prepare};
use crate::config::{Capabilities, Config};
use crate::fixture::{claim, claim_from, class, class_from, config};
use crate::topology::Known;

fn prepared(config: &Config, claim: &Claim, class: &Class) -> Prepared {
    prepare(config, claim, class, "test-testi".into(), &Known::default(), &Found::default()).unwrap()
}

fn refused(config: &Config, claim: &Claim, class: &Class) -> ProvisionError {
    prepare(config, claim, class, "test-testi".into(), &Known::default(), &Found::default()).unwrap_err()
}

fn mode(prepared: &Prepared, index: usize) -> Mode {
    let capability = &prepared.request.volume_capabilities[index];
    Mode::try_from(capability.access_mode.unwrap().mode).unwrap()
}

fn fs(prepared: &Prepared) -> &str {
    match prepared.request.volume_capabilities[0].access_type.as_ref().unwrap() {
        AccessType::Mount(mount) => &mount.fs_type,
        AccessType::Block(_) => panic!("a block volume has no file system"),
    }
}

fn made(bytes: i64) -> v1::Volume {
    v1::Volume { volume_id: "test-volume-id".into(), capacity_bytes: bytes, ..Default::default() }
}

fn object(config: &Config, claim: &Claim, class: &Class) -> Value {
    let prepared = prepared(config, claim, class);
    serde_json::to_value(new_volume(config, claim, class, &prepared, &made(100), 100)).unwrap()
}

#[test]
fn normal_provision() {
    let request = prepared(&config(), &claim(), &class()).request;
    assert_eq!(request.name, "test-testi");
    assert_eq!(request.capacity_range, Some(v1::CapacityRange { required_bytes: 100, limit_bytes: 0 }));
    assert_eq!(request.volume_capabilities.len(), 1);
    assert!(
        request.parameters.is_empty() && request.secrets.is_empty() && request.mutable_parameters.is_empty()
    );
    assert_eq!((request.volume_content_source, request.accessibility_requirements), (None, None));
    assert_eq!(prepared(&config(), &claim(), &class()).placement, None);
}

#[test]
fn object_of_a_normal_provision_has_exactly_these_fields() {
    assert_eq!(
        object(&config(), &claim(), &class()),
        json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {
                "name": "test-testi",
                "annotations": {
                    "pv.kubernetes.io/provisioned-by": "test-driver",
                    "volume.kubernetes.io/provisioner-deletion-secret-name": "",
                    "volume.kubernetes.io/provisioner-deletion-secret-namespace": "",
                },
                "finalizers": ["external-provisioner.volume.kubernetes.io/finalizer"],
            },
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "capacity": {"storage": "100"},
                "claimRef": {
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "fake-ns",
                    "name": "fake-pvc", "uid": "testid", "resourceVersion": "12",
                },
                "csi": {
                    "driver": "test-driver",
                    "volumeHandle": "test-volume-id",
                    "fsType": "ext4",
                    "volumeAttributes": {"storage.kubernetes.io/csiProvisionerIdentity": "test-provisioner"},
                },
                "persistentVolumeReclaimPolicy": "Delete",
                "storageClassName": "fake-sc",
            },
        })
    );
}

#[test]
fn extra_metadata_is_added_after_stripping() {
    let config = Config { extra_metadata: true, ..config() };
    let class = class_from(json!({"parameters": {"type": "ssd", "csi.storage.k8s.io/fstype": "xfs"}}));
    let expected: BTreeMap<String, String> = [
        ("csi.storage.k8s.io/pvc/name", "fake-pvc"),
        ("csi.storage.k8s.io/pvc/namespace", "fake-ns"),
        ("csi.storage.k8s.io/pv/name", "test-testi"),
        ("type", "ssd"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    assert_eq!(prepared(&config, &claim(), &class).request.parameters, expected);
}

#[test]
fn file_system_comes_from_the_class_else_from_the_flag() {
    let named = class_from(json!({"parameters": {"fstype": "xfs"}}));
    let prefixed = class_from(json!({"parameters": {"csi.storage.k8s.io/fstype": "xfs"}}));
    let no_default = Config { default_fs: "".into(), ..config() };
    for (config, class, expected) in [
        (&config(), &class(), "ext4"),
        (&config(), &named, "xfs"),
        (&config(), &prefixed, "xfs"),
        (&no_default, &class(), ""),
        (&no_default, &named, "xfs"),
    ] {
        let prepared = prepared(config, &claim(), class);
        assert_eq!((fs(&prepared), &*prepared.fs_type), (expected, expected));
    }
    let parameters = prepared(&config(), &claim(), &prefixed).request.parameters;
    assert!(parameters.is_empty(), "the reserved key is not the driver's: {parameters:?}");
}

#[test]
fn two_file_systems_are_a_final_error() {
    let class = class_from(json!({"parameters": {"fsType": "ext4", "csi.storage.k8s.io/fstype": "xfs"}}));
    assert_eq!(refused(&config(), &claim(), &class).state(false, false), State::Finished);
}

#[test]
fn each_access_mode_becomes_one_capability() {
    let tells_writers = Capabilities { single_node_multi_writer: true, ..config().can };
    let (plain, telling) = (config(), Config { can: tells_writers, ..config() });
    for (config, modes, expected) in [
        (&plain, &["ReadWriteOnce"][..], &[Mode::SingleNodeWriter][..]),
        (&telling, &["ReadWriteOnce"], &[Mode::SingleNodeMultiWriter]),
        (&plain, &["ReadWriteOncePod"], &[Mode::SingleNodeWriter]),
        (&telling, &["ReadWriteOncePod"], &[Mode::SingleNodeSingleWriter]),
        (&plain, &["ReadWriteMany"], &[Mode::MultiNodeMultiWriter]),
        (&plain, &["ReadOnlyMany"], &[Mode::MultiNodeReaderOnly]),
        (&plain, &["ReadWriteOnce", "ReadOnlyMany"], &[Mode::SingleNodeWriter, Mode::MultiNodeReaderOnly]),
    ] {
        let prepared = prepared(config, &claim_from(json!({}), json!({"accessModes": modes})), &class());
        let got: Vec<_> =
            (0..prepared.request.volume_capabilities.len()).map(|i| mode(&prepared, i)).collect();
        assert_eq!(got, expected, "{modes:?}");
    }
}

#[test]
fn unknown_access_mode_is_a_final_error() {
    let claim = claim_from(json!({}), json!({"accessModes": ["ReadSometimes"]}));
    assert_eq!(refused(&config(), &claim, &class()).state(false, false), State::Finished);
}

#[test]
fn read_only_flag_marks_only_volumes_that_are_only_read() {
    let flagged = Config { publish_read_only: true, ..config() };
    let many = claim_from(json!({}), json!({"accessModes": ["ReadOnlyMany"]}));
    let mixed = claim_from(json!({}), json!({"accessModes": ["ReadOnlyMany", "ReadWriteOnce"]}));
    for (config, claim, expected) in
        [(&config(), &many, Value::Null), (&flagged, &many, json!(true)), (&flagged, &mixed, Value::Null)]
    {
        assert_eq!(object(config, claim, &class())["spec"]["csi"]["readOnly"], expected);
    }
}

#[test]
fn block_volume_keeps_only_the_mount_options() {
    let claim = claim_from(json!({}), json!({"volumeMode": "Block"}));
    let class = class_from(json!({"mountOptions": ["discard"]}));
    let prepared = prepared(&config(), &claim, &class);
    let access_type = prepared.request.volume_capabilities[0].access_type.clone().unwrap();
    assert_eq!(access_type, AccessType::Block(v1::volume_capability::BlockVolume {}));
    let object = object(&config(), &claim, &class);
    assert_eq!(object["spec"]["volumeMode"], "Block");
    assert_eq!(object["spec"]["csi"]["fsType"], Value::Null);
    assert_eq!(object["spec"]["mountOptions"], json!(["discard"]));
}

#[test]
fn mount_options_go_to_the_capability_and_the_object() {
    let class = class_from(json!({"mountOptions": ["foo=bar", "baz=qux"]}));
    let prepared = prepared(&config(), &claim(), &class);
    let Some(AccessType::Mount(mount)) = &prepared.request.volume_capabilities[0].access_type else {
        panic!()
    };
    assert_eq!(mount.mount_flags, ["foo=bar", "baz=qux"]);
    assert_eq!(object(&config(), &claim(), &class)["spec"]["mountOptions"], json!(["foo=bar", "baz=qux"]));
}

#[test]
fn each_stage_may_have_a_secret_of_its_own() {
    let stages = [
        "provisioner",
        "controller-publish",
        "node-stage",
        "node-publish",
        "controller-expand",
        "node-expand",
        "controller-modify",
    ];
    let parameters: BTreeMap<String, String> = stages
        .iter()
        .flat_map(|stage| {
            let key = |what| format!("csi.storage.k8s.io/{stage}-secret-{what}");
            [(key("name"), format!("{stage}-s")), (key("namespace"), format!("{stage}-ns"))]
        })
        .collect();
    let class = class_from(json!({"parameters": parameters}));
    let secret = |stage: &str| json!({"name": format!("{stage}-s"), "namespace": format!("{stage}-ns")});
    let object = object(&config(), &claim(), &class);
    for (field, stage) in [
        ("controllerPublishSecretRef", "controller-publish"),
        ("nodeStageSecretRef", "node-stage"),
        ("nodePublishSecretRef", "node-publish"),
        ("controllerExpandSecretRef", "controller-expand"),
        ("nodeExpandSecretRef", "node-expand"),
    ] {
        assert_eq!(object["spec"]["csi"][field], secret(stage), "{field}");
    }
    let annotations = &object["metadata"]["annotations"];
    for (which, stage) in
        [("provisioner-deletion", "provisioner"), ("controller-modify", "controller-modify")]
    {
        let noted = |what| annotations[format!("volume.kubernetes.io/{which}-secret-{what}")].clone();
        assert_eq!(json!({"name": noted("name"), "namespace": noted("namespace")}), secret(stage), "{which}");
    }
    let prepared = prepared(&config(), &claim(), &class);
    assert_eq!(prepared.secrets.provision.unwrap().to_string(), "provisioner-ns/provisioner-s");
    assert!(prepared.request.parameters.is_empty(), "{:?}", prepared.request.parameters);
}

#[test]
fn default_secret_serves_every_stage() {
    let class = class_from(json!({"parameters": {
        "csi.storage.k8s.io/secret-name": "${pvc.name}", "csi.storage.k8s.io/secret-namespace": "default-ns",
    }}));
    let object = object(&config(), &claim(), &class);
    let secret = json!({"name": "fake-pvc", "namespace": "default-ns"});
    for stage in ["controllerPublish", "nodeStage", "nodePublish", "controllerExpand", "nodeExpand"] {
        assert_eq!(object["spec"]["csi"][format!("{stage}SecretRef")], secret, "{stage}");
    }
    let annotations = &object["metadata"]["annotations"];
    for which in ["provisioner-deletion", "controller-modify"] {
        assert_eq!(annotations[format!("volume.kubernetes.io/{which}-secret-name")], "fake-pvc");
        assert_eq!(annotations[format!("volume.kubernetes.io/{which}-secret-namespace")], "default-ns");
    }
}

#[test]
fn driver_s_context_is_kept_and_may_overwrite_the_identity() {
    let mut made = made(100);
    made.volume_context = [("a", "1"), ("storage.kubernetes.io/csiProvisionerIdentity", "mine")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let (config, claim, class) = (config(), claim(), class());
    let volume = new_volume(&config, &claim, &class, &prepared(&config, &claim, &class), &made, 100);
    let attributes = serde_json::to_value(volume).unwrap()["spec"]["csi"]["volumeAttributes"].clone();
    assert_eq!(attributes, json!({"a": "1", "storage.kubernetes.io/csiProvisionerIdentity": "mine"}));
}

#[test]
fn what_cannot_be_served_is_refused_by_name_and_with_its_state() {
    let source =
        json!({"dataSource": {"kind": "VolumeSnapshot", "name": "s", "apiGroup": "snapshot.storage.k8s.io"}});
    let bare = Config { can: Capabilities::default(), ..config() };
    let unable = Config { can: Capabilities { controller: true, ..Capabilities::default() }, ..config() };
    let placed = Config { can: Capabilities { topology: true, ..config().can }, ..config() };
    let with = |spec| claim_from(json!({}), spec);
    let secret = |key: &str| class_from(json!({"parameters": {key: "x"}}));
    let bad_default = class_from(json!({"parameters": {
        "csi.storage.k8s.io/secret-name": "${no.such.token}", "csi.storage.k8s.io/secret-namespace": "ns",
    }}));
    let cases = [
        (&bare, claim(), class(), "controller service", State::Finished),
        (&unable, claim(), class(), "CREATE_DELETE_VOLUME", State::Finished),
        (&config(), with(json!({"selector": {}})), class(), "Selector", State::Finished),
        (&config(), with(source), class(), "CREATE_DELETE_SNAPSHOT", State::Finished),
        (
            &config(),
            with(json!({"volumeAttributesClassName": "gold"})),
            class(),
            "MODIFY_VOLUME",
            State::Finished,
        ),
        (&placed, claim(), class(), "no available topology found", State::NoChange),
        (&config(), claim(), secret("csi.storage.k8s.io/no-such-key"), "no-such-key", State::Finished),
        (&config(), claim(), secret("csi.storage.k8s.io/provisioner-secret-name"), "secret", State::NoChange),
        (&config(), claim(), bad_default, "no.such.token", State::NoChange),
        (
            &config(),
            with(json!({"resources": {"requests": {"storage": "much"}}})),
            class(),
            "much",
            State::Finished,
        ),
    ];
    for (config, claim, class, text, state) in cases {
        let error = refused(config, &claim, &class);
        assert!(error.to_string().contains(text), "{text}: {error}");
        assert_eq!(error.state(true, true), state, "{text}");
    }
}

#[test]
fn attributes_class_is_named_unless_its_gate_is_off() {
    let on = Config { can: Capabilities { modify: true, ..config().can }, ..config() };
    let off = Config { attributes_classes: None, ..config() };
    let claim = claim_from(json!({}), json!({"volumeAttributesClassName": "gold"}));
    for (config, expected, field) in [(&on, "gold", json!("gold")), (&off, "", Value::Null)] {
        assert_eq!(&*prepared(config, &claim, &class()).attributes_class, expected);
        assert_eq!(object(config, &claim, &class())["spec"]["volumeAttributesClassName"], field);
    }
}

#[test]
fn places_become_node_affinity_only_while_topology_is_on() {
    let mut made = made(100);
    let place = |pairs: &[(&str, &str)]| v1::Topology {
        segments: pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
    };
    made.accessible_topology =
        vec![place(&[("zone", "z1"), ("rack", "r1")]), place(&[]), place(&[("zone", "z2")])];
    let (off, claim, class) = (config(), claim(), class());
    let prepared = prepared(&off, &claim, &class);
    let on = Config { can: Capabilities { topology: true, ..off.can }, ..off.clone() };
    let affinity = |config| {
        let volume = new_volume(config, &claim, &class, &prepared, &made, 100);
        serde_json::to_value(volume).unwrap()["spec"]["nodeAffinity"].clone()
    };
    assert_eq!(affinity(&off), Value::Null);
    let is = |key, value| json!({"key": key, "operator": "In", "values": [value]});
    let expected = json!({"required": {"nodeSelectorTerms": [
        {"matchExpressions": [is("rack", "r1"), is("zone", "z1")]},
        {"matchExpressions": [is("zone", "z2")]},
    ]}});
    assert_eq!(affinity(&on), expected);
}
