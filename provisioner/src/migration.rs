//! Classes and volumes of the in-tree plugin that the driver has replaced (docs/upstream/migration.md).
//!
//! A claim of an in-tree class gets its volume from the driver, and an in-tree PersistentVolume: nothing but the driver
//! ever sees the CSI form of either.

use k8s_openapi::api::core::v1::{PersistentVolume, TopologySelectorLabelRequirement, TopologySelectorTerm};
use k8s_openapi::api::storage::v1::StorageClass;
use kubernetes::object::{AllowedValues, Class, TopologyTerm};
use serde::Serialize;
use thiserror::Error;
use translation::{Plugin, Plugins, Translation as _, TranslationError};

/// What the driver goes by: its own name, and that of the in-tree plugin which it has replaced, if there is one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    /// The driver's.
    pub(crate) driver: &'a str,
    /// The plugin.
    pub(crate) in_tree: Option<Plugin>,
}

impl Names<'_> {
    /// Whether `name` is one of them.
    pub(crate) fn has(&self, name: &str) -> bool {
        name == self.driver || self.plugin(name).is_some()
    }

    /// The plugin, if `name` is its name.
    pub(crate) fn plugin(&self, name: &str) -> Option<Plugin> {
        self.in_tree.filter(|plugin| plugin.name() == name)
    }
}

/// Why a volume that the driver has made could not become an in-tree volume.
#[derive(Debug, Error)]
pub(crate) enum InTreeError {
    /// It cannot be translated.
    #[error(transparent)]
    Translation(#[from] TranslationError),
    /// It is no PersistentVolume as the API library knows it.
    #[error("{0}")]
    Object(#[from] serde_json::Error),
}

/// The class as the driver understands it: parameters and topologies.
///
/// # Errors
/// The class cannot be translated.
pub(crate) fn translated(plugins: Plugins, plugin: Plugin, class: &Class) -> Result<Class, TranslationError> {
    let expression = |allowed: &AllowedValues| TopologySelectorLabelRequirement {
        key: allowed.key.to_string(),
        values: allowed.values.iter().map(ToString::to_string).collect(),
    };
    let term = |term: &TopologyTerm| TopologySelectorTerm {
        match_label_expressions: Some(term.0.iter().map(expression).collect()),
    };
    let given = StorageClass {
        provisioner: class.provisioner.to_string(),
        parameters: Some(class.parameters.clone()),
        allowed_topologies: Some(class.allowed_topologies.iter().map(term).collect()),
        ..StorageClass::default()
    };
    let StorageClass { parameters, allowed_topologies, .. } = plugins.class(plugin, given)?;
    let allowed = |expression: TopologySelectorLabelRequirement| AllowedValues {
        key: expression.key.into(),
        values: expression.values.into_iter().map(Into::into).collect(),
    };
    let term = |term: TopologySelectorTerm| {
        TopologyTerm(term.match_label_expressions.into_iter().flatten().map(allowed).collect())
    };
    Ok(Class {
        parameters: parameters.unwrap_or_default(),
        allowed_topologies: allowed_topologies.into_iter().flatten().map(term).collect(),
        ..class.clone()
    })
}

/// The in-tree form of a CSI volume that is about to be stored.
///
/// # Errors
/// [`InTreeError`]
pub(crate) fn in_tree(plugins: Plugins, volume: &impl Serialize) -> Result<PersistentVolume, InTreeError> {
    let volume = serde_json::from_value(serde_json::to_value(volume)?)?;
    Ok(plugins.to_in_tree(volume)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::class_from;
    use serde_json::json;

    #[test]
    fn parameters_and_topologies_of_a_class_are_translated() {
        let class = class_from(json!({
            "provisioner": "test-driver", "parameters": {"fstype": "xfs", "availability": "nova"},
            "mountOptions": ["noatime"],
            "allowedTopologies": [{"matchLabelExpressions": [{"key": "topology.kubernetes.io/zone", "values": ["a", "b"]}]}],
        }));
        let found = translated(Plugins::default(), Plugin::Cinder, &class).unwrap();
        let parameters = [("availability", "nova"), ("csi.storage.k8s.io/fstype", "xfs")];
        assert_eq!(
            found.parameters,
            parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
        );
        let key = "topology.cinder.csi.openstack.org/zone".into();
        let values = ["a".into(), "b".into()].into();
        assert_eq!(*found.allowed_topologies, [TopologyTerm([AllowedValues { key, values }].into())]);
        assert_eq!(
            (found.meta.uid, found.mount_options),
            (class.meta.uid, class.mount_options),
            "the rest stays"
        );
    }

    #[test]
    fn a_driver_goes_by_its_name_and_that_of_its_plugin() {
        let names = Names { driver: "cinder.csi.openstack.org", in_tree: Some(Plugin::Cinder) };
        for (name, has, plugin) in [
            ("cinder.csi.openstack.org", true, None),
            ("kubernetes.io/cinder", true, Some(Plugin::Cinder)),
            ("kubernetes.io/rbd", false, None),
        ] {
            assert_eq!((names.has(name), names.plugin(name)), (has, plugin), "{name}");
        }
        let plain = Names { driver: "d", in_tree: None };
        assert!(plain.has("d") && !plain.has("kubernetes.io/cinder"));
    }
}
