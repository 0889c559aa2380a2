//! Parameters and topologies of StorageClasses: what the plugins have in common.
//!
//! Names of parameters are compared in lower case; one that is not translated keeps its spelling.
//!
//! `Differs:` if two parameters of a class become one, for example `zone` and `zones`, or `fstype` and `FSType`,
//! upstream takes one of them at random, each time anew. Here the last one in the order of their names wins. The same
//! holds for the attributes of Azure's volumes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{TopologySelectorLabelRequirement, TopologySelectorTerm};
use k8s_openapi::api::storage::v1::StorageClass;

use crate::error::TranslationError;
use crate::topology::{BETA_ZONE, ZONE};

/// The parameter for the file system, as CSI spells it.
pub(crate) const FS_TYPE: &str = "csi.storage.k8s.io/fstype";

/// Parameters by name.
pub(crate) type Parameters = BTreeMap<String, String>;

/// Gives each parameter to `translate`, in the order of their names, with its name in lower case. It adds what becomes
/// of the parameter.
pub(crate) fn translate_parameters(
    class: &mut StorageClass,
    mut translate: impl FnMut(&str, (String, String), &mut Parameters),
) {
    let mut translated = Parameters::new();
    for (name, value) in class.parameters.take().unwrap_or_default() {
        translate(&name.to_lowercase(), (name, value), &mut translated);
    }
    class.parameters = Some(translated);
}

/// Gives the parameter `fstype` its CSI name.
pub(crate) fn rename_fs_type(class: &mut StorageClass) {
    translate_parameters(class, |lower, (name, value), translated| {
        let name = if lower == "fstype" { FS_TYPE.to_owned() } else { name };
        translated.insert(name, value);
    });
}

/// Turns the parameters `zone` and `zones` into allowed topologies of the driver's key, and gives the zones of allowed
/// topologies that key.
///
/// # Errors
/// The class has both.
pub(crate) fn translate_zones(class: &mut StorageClass, key: &str) -> Result<(), TranslationError> {
    let mut zones = None;
    if let Some(parameters) = &mut class.parameters {
        parameters.retain(|name, value| {
            let named = match name.to_lowercase().as_str() {
                "zone" => vec![value.clone()],
                "zones" => value.split(',').map(str::to_owned).collect(),
                _ => return true,
            };
            zones = Some(named);
            false
        });
    }
    let Some(values) = zones else {
        rename_zones(class, key);
        return Ok(());
    };
    if class.allowed_topologies.as_ref().is_some_and(|terms| !terms.is_empty()) {
        return Err(TranslationError::ZonesTwice);
    }
    let zones = TopologySelectorLabelRequirement { key: key.to_owned(), values };
    class.allowed_topologies =
        Some(vec![TopologySelectorTerm { match_label_expressions: Some(vec![zones]) }]);
    Ok(())
}

/// Gives the zones of the allowed topologies the driver's key. Other keys stay.
pub(crate) fn rename_zones(class: &mut StorageClass, key: &str) {
    for expression in expressions(class) {
        if [ZONE, BETA_ZONE].contains(&expression.key.as_str()) {
            key.clone_into(&mut expression.key);
        }
    }
}

/// Every expression of the allowed topologies.
pub(crate) fn expressions(
    class: &mut StorageClass,
) -> impl Iterator<Item = &mut TopologySelectorLabelRequirement> {
    let terms = class.allowed_topologies.iter_mut().flatten();
    terms.flat_map(|term| term.match_label_expressions.iter_mut().flatten())
}
