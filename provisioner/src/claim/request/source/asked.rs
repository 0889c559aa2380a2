//! What a claim names as its source.

use kubernetes::object::{Claim, Key, is_label, is_subdomain};

use super::super::super::eligible::{other_namespace, source};
use super::error::SourceError;
use crate::config::Config;

/// The API group of snapshots.
const SNAPSHOTS: &str = "snapshot.storage.k8s.io";

/// What a claim is to be filled from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Asked {
    /// This VolumeSnapshot.
    Snapshot(Key),
    /// This claim.
    Claim(Key),
    /// An object of this kind, in a namespace that the claim names. No driver can fill a volume from it.
    Other(Box<str>, Key),
}

impl Asked {
    /// Namespace and name.
    pub(crate) fn key(&self) -> &Key {
        match self {
            Self::Snapshot(key) | Self::Claim(key) | Self::Other(_, key) => key,
        }
    }

    /// As errors name it.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Snapshot(key) => format!("VolumeSnapshot {key}"),
            Self::Claim(key) => format!("PersistentVolumeClaim {key}"),
            Self::Other(kind, key) => format!("{kind} {key}"),
        }
    }
}

/// What the claim names, whether it may have that or not; `None` for an empty volume.
///
/// # Errors
/// It names something that no volume can be filled from.
pub(crate) fn named(claim: &Claim) -> Result<Option<Asked>, SourceError> {
    let Some(source) = source(claim) else { return Ok(None) };
    let key = Key::new(other_namespace(claim).unwrap_or(claim.meta.namespace()), &source.name);
    let (kind, group) = (&*source.kind, source.api_group.as_deref().unwrap_or_default());
    let asked = match kind {
        "VolumeSnapshot" if group == SNAPSHOTS => Asked::Snapshot(key),
        // As upstream, whatever the group is.
        "PersistentVolumeClaim" => Asked::Claim(key),
        _ if other_namespace(claim).is_some() => Asked::Other(kind.into(), key),
        _ => return Err(SourceError::Kind { kind: kind.to_owned(), group: group.to_owned() }),
    };
    if source.name.is_empty() {
        return Err(SourceError::NoName);
    }
    // The API server takes any text, and the text would become part of a path: it might lead to another object.
    let key = asked.key();
    if !is_subdomain(key.name()) || !is_label(key.namespace()) {
        return Err(SourceError::Name(key.to_string()));
    }
    Ok(Some(asked))
}

/// As [`named`], where the gate allows another namespace.
///
/// # Errors
/// As [`named`]; or another namespace, with the gate off.
pub(crate) fn asked(config: &Config, claim: &Claim) -> Result<Option<Asked>, SourceError> {
    if !config.cross_namespace && other_namespace(claim).is_some() {
        return Err(SourceError::Gate);
    }
    named(claim)
}

/// Whether the claim names this source.
pub(crate) fn fills_from(claim: &Claim, asked: &Asked) -> bool {
    // Claims are many: their keys are not put together to be compared.
    source(claim).is_some_and(|source| *source.name == *asked.key().name())
        && named(claim).is_ok_and(|named| named.as_ref() == Some(asked))
}
