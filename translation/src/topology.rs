//! Where a volume is: zones and regions in node affinity and labels, with Kubernetes' keys and with a driver's.
//!
//! Kubernetes has two families of keys, the GA one and the beta one before it. Several zones in one label are joined by
//! two underscores.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume};

use crate::error::TranslationError;

/// Kubernetes' key for a zone.
pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";
/// Kubernetes' key for a region.
pub(crate) const REGION: &str = "topology.kubernetes.io/region";
/// The key for a zone before Kubernetes 1.17.
pub(crate) const BETA_ZONE: &str = "failure-domain.beta.kubernetes.io/zone";
/// The key for a region before Kubernetes 1.17.
pub(crate) const BETA_REGION: &str = "failure-domain.beta.kubernetes.io/region";
/// Joins several zones in one label.
pub(crate) const SEPARATOR: &str = "__";

/// A family of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keys {
    /// The key for a zone.
    pub(crate) zone: &'static str,
    /// The key for a region.
    pub(crate) region: &'static str,
}

const GA: Keys = Keys { zone: ZONE, region: REGION };
const BETA: Keys = Keys { zone: BETA_ZONE, region: BETA_REGION };

/// Finds the one region of zones.
pub(crate) type RegionOf = fn(&[String]) -> Result<String, TranslationError>;

/// The family that a volume uses: what its node affinity has, else what its labels have, else GA.
pub(crate) fn keys_of(volume: &PersistentVolume) -> Keys {
    let in_affinity = |key: &str| requirements(volume).any(|requirement| requirement.key == key);
    let in_labels = |key: &str| label(volume, key).is_some();
    let families = [
        (GA, in_affinity(ZONE)),
        (BETA, in_affinity(BETA_ZONE)),
        (GA, in_labels(ZONE)),
        (BETA, in_labels(BETA_ZONE)),
    ];
    families.into_iter().find_map(|(keys, found)| found.then_some(keys)).unwrap_or(GA)
}

/// Gives the volume's zones the driver's key: those in the node affinity, else those in the label, which are added to
/// the node affinity. A beta region gets the GA key, because newer nodes have that label only.
pub(crate) fn to_csi(volume: &mut PersistentVolume, driver_key: &str) {
    let keys = keys_of(volume);
    if !rename(volume, keys.zone, driver_key)
        && let Some(zones) = label(volume, keys.zone)
    {
        let zones = zones.split(SEPARATOR).map(str::to_owned).collect::<Vec<_>>();
        require(volume, driver_key, &zones);
    }
    if keys == BETA {
        rename(volume, BETA_REGION, REGION);
    }
}

/// Gives the volume's zones Kubernetes' key and adds the label for them. With `region_of`, each term of the node
/// affinity gets its region too, and the volume the label for it.
///
/// # Errors
/// The zones of a term do not tell its region.
pub(crate) fn to_in_tree(
    volume: &mut PersistentVolume,
    driver_key: &str,
    region_of: Option<RegionOf>,
) -> Result<(), TranslationError> {
    let keys = keys_of(volume);
    rename_all(volume, driver_key, keys.zone);
    if let Some(region_of) = region_of {
        for term in terms(volume) {
            add_region(term, keys, region_of)?;
        }
        let regions = values(volume, keys.region);
        if let ([region], false) = (regions.as_slice(), label(volume, keys.region).is_some()) {
            add_label(volume, keys.region, region.clone());
        }
    }
    let zones = values(volume, keys.zone);
    if !zones.is_empty() {
        add_label(volume, keys.zone, zones.join(SEPARATOR));
    }
    Ok(())
}

/// Adds the region of the term's zones, unless the term has a region.
fn add_region(term: &mut NodeSelectorTerm, keys: Keys, region_of: RegionOf) -> Result<(), TranslationError> {
    let requirements = term.match_expressions.get_or_insert_default();
    if requirements.iter().any(|requirement| requirement.key == keys.region) {
        return Ok(());
    }
    let zones = requirements.iter().filter(|requirement| requirement.key == keys.zone);
    let zones: Vec<String> = zones.flat_map(|zones| zones.values.iter().flatten().cloned()).collect();
    requirements.push(one_of(keys.region, vec![region_of(&zones)?]));
    Ok(())
}

/// Renames the key if the node affinity has values of it; whether it has.
pub(crate) fn rename(volume: &mut PersistentVolume, old: &str, new: &str) -> bool {
    let found = !values(volume, old).is_empty();
    if found {
        rename_all(volume, old, new);
    }
    found
}

/// Renames the key wherever the node affinity has it. Operators and values stay.
pub(crate) fn rename_all(volume: &mut PersistentVolume, old: &str, new: &str) {
    let requirements = terms(volume).iter_mut().flat_map(|term| term.match_expressions.iter_mut().flatten());
    for requirement in requirements.filter(|requirement| requirement.key == old) {
        new.clone_into(&mut requirement.key);
    }
}

/// Requires one of the values in each term of the node affinity. Blank values do not count; without any other nothing
/// is required.
pub(crate) fn require(volume: &mut PersistentVolume, key: &str, values: &[String]) {
    let values: BTreeSet<&str> =
        values.iter().map(|value| value.trim()).filter(|value| !value.is_empty()).collect();
    if values.is_empty() {
        return;
    }
    let values: Vec<String> = values.into_iter().map(str::to_owned).collect();
    let spec = volume.spec.get_or_insert_default();
    let terms =
        &mut spec.node_affinity.get_or_insert_default().required.get_or_insert_default().node_selector_terms;
    if terms.is_empty() {
        terms.push(NodeSelectorTerm::default());
    }
    for term in terms {
        term.match_expressions.get_or_insert_default().push(one_of(key, values.clone()));
    }
}

/// The values of a key in the node affinity, sorted, each once.
pub(crate) fn values(volume: &PersistentVolume, key: &str) -> Vec<String> {
    let found = requirements(volume).filter(|requirement| requirement.key == key);
    let values: BTreeSet<&String> =
        found.flat_map(|requirement| requirement.values.iter().flatten()).collect();
    values.into_iter().cloned().collect()
}

/// A label's value.
pub(crate) fn label<'a>(volume: &'a PersistentVolume, key: &str) -> Option<&'a String> {
    volume.metadata.labels.as_ref()?.get(key)
}

/// Adds a label, unless the volume has it.
pub(crate) fn add_label(volume: &mut PersistentVolume, key: &str, value: String) {
    volume.metadata.labels.get_or_insert_default().entry(key.to_owned()).or_insert(value);
}

/// The one region of zones, each of which `region_of` reads.
///
/// # Errors
/// A zone does not tell its region, or the regions are not exactly one.
pub(crate) fn one_region(
    zones: &[String],
    region_of: impl Fn(&str) -> Option<String>,
) -> Result<String, TranslationError> {
    let regions =
        zones.iter().map(|zone| region_of(zone).ok_or_else(|| TranslationError::Zone(zone.clone())));
    let mut regions: BTreeSet<String> = regions.collect::<Result<_, _>>()?;
    match (regions.pop_first(), regions.len()) {
        (Some(region), 0) => Ok(region),
        (first, others) => {
            let count = others + usize::from(first.is_some());
            Err(TranslationError::Regions(count, zones.join(", ")))
        }
    }
}

fn one_of(key: &str, values: Vec<String>) -> NodeSelectorRequirement {
    NodeSelectorRequirement { key: key.to_owned(), operator: "In".to_owned(), values: Some(values) }
}

fn terms(volume: &mut PersistentVolume) -> &mut [NodeSelectorTerm] {
    let affinity = volume.spec.as_mut().and_then(|spec| spec.node_affinity.as_mut());
    let required = affinity.and_then(|affinity| affinity.required.as_mut());
    required.map_or(&mut [], |required| required.node_selector_terms.as_mut_slice())
}

fn requirements(volume: &PersistentVolume) -> impl Iterator<Item = &NodeSelectorRequirement> {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required.as_ref());
    let terms = required.into_iter().flat_map(|required| &required.node_selector_terms);
    terms.flat_map(|term| term.match_expressions.iter().flatten())
}

#[cfg(test)]
mod tests;
