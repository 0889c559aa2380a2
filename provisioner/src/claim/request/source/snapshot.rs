//! Who may restore a snapshot.

use kubernetes::object::{ALLOW_MODE_CHANGE, Claim, Key, SNAPSHOT_PROTECTION, Snapshot, SnapshotContent};

use super::error::SourceError;
use super::found::{Found, check_size};
use crate::config::Config;

/// The snapshot's id at the driver.
///
/// A snapshot that is being deleted will do if our finalizer is on it: the volume may be half made.
///
/// # Errors
/// The claim may not restore it, or not yet.
pub(super) fn restore(
    config: &Config,
    claim: &Claim,
    bytes: i64,
    key: &Key,
    found: &Found,
) -> Result<String, SourceError> {
    let what = format!("VolumeSnapshot {key}");
    let Some(snapshot) = &found.snapshot else { return Err(SourceError::Missing(what)) };
    if snapshot.meta.deleting && !snapshot.meta.has_finalizer(SNAPSHOT_PROTECTION) {
        return Err(SourceError::Deleting(what));
    }
    if snapshot.content.is_empty() {
        return Err(SourceError::Unbound(what));
    }
    let its_content = format!("VolumeSnapshotContent {}", snapshot.content);
    let Some(content) = &found.content else { return Err(SourceError::Missing(its_content)) };
    if !is_bound_to(content, snapshot) {
        return Err(SourceError::NotMutual(what, its_content));
    }
    if content.driver != config.driver {
        let (named, driver) = (content.driver.to_string(), config.driver.to_string());
        return Err(SourceError::Foreign { object: what, named, driver });
    }
    if !snapshot.ready {
        return Err(SourceError::NotReady(what));
    }
    if content.handle.is_empty() {
        return Err(SourceError::NoHandle(its_content));
    }
    if let Some(size) = &snapshot.restore_size {
        check_size(bytes, &what, size)?;
    }
    if config.prevent_mode_conversion {
        check_mode(claim, content, what)?;
    }
    Ok(content.handle.to_string())
}

/// Whether the content is for this snapshot, and no other of its name.
fn is_bound_to(content: &SnapshotContent, snapshot: &Snapshot) -> bool {
    let (named, meta) = (&content.snapshot, &snapshot.meta);
    content.meta.name() == &*snapshot.content
        && *named.namespace == *meta.namespace()
        && *named.name == *meta.name()
        && !named.uid.is_empty()
        && named.uid == meta.uid
}

/// The volume must have the mode of the one that the snapshot was cut from, unless an administrator allows another.
fn check_mode(claim: &Claim, content: &SnapshotContent, what: String) -> Result<(), SourceError> {
    let (Some(mode), Some(wanted)) = (&content.source_mode, &claim.volume_mode) else { return Ok(()) };
    if mode == wanted || content.meta.annotations.get(ALLOW_MODE_CHANGE).is_some_and(is_true) {
        return Ok(());
    }
    Err(SourceError::Mode {
        object: what,
        mode: mode.to_string(),
        wanted: wanted.to_string(),
        remedy: ": an administrator may allow it with the annotation \
                 snapshot.storage.kubernetes.io/allow-volume-mode-change=true on the VolumeSnapshotContent",
    })
}

/// As Go reads booleans.
fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}
