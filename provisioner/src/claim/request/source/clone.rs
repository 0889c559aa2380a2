//! Who may clone a volume.

use kubernetes::object::{CLONING_PROTECTION, Claim, Key, SourceClaim, Volume, VolumePhase};

use super::error::SourceError;
use super::found::{Found, check_size};
use crate::config::Config;

/// The source volume's id at the driver.
///
/// A source that is being deleted will do if our finalizer is on it and the clone may be half made: only a final answer of the
/// driver tells.
///
/// `Differs:` upstream refuses such a source, and the claim that waits in vain holds it.
///
/// # Errors
/// The claim may not clone it, or not yet.
pub(super) fn clone_of(
    config: &Config,
    claim: &Claim,
    bytes: i64,
    key: &Key,
    found: &Found,
) -> Result<String, SourceError> {
    let what = format!("PersistentVolumeClaim {key}");
    let Some(source) = &found.claim else { return Err(SourceError::Missing(what)) };
    let may_be_half_made = found.may_be_half_made && source.meta.has_finalizer(CLONING_PROTECTION);
    if source.meta.deleting && !may_be_half_made {
        return Err(SourceError::Deleting(what));
    }
    if !source.bound || source.volume.is_empty() {
        return Err(SourceError::Unbound(what));
    }
    if source.class.is_none() {
        return Err(SourceError::NoClass(what));
    }
    check_size(bytes, &what, &source.request)?;
    let its_volume = format!("PersistentVolume {}", source.volume);
    let Some(volume) = &found.volume else { return Err(SourceError::Missing(its_volume)) };
    let Some(csi) = &volume.spec.csi else {
        return Err(SourceError::Foreign {
            object: its_volume,
            named: "an in-tree plugin".to_owned(),
            driver: config.driver.to_string(),
        });
    };
    if *csi.driver != *config.driver {
        let (named, driver) = (csi.driver.to_string(), config.driver.to_string());
        return Err(SourceError::Foreign { object: its_volume, named, driver });
    }
    if !is_bound_to(volume, source) {
        return Err(SourceError::NotMutual(what, its_volume));
    }
    if volume.phase != VolumePhase::Bound {
        return Err(SourceError::Unbound(its_volume));
    }
    let (mode, wanted) = (mode(source.volume_mode.as_deref()), mode(claim.volume_mode.as_deref()));
    if mode != wanted {
        let (mode, wanted) = (mode.to_owned(), wanted.to_owned());
        return Err(SourceError::Mode { object: what, mode, wanted, remedy: "" });
    }
    Ok(csi.volume_handle.to_string())
}

/// Whether the volume is this claim's, and no other's of its name.
fn is_bound_to(volume: &Volume, source: &SourceClaim) -> bool {
    volume.meta.name() == &*source.volume
        && volume.claim.as_ref().is_some_and(|holder| {
            *holder.namespace == *source.meta.namespace()
                && *holder.name == *source.meta.name()
                && holder.uid == source.meta.uid
        })
}

fn mode(said: Option<&str>) -> &str {
    said.unwrap_or("Filesystem")
}
