//! What is wrong with volumes and storage: the four health RPCs of CSI 1.13, and the VolumeCondition of older drivers.
//!
//! A line for each thing that is wrong; `healthy` where nothing is. Replies that may hold a condition are read as those
//! of 1.12 (`csi::v1_12`), whatever the driver: one of 1.13 leaves it out.
//!
//! Differs: upstream knows CSI 1.2, which has neither. Its lines of list-volumes and stats end with the condition if the
//! volume is abnormal, else they are as they were.

use csi::{v1, v1_12};
use v1::volume_capability::AccessType;

use crate::cli::Pages;
use crate::connection::Session;
use crate::failure::Failure;
use crate::output::{enum_name, quoted, reply};
use crate::pages::{page, template};

/// `csc controller get-volume-health`.
pub(crate) async fn get(session: &Session, ids: Vec<String>) -> Result<(), Failure> {
    for volume_id in ids {
        let request = v1::ControllerGetVolumeHealthRequest { volume_id, secrets: session.secrets() };
        let answer = session.call(request, false).await?;
        reply(session.form, &answer, |answer| answer.volume_health.as_ref().map(volume).unwrap_or_default());
    }
    Ok(())
}

/// `csc controller list-volume-health`.
pub(crate) async fn list(session: &Session, pages: Pages) -> Result<(), Failure> {
    let template = template(&pages)?;
    let mut token = pages.starting_token;
    loop {
        let request = v1::ControllerListVolumeHealthRequest {
            max_entries: pages.max_entries,
            starting_token: token,
            secrets: session.secrets(),
        };
        let answer = session.call(request, false).await?;
        page(session, pages.paging, template.as_ref(), &answer, &answer.entries, &answer.next_token, volume)?;
        if !pages.paging || answer.next_token.is_empty() {
            return Ok(());
        }
        token = answer.next_token;
    }
}

/// `csc node volume-health`.
pub(crate) async fn on_node(session: &Session, volumes: &[String]) -> Result<(), Failure> {
    for word in volumes {
        let mut words = word.splitn(3, ':');
        let mut next = || words.next().unwrap_or_default().to_owned();
        let request = v1::NodeGetVolumeHealthRequest {
            volume_id: next(),
            volume_publish_path: next(),
            staging_target_path: next(),
        };
        if request.volume_id.is_empty() {
            return Err(Failure::Usage(format!("{word:?} is not ID[:PUBLISH_PATH[:STAGING_PATH]]")));
        }
        let answer = session.call(request, false).await?;
        reply(session.form, &answer, |answer| answer.volume_health.as_ref().map(volume).unwrap_or_default());
    }
    Ok(())
}

/// `csc node storage-health`.
pub(crate) async fn storage(session: &Session) -> Result<(), Failure> {
    let request = v1::NodeGetStorageHealthRequest { secrets: session.secrets() };
    let answer = session.call(request, false).await?;
    reply(session.form, &answer, |answer| {
        let entry = |backend: &v1::node_get_storage_health_response::StorageBackendHealth| {
            let name =
                v1::StorageHealthErrorType::try_from(backend.status).map(|status| status.as_str_name());
            let line = told(name.ok(), backend.status, &backend.reason, &backend.message);
            match &backend.volume_capability {
                Some(capability) => format!("{line}\t{}", kind_of(capability)),
                None => line,
            }
        };
        or_healthy(answer.backend_health.iter().map(entry).collect())
    });
    Ok(())
}

/// The name of the controller's capability that CSI 1.12 had for VolumeConditions and 1.13 keeps reserved.
pub(crate) fn controller_condition(number: i32) -> Option<&'static str> {
    (number == 11).then_some("VOLUME_CONDITION")
}

/// As [`controller_condition`], of the node.
pub(crate) fn node_condition(number: i32) -> Option<&'static str> {
    (number == 4).then_some("VOLUME_CONDITION")
}

/// The condition of a driver of CSI 1.12, as columns for the end of a line.
pub(crate) fn condition(condition: &v1_12::VolumeCondition) -> String {
    format!("abnormal={}\t{}", condition.abnormal, quoted(&condition.message))
}

/// As [`condition`], where the line is upstream's: only of a volume that is abnormal.
pub(crate) fn abnormal(found: Option<&v1_12::VolumeCondition>) -> Option<String> {
    found.filter(|found| found.abnormal).map(condition)
}

fn volume(health: &v1::VolumeHealth) -> String {
    let entry = |entry: &v1::volume_health::VolumeHealthEntry| {
        let name = v1::VolumeHealthErrorType::try_from(entry.status).map(|status| status.as_str_name());
        told(name.ok(), entry.status, &entry.reason, &entry.message)
    };
    let id = quoted(&health.volume_id);
    let lines = or_healthy(health.health_statuses.iter().map(entry).collect());
    lines.lines().map(|line| format!("{id}\t{line}")).collect::<Vec<_>>().join("\n")
}

fn or_healthy(lines: Vec<String>) -> String {
    if lines.is_empty() { "healthy".to_owned() } else { lines.join("\n") }
}

/// Status, reason, message.
fn told(name: Option<&'static str>, number: i32, reason: &str, message: &str) -> String {
    let line = format!("{}\t{}", enum_name(name, number), quoted(reason));
    if message.is_empty() { line } else { format!("{line}\t{}", quoted(message)) }
}

/// As `--cap` takes it: mode and type.
fn kind_of(capability: &v1::VolumeCapability) -> String {
    let mode = capability.access_mode.unwrap_or_default().mode();
    let kind = match capability.access_type {
        Some(AccessType::Block(_)) => "block",
        Some(AccessType::Mount(_)) => "mount",
        None => "any",
    };
    format!("{},{kind}", mode.as_str_name())
}

#[cfg(test)]
mod tests {
    use v1::volume_health::VolumeHealthEntry;

    use super::*;

    #[test]
    fn each_thing_that_is_wrong_has_a_line_with_the_id() {
        let entry = |status, message: &str| VolumeHealthEntry {
            status,
            reason: "Why".to_owned(),
            message: message.to_owned(),
        };
        let health_statuses = vec![entry(3, "all is lost"), entry(1, ""), entry(99, "newer")];
        let health = v1::VolumeHealth { volume_id: "v".to_owned(), health_statuses };
        assert_eq!(
            volume(&health),
            "\"v\"\tDATA_LOSS\t\"Why\"\t\"all is lost\"\n\"v\"\tDEGRADED\t\"Why\"\n\"v\"\t99\t\"Why\"\t\"newer\""
        );
        assert_eq!(volume(&v1::VolumeHealth { health_statuses: vec![], ..health }), "\"v\"\thealthy");
    }

    #[test]
    fn a_condition_shows_in_upstreams_lines_only_if_abnormal() {
        let of = |abnormal| v1_12::VolumeCondition { abnormal, message: "m".to_owned() };
        assert_eq!(abnormal(Some(&of(true))).as_deref(), Some("abnormal=true\t\"m\""));
        assert_eq!((abnormal(Some(&of(false))), abnormal(None)), (None, None));
        assert_eq!(condition(&of(false)), "abnormal=false\t\"m\"");
    }
}
