//! Maps, capabilities, sizes, names that clash, and the rest of the table.

use std::collections::BTreeMap;

use conformance::request::{self, MIB};
use csi::v1;
use csi::v1::volume_capability::access_mode::Mode;
use tonic::Code;

use super::{DEADLINE, Fixture};

fn map(bytes: usize) -> BTreeMap<String, String> {
    // Each pair well below the limit of a string.
    (0..bytes / 100).map(|n| (format!("{n:050}"), "v".repeat(50))).collect()
}

fn secrets() -> [(BTreeMap<String, String>, &'static str); 3] {
    let one = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    [
        (map(5120), "5 KiB of secrets"),
        (one("a/b", "x"), "secret key with a slash"),
        (one("", "x"), "empty secret key"),
    ]
}

#[tokio::test]
async fn maps_have_limits_and_secrets_have_plain_keys() {
    let f = Fixture::new().await;
    let (large, fits) = (map(5120), map(4000));
    let bad = Code::InvalidArgument;
    let create = request::create("m", false, MIB);
    f.expect("5 KiB", v1::CreateVolumeRequest { parameters: large.clone(), ..create.clone() }, bad).await;
    f.expect("4 KB", v1::CreateVolumeRequest { parameters: fits, ..create.clone() }, Code::Ok).await;
    let empty_key = BTreeMap::from([(String::new(), "x".to_owned())]);
    f.expect("empty key", v1::CreateVolumeRequest { parameters: empty_key, ..create.clone() }, bad).await;
    let zero = BTreeMap::from([("k".to_owned(), "a\0b".to_owned())]);
    f.expect("NUL", v1::CreateVolumeRequest { parameters: zero, ..create.clone() }, bad).await;
    f.expect("5 KiB", v1::CreateVolumeRequest { mutable_parameters: large.clone(), ..create.clone() }, bad)
        .await;
    let snapshot = request::snapshot("m", &f.volume);
    f.expect("5 KiB", v1::CreateSnapshotRequest { parameters: large.clone(), ..snapshot.clone() }, bad).await;
    let publish = request::publish(&f.volume, "/target", false);
    f.expect("5 KiB", v1::NodePublishVolumeRequest { volume_context: large.clone(), ..publish.clone() }, bad)
        .await;
    f.expect(
        "5 KiB",
        v1::NodePublishVolumeRequest { publish_context: large.clone(), ..publish.clone() },
        bad,
    )
    .await;
    f.expect("5 KiB", v1::GetCapacityRequest { parameters: large, ..Default::default() }, bad).await;
    for (secrets, what) in secrets() {
        f.expect(what, v1::CreateVolumeRequest { secrets: secrets.clone(), ..create.clone() }, bad).await;
        f.expect(what, v1::DeleteVolumeRequest { secrets: secrets.clone(), ..request::delete("x") }, bad)
            .await;
        f.expect(what, v1::CreateSnapshotRequest { secrets: secrets.clone(), ..snapshot.clone() }, bad).await;
        f.expect(what, v1::NodePublishVolumeRequest { secrets: secrets.clone(), ..publish.clone() }, bad)
            .await;
        f.expect(what, v1::ListSnapshotsRequest { secrets, ..Default::default() }, bad).await;
    }
}

#[tokio::test]
async fn capabilities_are_complete_and_fit_the_volume() {
    let f = Fixture::new().await;
    let bad = Code::InvalidArgument;
    let with = |capabilities: Vec<v1::VolumeCapability>| v1::CreateVolumeRequest {
        volume_capabilities: capabilities,
        ..request::create("c", false, MIB)
    };
    let good = request::capability(false, Mode::SingleNodeWriter);
    let block = request::capability(true, Mode::SingleNodeWriter);
    let no_type = v1::VolumeCapability { access_type: None, ..good.clone() };
    let no_mode = v1::VolumeCapability { access_mode: None, ..good.clone() };
    let unknown = request::capability(false, Mode::Unknown);
    f.expect("none", with(vec![]), bad).await;
    f.expect("block and mount", with(vec![good.clone(), block.clone()]), bad).await;
    for (what, capability) in [("no type", no_type), ("no mode", no_mode), ("mode 0", unknown)] {
        f.expect(what, with(vec![capability.clone()]), bad).await;
        let publish = request::publish(&f.volume, "/target", false);
        let publish = v1::NodePublishVolumeRequest { volume_capability: Some(capability), ..publish };
        f.expect(what, publish, bad).await;
    }
    let mut long = good.clone();
    if let Some(v1::volume_capability::AccessType::Mount(mount)) = &mut long.access_type {
        mount.mount_flags = vec!["x".repeat(100); 52];
    }
    f.expect("5 KiB of mount flags", with(vec![long]), bad).await;
    for (volume, capability) in [(&f.volume, &block), (&f.device, &good)] {
        let attach = v1::ControllerPublishVolumeRequest {
            volume_id: volume.clone(),
            node_id: "node-1".to_owned(),
            volume_capability: Some(capability.clone()),
            ..Default::default()
        };
        f.expect("the other kind", attach, bad).await;
        let validate = v1::ValidateVolumeCapabilitiesRequest {
            volume_id: volume.clone(),
            volume_capabilities: vec![capability.clone()],
            ..Default::default()
        };
        let reply = f.driver.client().call(validate, DEADLINE).await.unwrap();
        assert!(reply.confirmed.is_none() && !reply.message.is_empty());
    }
    let nothing = v1::ValidateVolumeCapabilitiesRequest {
        volume_id: "unknown".to_owned(),
        volume_capabilities: vec![v1::VolumeCapability::default()],
        ..Default::default()
    };
    f.expect("fields come before the volume", nothing, Code::InvalidArgument).await;
}

#[tokio::test]
async fn sizes_must_be_possible() {
    let f = Fixture::new().await;
    let with = |name: &str, required_bytes, limit_bytes| v1::CreateVolumeRequest {
        capacity_range: Some(v1::CapacityRange { required_bytes, limit_bytes }),
        ..request::create(name, false, 0)
    };
    let invalid = Code::InvalidArgument;
    for (required, limit) in [(-1, 0), (0, -1), (0, 0), (2, 1), (i64::MIN, i64::MAX)] {
        f.expect("impossible range", with("s", required, limit), invalid).await;
        let expand = v1::ControllerExpandVolumeRequest {
            volume_id: f.volume.clone(),
            capacity_range: with("", required, limit).capacity_range,
            ..Default::default()
        };
        f.expect("impossible range", expand, invalid).await;
    }
    f.expect("too large", with("s", 2 << 30, 0), Code::OutOfRange).await;
    f.expect("far too large", with("s", i64::MAX, 0), Code::OutOfRange).await;
    let device = v1::CreateVolumeRequest {
        capacity_range: Some(v1::CapacityRange { required_bytes: 1000, limit_bytes: 1000 }),
        ..request::create("s", true, 0)
    };
    f.expect("no whole sectors", device, Code::OutOfRange).await;
    let smaller = v1::CreateVolumeRequest {
        volume_content_source: request::clone_of(&f.volume),
        ..request::create("s", false, MIB)
    };
    f.expect("smaller than its source", smaller, Code::OutOfRange).await;
    let other = v1::CreateVolumeRequest {
        volume_content_source: request::clone_of(&f.volume),
        ..request::create("s", true, 8 * MIB)
    };
    f.expect("of the other kind than its source", other, invalid).await;
    for range in [None, Some(request::at_least(2 << 30))] {
        let code = if range.is_none() { invalid } else { Code::OutOfRange };
        let expand = v1::ControllerExpandVolumeRequest {
            volume_id: f.volume.clone(),
            capacity_range: range,
            ..Default::default()
        };
        f.expect("no range, or too large", expand, code).await;
    }
}

#[tokio::test]
async fn a_name_that_is_taken_by_something_else_is_a_clash() {
    let f = Fixture::new().await;
    let clash = Code::AlreadyExists;
    let same = || request::create("volume", false, 4 * MIB);
    f.expect("the same again", same(), Code::Ok).await;
    f.expect("smaller is compatible", request::create("volume", false, MIB), Code::Ok).await;
    f.expect("larger", request::create("volume", false, 8 * MIB), clash).await;
    let limited = v1::CapacityRange { required_bytes: 0, limit_bytes: MIB };
    f.expect("above the limit", v1::CreateVolumeRequest { capacity_range: Some(limited), ..same() }, clash)
        .await;
    f.expect("other kind", request::create("volume", true, 4 * MIB), clash).await;
    let parameters = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    f.expect("other parameters", v1::CreateVolumeRequest { parameters, ..same() }, clash).await;
    let from = v1::CreateVolumeRequest { volume_content_source: request::restore_of(&f.snapshot), ..same() };
    f.expect("with a source", from, clash).await;
    let copy = |source: Option<v1::VolumeContentSource>| v1::CreateVolumeRequest {
        volume_content_source: source,
        ..request::create("copy", false, 4 * MIB)
    };
    let first = copy(request::clone_of(&f.volume));
    f.expect("a clone", first.clone(), Code::Ok).await;
    f.expect("the clone again", first, Code::Ok).await;
    f.expect("from another source", copy(request::restore_of(&f.snapshot)), clash).await;
    f.expect("from nothing", copy(None), clash).await;
    f.expect("snapshot again", request::snapshot("s", &f.volume), Code::Ok).await;
    f.expect("snapshot of another volume", request::snapshot("s", &f.device), clash).await;
    let group = |ids: Vec<String>| v1::CreateVolumeGroupSnapshotRequest {
        name: "group".to_owned(),
        source_volume_ids: ids,
        ..Default::default()
    };
    f.expect("group again", group(vec![f.volume.clone()]), Code::Ok).await;
    f.expect("group of others", group(vec![f.volume.clone(), f.device.clone()]), clash).await;
}

// A list is as long as what it lists.
#[allow(clippy::too_many_lines)]
#[tokio::test]
async fn the_rest_of_the_table() {
    let f = Fixture::new().await;
    let bad = Code::InvalidArgument;
    for token in ["x", "-1", "9999", "../..", "a\0b"] {
        let list = v1::ListVolumesRequest { starting_token: token.to_owned(), ..Default::default() };
        f.expect("bad token", list, Code::Aborted).await;
        let list = v1::ListSnapshotsRequest { starting_token: token.to_owned(), ..Default::default() };
        f.expect("bad token", list, Code::Aborted).await;
    }
    f.expect("negative count", v1::ListVolumesRequest { max_entries: -1, ..Default::default() }, bad).await;
    f.expect("negative count", v1::ListSnapshotsRequest { max_entries: -1, ..Default::default() }, bad).await;
    let attach = |node: &str| v1::ControllerPublishVolumeRequest {
        volume_id: f.volume.clone(),
        node_id: node.to_owned(),
        volume_capability: Some(request::capability(false, Mode::SingleNodeWriter)),
        ..Default::default()
    };
    f.expect("no node", attach(""), bad).await;
    f.expect("node of 257 bytes", attach(&"x".repeat(257)), bad).await;
    f.expect("other node", attach("node-2"), Code::NotFound).await;
    f.expect("node as path", attach("../../etc"), Code::NotFound).await;
    f.expect("this node", attach("node-1"), Code::Ok).await;
    let readonly = v1::ControllerPublishVolumeRequest { readonly: true, ..attach("node-1") };
    f.expect("attached otherwise", readonly, Code::AlreadyExists).await;
    f.expect("still attached", request::delete(&f.volume), Code::Internal).await;
    f.expect("not staged", request::publish(&f.volume, "/target", false), Code::FailedPrecondition).await;
    let modify = |key: &str| v1::ControllerModifyVolumeRequest {
        volume_id: f.volume.clone(),
        mutable_parameters: BTreeMap::from([(key.to_owned(), "1".to_owned())]),
        ..Default::default()
    };
    f.expect("unknown parameter", modify("colour"), bad).await;
    f.expect("known parameter", modify("iops"), Code::Ok).await;
    let pool = BTreeMap::from([("kind".to_owned(), "fast".to_owned())]);
    let create = v1::CreateVolumeRequest { parameters: pool, ..request::create("p", false, MIB) };
    f.expect("pool without pools", create, bad).await;
    let elsewhere = v1::Topology {
        segments: BTreeMap::from([("topology.hostpath.csi/node".to_owned(), "node-2".to_owned())]),
    };
    let requirement = v1::TopologyRequirement { requisite: vec![elsewhere], preferred: vec![] };
    let create = v1::CreateVolumeRequest {
        accessibility_requirements: Some(requirement.clone()),
        ..request::create("p", false, MIB)
    };
    f.expect("somewhere else", create, Code::ResourceExhausted).await;
    let snapshot = v1::CreateSnapshotRequest {
        accessibility_requirements: Some(requirement),
        ..request::snapshot("p", &f.volume)
    };
    f.expect("a snapshot somewhere else", snapshot, Code::ResourceExhausted).await;
    let parameters = BTreeMap::from([("ignoreFailedRead".to_owned(), "perhaps".to_owned())]);
    let snapshot = v1::CreateSnapshotRequest { parameters, ..request::snapshot("p", &f.volume) };
    f.expect("ignoreFailedRead", snapshot, bad).await;
    let get = |ids: Vec<String>| v1::GetVolumeGroupSnapshotRequest {
        group_snapshot_id: f.group.clone(),
        snapshot_ids: ids,
        ..Default::default()
    };
    let found = f.driver.client().call(v1::ListSnapshotsRequest::default(), DEADLINE).await.unwrap();
    let snapshots = found.entries.into_iter().filter_map(|entry| entry.snapshot);
    let member = snapshots
        .filter(|snapshot| snapshot.group_snapshot_id == f.group)
        .map(|snapshot| snapshot.snapshot_id);
    let members: Vec<String> = member.collect();
    f.expect("members", get(members.clone()), Code::Ok).await;
    f.expect("no members", get(vec![]), bad).await;
    f.expect("strangers", get(vec![f.snapshot.clone()]), bad).await;
    f.expect("a member alone", request::delete_snapshot(&members[0]), bad).await;
    f.expect("GetSnapshot empty", v1::GetSnapshotRequest::default(), Code::NotFound).await;
    let client = f.driver.client();
    for (id, offset, code) in [
        ("", 0, bad),
        ("../x", 0, Code::NotFound),
        (f.snapshot.as_str(), 0, bad),
        (f.device_snapshot.as_str(), -1, Code::OutOfRange),
        (f.device_snapshot.as_str(), 4 * MIB + 1, Code::OutOfRange),
    ] {
        let request = v1::GetMetadataAllocatedRequest {
            snapshot_id: id.to_owned(),
            starting_offset: offset,
            ..Default::default()
        };
        let status = client.stream(request, DEADLINE).await.err().map(|status| status.code());
        assert_eq!(status, Some(code), "snapshot {id:?} offset {offset}");
    }
    assert_eq!(f.driver.stop().await, Some(0));
}
