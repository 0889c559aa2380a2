//! What logs may show.

use std::collections::BTreeMap;

use prost::Message;

use crate::{redacted, redacted_by_key, v1};

fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn mounted(mode: i32) -> v1::VolumeCapability {
    v1::VolumeCapability {
        access_type: Some(v1::volume_capability::AccessType::Mount(v1::volume_capability::MountVolume {
            fs_type: "ext4".to_owned(),
            mount_flags: vec!["a".to_owned(), "b".to_owned()],
            ..Default::default()
        })),
        access_mode: Some(v1::volume_capability::AccessMode { mode }),
    }
}

#[test]
fn a_full_request_shows_everything_but_its_secrets() {
    let request = v1::CreateVolumeRequest {
        name: "foo \"bar\"\n\u{1}".to_owned(),
        capacity_range: Some(v1::CapacityRange { required_bytes: 1 << 40, limit_bytes: -1 }),
        volume_capabilities: vec![mounted(5), v1::VolumeCapability::default()],
        parameters: map([("b", "2"), ("a", "1")]),
        secrets: map([("password", "knock knock")]),
        volume_content_source: Some(v1::VolumeContentSource {
            r#type: Some(v1::volume_content_source::Type::Volume(v1::volume_content_source::VolumeSource {
                volume_id: "abc".to_owned(),
            })),
        }),
        accessibility_requirements: Some(v1::TopologyRequirement {
            requisite: vec![v1::Topology { segments: map([("zone", "z1")]) }],
            preferred: vec![],
        }),
        mutable_parameters: BTreeMap::new(),
    };
    let expected = concat!(
        r#"{"accessibility_requirements":{"requisite":[{"segments":{"zone":"z1"}}]},"#,
        r#""capacity_range":{"limit_bytes":-1,"required_bytes":1099511627776},"#,
        r#""name":"foo \"bar\"\n\u0001","parameters":{"a":"1","b":"2"},"#,
        r#""secrets":"***stripped***","#,
        r#""volume_capabilities":[{"access_mode":{"mode":"MULTI_NODE_MULTI_WRITER"},"#,
        r#""mount":{"fs_type":"ext4","mount_flags":["a","b"]}},{}],"#,
        r#""volume_content_source":{"volume":{"volume_id":"abc"}}}"#,
    );
    assert_eq!(redacted(&request), expected);
    assert_eq!(format!("{request:?}"), expected, "Debug is as careful as the log");
}

#[test]
fn empty_messages_and_empty_secrets_show_nothing() {
    assert_eq!(redacted(&v1::ProbeRequest {}), "{}");
    assert_eq!(redacted(&v1::CreateVolumeRequest::default()), "{}");
    assert_eq!(redacted_by_key(&v1::CreateVolumeRequest::default()), "{}");
    let block = v1::VolumeCapability {
        access_type: Some(v1::volume_capability::AccessType::Block(v1::volume_capability::BlockVolume {})),
        access_mode: None,
    };
    assert_eq!(redacted(&block), r#"{"block":{}}"#);
}

#[test]
fn enum_values_this_version_does_not_know_are_numbers() {
    assert_eq!(
        redacted(&mounted(42)),
        r#"{"access_mode":{"mode":42},"mount":{"fs_type":"ext4","mount_flags":["a","b"]}}"#
    );
}

#[test]
fn fields_this_version_does_not_know_are_never_printed() {
    // Field 99, length-delimited, "hidden".
    let mut bytes =
        v1::DeleteVolumeRequest { volume_id: "v".to_owned(), ..Default::default() }.encode_to_vec();
    bytes.extend([0x9a, 0x06, 6]);
    bytes.extend(b"hidden");
    let request = v1::DeleteVolumeRequest::decode(bytes.as_slice()).unwrap();
    assert_eq!(redacted(&request), r#"{"volume_id":"v"}"#);
}

#[test]
fn wrapped_values_and_times_are_messages() {
    let ready = |ready| redacted(&v1::ProbeResponse { ready });
    assert_eq!(ready(None), "{}");
    assert_eq!(ready(Some(true)), r#"{"ready":{"value":true}}"#);
    assert_eq!(ready(Some(false)), r#"{"ready":{}}"#);
    let snapshot = v1::Snapshot {
        creation_time: Some(prost_types::Timestamp { seconds: 7, nanos: 0 }),
        ready_to_use: true,
        ..Default::default()
    };
    assert_eq!(redacted(&snapshot), r#"{"creation_time":{"seconds":7},"ready_to_use":true}"#);
    let capacity = v1::GetCapacityResponse { maximum_volume_size: Some(5), ..Default::default() };
    assert_eq!(redacted(&capacity), r#"{"maximum_volume_size":{"value":5}}"#);
}

#[test]
fn every_message_with_credentials_strips_them() {
    let secrets = || map([("key-name", "credential")]);
    macro_rules! stripped {
        ($($kind:ident),* $(,)?) => {{
            let mut count = 0;
            $(
                #[allow(clippy::needless_update, reason = "one of them has no other field")]
                let message = v1::$kind { secrets: secrets(), ..Default::default() };
                assert_eq!(redacted(&message), r#"{"secrets":"***stripped***"}"#);
                assert_eq!(redacted_by_key(&message), r#"{"secrets":{"key-name":"***stripped***"}}"#);
                assert_eq!(format!("{message:?}"), r#"{"secrets":"***stripped***"}"#);
                count += 1;
            )*
            count
        }};
    }
    let count = stripped!(
        CreateVolumeRequest,
        DeleteVolumeRequest,
        ControllerPublishVolumeRequest,
        ControllerUnpublishVolumeRequest,
        ValidateVolumeCapabilitiesRequest,
        ControllerListVolumeHealthRequest,
        ControllerGetVolumeHealthRequest,
        ControllerModifyVolumeRequest,
        CreateSnapshotRequest,
        DeleteSnapshotRequest,
        ListSnapshotsRequest,
        GetSnapshotRequest,
        ControllerExpandVolumeRequest,
        NodeStageVolumeRequest,
        NodePublishVolumeRequest,
        NodeGetStorageHealthRequest,
        NodeExpandVolumeRequest,
        CreateVolumeGroupSnapshotRequest,
        DeleteVolumeGroupSnapshotRequest,
        GetVolumeGroupSnapshotRequest,
        GetMetadataAllocatedRequest,
        GetMetadataDeltaRequest,
    );
    assert_eq!(count, 22, "docs/upstream/csi.md, \"Secrets\"");
}

#[test]
fn contexts_and_mount_flags_show_only_what_is_harmless() {
    let tokens = "csi.storage.k8s.io/serviceAccount.tokens";
    let context = [
        (tokens, "eyJ"),
        ("csi.storage.k8s.io/pod.name", "web-0"),
        ("password", "hunter2"),
        ("storage.kubernetes.io/csiProvisionerIdentity", "1-2-d"),
    ];
    let context = context.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mount = v1::volume_capability::MountVolume {
        mount_flags: ["ro", "vers=3.0", "password=hunter2"].map(str::to_owned).to_vec(),
        ..Default::default()
    };
    let capability = v1::VolumeCapability {
        access_type: Some(v1::volume_capability::AccessType::Mount(mount)),
        ..Default::default()
    };
    let request = v1::NodePublishVolumeRequest {
        volume_context: context.into(),
        volume_capability: Some(capability),
        ..Default::default()
    };
    let logged = redacted(&request);
    assert!(!logged.contains("hunter2") && !logged.contains("eyJ"), "{logged}");
    for kept in
        ["web-0", "1-2-d", r#""ro","vers=3.0","password=***stripped***""#, r#""password":"***stripped***""#]
    {
        assert!(logged.contains(kept), "{logged}");
    }
    let shown = crate::shown(&request);
    assert!(shown.contains("hunter2") && !shown.contains("eyJ"), "tokens never: {shown}");
}

#[test]
fn mount_flags_in_one_element_are_judged_one_by_one() {
    let stripped = crate::redact::STRIPPED;
    for (element, expected) in [
        ("vers=3.0,username=u,password=hunter2", format!("vers=3.0,username={stripped},password={stripped}")),
        ("ro,noexec,uid=5", "ro,noexec,uid=5".to_owned()),
        ("password=hun,ter2,ro", format!("password={stripped},{stripped},ro")),
        ("context=system_u:object_r:t:s0", "context=system_u:object_r:t:s0".to_owned()),
        ("context=\\\"s0:c1,c2\\\",ro", format!("context={stripped},{stripped},ro")),
        ("context=x,password=hunter2", format!("context={stripped},password={stripped}")),
    ] {
        let mount = v1::volume_capability::MountVolume {
            mount_flags: vec![element.replace("\\\"", "\"")],
            ..Default::default()
        };
        assert_eq!(redacted(&mount), format!(r#"{{"mount_flags":["{expected}"]}}"#));
    }
}
