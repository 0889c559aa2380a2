//! `csc node …`.

use csi::v1::node_service_capability::rpc::Type as Kind;
use csi::v1::volume_usage::Unit;
use csi::{v1, v1_12};

use crate::cli::{Node, Usage};
use crate::connection::Session;
use crate::controller::{each_id, range};
use crate::failure::Failure;
use crate::health;
use crate::output::{enum_name, pairs, reply};
use crate::pairs::joined;

#[allow(clippy::too_many_lines, reason = "one arm a command")]
pub(crate) async fn run(session: &Session, command: Node) -> Result<(), Failure> {
    match command {
        Node::Stage { usage, staging_target_path, ids } => {
            let strict = required(session, &usage)?;
            let request = |id: &str| v1::NodeStageVolumeRequest {
                volume_id: id.to_owned(),
                publish_context: joined(&usage.publish_context.pub_context),
                staging_target_path: staging_target_path.clone(),
                volume_capability: usage.caps.capabilities.first().cloned(),
                secrets: session.secrets(),
                volume_context: joined(&usage.context.vol_context),
            };
            each_id(session, &ids, strict, request).await
        }
        Node::Unstage { staging_target_path, ids } => {
            let request = |id: &str| v1::NodeUnstageVolumeRequest {
                volume_id: id.to_owned(),
                staging_target_path: staging_target_path.clone(),
            };
            each_id(session, &ids, false, request).await
        }
        Node::Publish { usage, staging_target_path, target_path, read_only, ids } => {
            let strict = required(session, &usage)?;
            let request = |id: &str| v1::NodePublishVolumeRequest {
                volume_id: id.to_owned(),
                publish_context: joined(&usage.publish_context.pub_context),
                staging_target_path: staging_target_path.clone(),
                target_path: target_path.clone(),
                volume_capability: usage.caps.capabilities.first().cloned(),
                readonly: read_only,
                secrets: session.secrets(),
                volume_context: joined(&usage.context.vol_context),
            };
            each_id(session, &ids, strict, request).await
        }
        Node::Unpublish { target_path, ids } => {
            let request = |id: &str| v1::NodeUnpublishVolumeRequest {
                volume_id: id.to_owned(),
                target_path: target_path.clone(),
            };
            each_id(session, &ids, false, request).await
        }
        Node::Stats { volumes } => stats(session, &volumes).await,
        Node::VolumeHealth { volumes } => health::on_node(session, &volumes).await,
        Node::StorageHealth => health::storage(session).await,
        Node::ExpandVolume { caps, size, staging_target_path, id, path } => {
            let request = v1::NodeExpandVolumeRequest {
                volume_id: id,
                volume_path: path,
                capacity_range: range(&size),
                staging_target_path,
                volume_capability: caps.capabilities.first().cloned(),
                secrets: session.secrets(),
            };
            let answer = session.call(request, false).await?;
            reply(session.form, &answer, |answer| answer.capacity_bytes.to_string());
            Ok(())
        }
        Node::GetCapabilities => {
            let capabilities = session.call(v1::NodeGetCapabilitiesRequest {}, false).await?;
            reply(session.form, &capabilities, |all| {
                let name = |capability: &v1::NodeServiceCapability| match &capability.r#type {
                    Some(v1::node_service_capability::Type::Rpc(rpc)) => {
                        let known = Kind::try_from(rpc.r#type).ok().map(|kind| kind.as_str_name());
                        enum_name(known.or_else(|| health::node_condition(rpc.r#type)), rpc.r#type)
                    }
                    None => "UNKNOWN".to_owned(),
                };
                all.capabilities.iter().map(name).collect::<Vec<_>>().join("\n")
            });
            Ok(())
        }
        Node::GetInfo => {
            let info = session.call(v1::NodeGetInfoRequest {}, false).await?;
            reply(session.form, &info, |info| {
                let place = info.accessible_topology.as_ref().map(|place| pairs(&place.segments));
                let line = format!("{}\t{}", info.node_id, info.max_volumes_per_node);
                place.map_or(line.clone(), |place| format!("{line}\t{place}"))
            });
            Ok(())
        }
    }
}

fn required(session: &Session, usage: &Usage) -> Result<bool, Failure> {
    let Usage { context, publish_context, creds, .. } = usage;
    let (volume, publish, secret) = (
        context.with_requires_vol_context,
        publish_context.with_requires_pub_context,
        creds.with_requires_creds,
    );
    session.require("secrets", secret, !session.secrets().is_empty())?;
    session.require("--vol-context", volume, !context.vol_context.is_empty())?;
    session.require("--pub-context", publish, !publish_context.pub_context.is_empty())?;
    Ok(volume || publish || secret)
}

async fn stats(session: &Session, volumes: &[String]) -> Result<(), Failure> {
    for volume in volumes {
        let mut words = volume.splitn(3, ':');
        let (id, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if id.is_empty() || path.is_empty() {
            return Err(Failure::Usage(format!("{volume:?} is not ID:VOLUME_PATH[:STAGING_PATH]")));
        }
        let request = v1::NodeGetVolumeStatsRequest {
            volume_id: id.to_owned(),
            volume_path: path.to_owned(),
            staging_target_path: words.next().unwrap_or_default().to_owned(),
        };
        let answer: v1_12::NodeGetVolumeStatsResponse = session.call_for(request, false).await?;
        reply(session.form, &answer, |answer| {
            let usage = |usage: &v1::VolumeUsage| {
                let unit = Unit::try_from(usage.unit).map_or("UNKNOWN", |unit| unit.as_str_name());
                format!("{}\t{}\t{}\t{unit}", usage.available, usage.total, usage.used)
            };
            let mut lines: Vec<_> = answer.usage.iter().map(usage).collect();
            lines.extend(health::abnormal(answer.volume_condition.as_ref()));
            format!("{id}\t{path}\t{}", lines.join("\n"))
        });
    }
    Ok(())
}
