//! `csc controller …`.

use std::collections::BTreeMap;

use csi::v1::controller_service_capability::rpc::Type as Kind;
use csi::v1::volume_content_source::{SnapshotSource, Type as Source, VolumeSource};
use csi::{Rpc, v1, v1_12};

use crate::cli::{Capabilities, Controller, Pages, Size, VolumeContext};
use crate::connection::Session;
use crate::failure::Failure;
use crate::health;
use crate::output::{enum_name, pairs, quoted, reply};
use crate::pages::{page, template};
use crate::pairs::{Pairs, joined};

#[allow(clippy::too_many_lines, reason = "one arm a command")]
pub(crate) async fn run(session: &Session, command: Controller) -> Result<(), Failure> {
    match command {
        Controller::CreateVolume { .. } => create_volume(session, command).await,
        Controller::DeleteVolume { creds, ids } => {
            session.require("secrets", creds.with_requires_creds, !session.secrets().is_empty())?;
            let request =
                |id: &str| v1::DeleteVolumeRequest { volume_id: id.to_owned(), secrets: session.secrets() };
            each_id(session, &ids, creds.with_requires_creds, request).await
        }
        Controller::Publish { .. } => publish(session, command).await,
        Controller::Unpublish { creds, node_id, ids } => {
            session.require("secrets", creds.with_requires_creds, !session.secrets().is_empty())?;
            let request = |id: &str| v1::ControllerUnpublishVolumeRequest {
                volume_id: id.to_owned(),
                node_id: node_id.clone(),
                secrets: session.secrets(),
            };
            each_id(session, &ids, creds.with_requires_creds, request).await
        }
        Controller::ValidateVolumeCapabilities { caps, context, params, ids } => {
            validate(session, caps, context, joined(&params.params), ids).await
        }
        Controller::ListVolumes { pages } => list_volumes(session, pages).await,
        Controller::GetCapacity { caps, params, topology } => {
            let request = v1::GetCapacityRequest {
                volume_capabilities: caps.capabilities,
                parameters: joined(&params.params),
                accessible_topology: topology.topology.first().map(place),
            };
            let capacity = session.call(request, false).await?;
            reply(session.form, &capacity, |capacity| capacity.available_capacity.to_string());
            Ok(())
        }
        Controller::GetCapabilities => {
            let capabilities = session.call(v1::ControllerGetCapabilitiesRequest {}, false).await?;
            reply(session.form, &capabilities, |all| {
                let name = |capability: &v1::ControllerServiceCapability| match &capability.r#type {
                    Some(v1::controller_service_capability::Type::Rpc(rpc)) => {
                        let known = Kind::try_from(rpc.r#type).ok().map(|kind| kind.as_str_name());
                        enum_name(known.or_else(|| health::controller_condition(rpc.r#type)), rpc.r#type)
                    }
                    None => "UNKNOWN".to_owned(),
                };
                all.capabilities.iter().map(name).collect::<Vec<_>>().join("\n")
            });
            Ok(())
        }
        Controller::ExpandVolume { caps, size, ids } => expand(session, caps, size, ids).await,
        Controller::GetVolume { ids } => {
            for id in ids {
                let request = v1::ControllerGetVolumeRequest { volume_id: id };
                let found = session.call_for(request, false).await?;
                reply(session.form, &found, volume_state);
            }
            Ok(())
        }
        Controller::GetVolumeHealth { ids } => health::get(session, ids).await,
        Controller::ListVolumeHealth { pages } => health::list(session, pages).await,
        Controller::ModifyVolume { mutable_params, ids } => {
            let request = |id: &str| v1::ControllerModifyVolumeRequest {
                volume_id: id.to_owned(),
                secrets: session.secrets(),
                mutable_parameters: joined(&mutable_params),
            };
            each_id(session, &ids, false, request).await
        }
        Controller::CreateSnapshot { params, topology, source_volume, names } => {
            for name in names {
                let request = v1::CreateSnapshotRequest {
                    source_volume_id: source_volume.clone(),
                    name,
                    secrets: session.secrets(),
                    parameters: joined(&params.params),
                    accessibility_requirements: requirement(&topology.topology),
                };
                let made = session.call(request, false).await?;
                reply(session.form, &made, |made| made.snapshot.as_ref().map(snapshot).unwrap_or_default());
            }
            Ok(())
        }
        Controller::DeleteSnapshot { ids } => {
            let request = |id: &str| v1::DeleteSnapshotRequest {
                snapshot_id: id.to_owned(),
                secrets: session.secrets(),
            };
            each_id(session, &ids, false, request).await
        }
        Controller::ListSnapshots { pages, source_volume_id, snapshot_id } => {
            list_snapshots(session, pages, source_volume_id, snapshot_id).await
        }
        Controller::GetSnapshot { ids } => {
            for id in ids {
                let request = v1::GetSnapshotRequest { snapshot_id: id, secrets: session.secrets() };
                let found = session.call(request, false).await?;
                reply(session.form, &found, |found| {
                    found.snapshot.as_ref().map(snapshot).unwrap_or_default()
                });
            }
            Ok(())
        }
    }
}

/// One call for each id; prints the id, or the reply whole.
pub(crate) async fn each_id<R: Rpc>(
    session: &Session,
    ids: &[String],
    strict: bool,
    request: impl Fn(&str) -> R,
) -> Result<(), Failure> {
    for id in ids {
        let answer = session.call(request(id), strict).await?;
        reply(session.form, &answer, |_| id.clone());
    }
    Ok(())
}

async fn create_volume(session: &Session, command: Controller) -> Result<(), Failure> {
    let Controller::CreateVolume {
        caps,
        size,
        params,
        creds,
        topology,
        mutable_params,
        source_volume,
        source_snapshot,
        names,
    } = command
    else {
        return Ok(());
    };
    session.require("secrets", creds.with_requires_creds, !session.secrets().is_empty())?;
    let source = match (source_volume, source_snapshot) {
        (Some(volume_id), _) => Some(Source::Volume(VolumeSource { volume_id })),
        (None, Some(snapshot_id)) => Some(Source::Snapshot(SnapshotSource { snapshot_id })),
        (None, None) => None,
    };
    for name in names {
        let request = v1::CreateVolumeRequest {
            name,
            capacity_range: range(&size),
            volume_capabilities: caps.capabilities.clone(),
            parameters: joined(&params.params),
            secrets: session.secrets(),
            volume_content_source: source
                .clone()
                .map(|source| v1::VolumeContentSource { r#type: Some(source) }),
            accessibility_requirements: requirement(&topology.topology),
            mutable_parameters: joined(&mutable_params),
        };
        let made = session.call(request, creds.with_requires_creds).await?;
        reply(session.form, &made, |made| made.volume.as_ref().map(volume).unwrap_or_default());
    }
    Ok(())
}

async fn publish(session: &Session, command: Controller) -> Result<(), Failure> {
    let Controller::Publish { caps, context, creds, node_id, read_only, ids } = command else {
        return Ok(());
    };
    let strict = creds.with_requires_creds || context.with_requires_vol_context;
    session.require("secrets", creds.with_requires_creds, !session.secrets().is_empty())?;
    session.require("--vol-context", context.with_requires_vol_context, !context.vol_context.is_empty())?;
    for id in ids {
        let request = v1::ControllerPublishVolumeRequest {
            volume_id: id.clone(),
            node_id: node_id.clone(),
            volume_capability: caps.capabilities.first().cloned(),
            readonly: read_only,
            secrets: session.secrets(),
            volume_context: joined(&context.vol_context),
        };
        let published = session.call(request, strict).await?;
        reply(session.form, &published, |published| with_pairs(quoted(&id), &published.publish_context));
    }
    Ok(())
}

async fn validate(
    session: &Session,
    caps: Capabilities,
    context: VolumeContext,
    parameters: BTreeMap<String, String>,
    ids: Vec<String>,
) -> Result<(), Failure> {
    let strict = context.with_requires_vol_context;
    session.require("--vol-context", strict, !context.vol_context.is_empty())?;
    for id in ids {
        let request = v1::ValidateVolumeCapabilitiesRequest {
            volume_id: id.clone(),
            volume_context: joined(&context.vol_context),
            volume_capabilities: caps.capabilities.clone(),
            parameters: parameters.clone(),
            secrets: session.secrets(),
            ..Default::default()
        };
        let answer = session.call(request, strict).await?;
        reply(session.form, &answer, |answer| {
            let line = format!("{}\t{}", quoted(&id), answer.confirmed.is_some());
            if answer.message.is_empty() { line } else { format!("{line}\t{}", quoted(&answer.message)) }
        });
    }
    Ok(())
}

async fn expand(session: &Session, caps: Capabilities, size: Size, ids: Vec<String>) -> Result<(), Failure> {
    for id in ids {
        let request = v1::ControllerExpandVolumeRequest {
            volume_id: id,
            capacity_range: range(&size),
            secrets: session.secrets(),
            volume_capability: caps.capabilities.first().cloned(),
        };
        let answer = session.call(request, false).await?;
        reply(session.form, &answer, |answer| answer.capacity_bytes.to_string());
    }
    Ok(())
}

async fn list_volumes(session: &Session, pages: Pages) -> Result<(), Failure> {
    let template = template(&pages)?;
    let mut token = pages.starting_token;
    loop {
        let request = v1::ListVolumesRequest { max_entries: pages.max_entries, starting_token: token };
        let answer: v1_12::ListVolumesResponse = session.call_for(request, false).await?;
        page(session, pages.paging, template.as_ref(), &answer, &answer.entries, &answer.next_token, listed)?;
        if !pages.paging || answer.next_token.is_empty() {
            return Ok(());
        }
        token = answer.next_token;
    }
}

async fn list_snapshots(
    session: &Session,
    pages: Pages,
    volume_id: String,
    id: String,
) -> Result<(), Failure> {
    let template = template(&pages)?;
    let mut token = pages.starting_token;
    loop {
        let request = v1::ListSnapshotsRequest {
            max_entries: pages.max_entries,
            starting_token: token,
            source_volume_id: volume_id.clone(),
            snapshot_id: id.clone(),
            secrets: session.secrets(),
        };
        let answer = session.call(request, false).await?;
        let entry = |entry: &v1::list_snapshots_response::Entry| {
            entry.snapshot.as_ref().map(snapshot).unwrap_or_default()
        };
        page(session, pages.paging, template.as_ref(), &answer, &answer.entries, &answer.next_token, entry)?;
        if !pages.paging || answer.next_token.is_empty() {
            return Ok(());
        }
        token = answer.next_token;
    }
}

/// A range, if either limit is given.
pub(crate) fn range(size: &Size) -> Option<v1::CapacityRange> {
    let given = size.req_bytes > 0 || size.lim_bytes > 0;
    given.then_some(v1::CapacityRange { required_bytes: size.req_bytes, limit_bytes: size.lim_bytes })
}

fn place(pairs: &Pairs) -> v1::Topology {
    v1::Topology { segments: pairs.0.clone() }
}

fn requirement(places: &[Pairs]) -> Option<v1::TopologyRequirement> {
    let places: Vec<_> = places.iter().map(place).collect();
    (!places.is_empty()).then(|| v1::TopologyRequirement { requisite: places.clone(), preferred: places })
}

fn volume(volume: &v1::Volume) -> String {
    with_pairs(format!("{}\t{}", quoted(&volume.volume_id), volume.capacity_bytes), &volume.volume_context)
}

fn listed(entry: &v1_12::list_volumes_response::Entry) -> String {
    let line = entry.volume.as_ref().map(volume).unwrap_or_default();
    let condition = entry.status.as_ref().and_then(|status| status.volume_condition.as_ref());
    health::abnormal(condition).map_or(line.clone(), |condition| format!("{line}\t{condition}"))
}

fn volume_state(found: &v1_12::ControllerGetVolumeResponse) -> String {
    let mut line = found.volume.as_ref().map(volume).unwrap_or_default();
    if let Some(status) = &found.status {
        for node in &status.published_node_ids {
            line = format!("{line}\tnode={}", quoted(node));
        }
        if let Some(condition) = &status.volume_condition {
            line = format!("{line}\t{}", health::condition(condition));
        }
    }
    line
}

/// The line of one snapshot; its time as RFC 3339.
pub(crate) fn snapshot(snapshot: &v1::Snapshot) -> String {
    format!(
        "{}\t{}\t{}\t{}\t{}",
        quoted(&snapshot.snapshot_id),
        snapshot.size_bytes,
        snapshot.source_volume_id,
        snapshot.creation_time.as_ref().map(time).unwrap_or_default(),
        snapshot.ready_to_use
    )
}

fn time(time: &prost_types::Timestamp) -> String {
    jiff::Timestamp::new(time.seconds, time.nanos).map_or_else(|_| String::new(), |time| time.to_string())
}

fn with_pairs(line: String, map: &BTreeMap<String, String>) -> String {
    if map.is_empty() { line } else { format!("{line}\t{}", pairs(map)) }
}
