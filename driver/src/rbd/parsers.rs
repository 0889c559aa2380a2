//! What this driver reads that others write, for tests that give it any text.

use std::collections::BTreeMap;

use crate::rbd::class::{self, Class};
use crate::rbd::config;
use crate::rbd::credentials;
use crate::rbd::handle::Id;
use crate::rbd::names::Kind;
use crate::rbd::plan::{Attributes, Entry, cut_for};
use crate::refusal::Refusal;

pub use crate::rbd::node::{mapped, stashed};

/// What a StorageClass's parameters become: the volume's context.
///
/// # Errors
/// INVALID_ARGUMENT.
pub fn volume_class(parameters: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Refusal> {
    Class::of_volumes(parameters).map(|class| class.context("image", ""))
}

/// What the names of a VolumeSnapshotClass's images begin with.
///
/// # Errors
/// INVALID_ARGUMENT.
pub fn snapshot_class(parameters: &BTreeMap<String, String>) -> Result<String, Refusal> {
    class::of_snapshots(parameters).map(|(_, prefix)| prefix)
}

/// The user that a Secret names.
///
/// # Errors
/// INVALID_ARGUMENT.
pub fn user(secrets: &BTreeMap<String, String>) -> Result<String, Refusal> {
    credentials::of_secrets(secrets).map(|who| who.user)
}

/// The clusters of a configuration file, with how many monitors each has.
///
/// # Errors
/// Why it cannot be read.
pub fn clusters(text: &str) -> Result<Vec<(String, usize)>, String> {
    let clusters = config::parse(text)?;
    Ok(clusters.into_iter().map(|cluster| (cluster.id, cluster.monitors.len())).collect())
}

/// A volume's or a snapshot's id, as it is written; none if it is none of this driver's. Of the in-tree plugin's: pool and image.
pub fn id(text: &str) -> Option<String> {
    Id::parse(text).map(|id| match id {
        Id::Journal(handle) => handle.to_string(),
        Id::Migrated(volume) => format!("{}/{}", volume.pool, volume.image),
    })
}

/// The UUID that a name in the journal's directory leads to.
pub fn entry(value: &str) -> Option<String> {
    Entry::parse(value).map(|entry| entry.uuid)
}

/// The image's name in the journal's keys about a volume.
pub fn image(keys: &BTreeMap<String, String>) -> String {
    Attributes::read(Kind::Volume, "uuid", keys).image
}

/// The UUID of whom a volume's own snapshot was cut for.
pub fn snapshot(name: &str) -> Option<String> {
    cut_for(name).map(|(_, uuid)| uuid)
}
