//! `csc group …`: what upstream's client does not have.

use csi::v1;
use csi::v1::group_controller_service_capability::rpc::Type as Kind;

use crate::cli::Group;
use crate::connection::Session;
use crate::controller::snapshot;
use crate::failure::Failure;
use crate::output::{enum_name, quoted, reply};
use crate::pairs::joined;

pub(crate) async fn run(session: &Session, command: Group) -> Result<(), Failure> {
    match command {
        Group::GetCapabilities => {
            let capabilities = session.call(v1::GroupControllerGetCapabilitiesRequest {}, false).await?;
            reply(session.form, &capabilities, |all| {
                let name = |capability: &v1::GroupControllerServiceCapability| match &capability.r#type {
                    Some(v1::group_controller_service_capability::Type::Rpc(rpc)) => {
                        let known = Kind::try_from(rpc.r#type).ok().map(|kind| kind.as_str_name());
                        enum_name(known, rpc.r#type)
                    }
                    None => "UNKNOWN".to_owned(),
                };
                all.capabilities.iter().map(name).collect::<Vec<_>>().join("\n")
            });
        }
        Group::CreateGroupSnapshot { params, source_volume, name } => {
            let request = v1::CreateVolumeGroupSnapshotRequest {
                name,
                source_volume_ids: source_volume,
                secrets: session.secrets(),
                parameters: joined(&params.params),
            };
            let made = session.call(request, false).await?;
            reply(session.form, &made, |made| made.group_snapshot.as_ref().map(group).unwrap_or_default());
        }
        Group::DeleteGroupSnapshot { snapshot_id, id } => {
            let request = v1::DeleteVolumeGroupSnapshotRequest {
                group_snapshot_id: id.clone(),
                snapshot_ids: snapshot_id,
                secrets: session.secrets(),
            };
            let answer = session.call(request, false).await?;
            reply(session.form, &answer, |_| id);
        }
        Group::GetGroupSnapshot { snapshot_id, id } => {
            let request = v1::GetVolumeGroupSnapshotRequest {
                group_snapshot_id: id,
                snapshot_ids: snapshot_id,
                secrets: session.secrets(),
            };
            let found = session.call(request, false).await?;
            reply(session.form, &found, |found| found.group_snapshot.as_ref().map(group).unwrap_or_default());
        }
    }
    Ok(())
}

/// The group's line, then one for each member.
fn group(group: &v1::VolumeGroupSnapshot) -> String {
    let mut lines = vec![format!("{}\t{}", quoted(&group.group_snapshot_id), group.ready_to_use)];
    lines.extend(group.snapshots.iter().map(snapshot));
    lines.join("\n")
}
