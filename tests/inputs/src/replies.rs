//! Bytes that a driver answers with: decoded as each reply, logged, and turned into what the sidecars keep.

use std::collections::BTreeMap;

use csi::capability::{ControllerCapabilities, GroupCapabilities, NodeCapabilities, PluginCapabilities};
use csi::identity::DriverName;
use csi::topology::{Term, sorted_distinct};
use csi::v1::{self, *};
use csi::{ListPublishedResponse, Redact, redacted, shown};
use prost::Message;

/// The first byte says which reply it is, for [`csi_replies_used`](crate::csi_replies_used).
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let context = || BTreeMap::from([("key".to_owned(), "value".to_owned())]);
    let topology = Topology { segments: context() };
    let volume = v1::Volume {
        capacity_bytes: 1 << 30,
        volume_id: "id-of-x".to_owned(),
        volume_context: context(),
        accessible_topology: vec![topology],
        ..v1::Volume::default()
    };
    let status = list_volumes_response::VolumeStatus { published_node_ids: vec!["node1-id".to_owned()] };
    let entry = list_volumes_response::Entry { volume: Some(volume.clone()), status: Some(status) };
    let services = [plugin_capability::service::Type::ControllerService as i32, 99];
    let service = |kind: i32| PluginCapability {
        r#type: Some(plugin_capability::Type::Service(plugin_capability::Service { r#type: kind })),
    };
    let with = |kind: u8, message: Vec<u8>| [vec![kind], message].concat();
    vec![
        with(0, CreateVolumeResponse { volume: Some(volume) }.encode_to_vec()),
        with(1, ControllerPublishVolumeResponse { publish_context: context() }.encode_to_vec()),
        with(2, ListVolumesResponse { entries: vec![entry], next_token: "t".to_owned() }.encode_to_vec()),
        with(
            3,
            GetPluginCapabilitiesResponse { capabilities: services.map(service).to_vec() }.encode_to_vec(),
        ),
        with(
            4,
            ControllerExpandVolumeResponse { capacity_bytes: 2 << 30, node_expansion_required: true }
                .encode_to_vec(),
        ),
    ]
}

/// Decodes, prints for the log both ways, and encodes again.
fn read<M: Message + Redact + Default>(data: &[u8]) -> Option<M> {
    let message = M::decode(data).ok()?;
    let (line, text) = (redacted(&message), shown(&message));
    assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "no JSON: {line} ({text})");
    let _ = message.encode_to_vec();
    Some(message)
}

/// Any reply.
///
/// # Panics
/// When a log line of it is no JSON.
pub fn csi_replies(data: &[u8]) {
    let data = data.get(1..).unwrap_or_default();
    if let Some(reply) = read::<GetPluginInfoResponse>(data) {
        let _ = DriverName::new(reply.name);
    }
    if let Some(reply) = read::<GetPluginCapabilitiesResponse>(data) {
        let _ = PluginCapabilities::from(&reply);
    }
    if let Some(reply) = read::<ControllerGetCapabilitiesResponse>(data) {
        let _ = ControllerCapabilities::from(&reply);
    }
    if let Some(reply) = read::<NodeGetCapabilitiesResponse>(data) {
        let _ = NodeCapabilities::from(&reply);
    }
    if let Some(reply) = read::<GroupControllerGetCapabilitiesResponse>(data) {
        let _ = GroupCapabilities::from(&reply);
    }
    if let Some(reply) = read::<CreateVolumeResponse>(data) {
        let places = reply.volume.map(|volume| volume.accessible_topology).unwrap_or_default();
        let terms: Vec<Term> = places.into_iter().map(|place| Term::new(place.segments)).collect();
        assert_eq!(sorted_distinct(terms.clone()), sorted_distinct(sorted_distinct(terms)));
    }
    if let Some(reply) = read::<NodeGetInfoResponse>(data) {
        let segments = reply.accessible_topology.unwrap_or_default().segments;
        let label = |key: &str| segments.get(key).map(String::as_str);
        let term = Term::of_labels(segments.keys().map(String::as_str), label);
        assert_eq!(term, Ok(Term::new(segments.clone())));
    }
    let _ = read::<ProbeResponse>(data);
    let _ = read::<ListPublishedResponse>(data);
    let _ = read::<ListVolumesResponse>(data);
    let _ = read::<ControllerPublishVolumeResponse>(data);
    let _ = read::<CreateSnapshotResponse>(data);
    let _ = read::<ListSnapshotsResponse>(data);
    let _ = read::<ControllerExpandVolumeResponse>(data);
    let _ = read::<ControllerGetVolumeResponse>(data);
    let _ = read::<GetCapacityResponse>(data);
}
