//! The parameters of a StorageClass that sidecars read and the driver does not get.

use std::collections::BTreeMap;

use super::template::{Facts, Part, TemplateError, resolve};
use crate::object::{is_label, is_subdomain};
use base::log::quote::quoted;

/// Parameters with this prefix are for sidecars; an unknown one is an error.
const PREFIX: &str = "csi.storage.k8s.io/";

const FS_TYPE: &str = "csi.storage.k8s.io/fstype";

/// The driver calls that may need a Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// CreateVolume and DeleteVolume.
    Provision,
    /// ControllerPublishVolume and its reverse.
    ControllerPublish,
    /// NodeStageVolume.
    NodeStage,
    /// NodePublishVolume.
    NodePublish,
    /// ControllerExpandVolume.
    ControllerExpand,
    /// NodeExpandVolume.
    NodeExpand,
    /// ControllerModifyVolume.
    ControllerModify,
}

/// The keys of one stage: name and namespace each.
struct Keys {
    current: [&'static str; 2],
    deprecated: Option<[&'static str; 2]>,
}

const DEFAULT: Keys = Keys {
    current: ["csi.storage.k8s.io/secret-name", "csi.storage.k8s.io/secret-namespace"],
    deprecated: None,
};

impl Stage {
    /// Every stage.
    pub const ALL: [Stage; 7] = [
        Stage::Provision,
        Stage::ControllerPublish,
        Stage::NodeStage,
        Stage::NodePublish,
        Stage::ControllerExpand,
        Stage::NodeExpand,
        Stage::ControllerModify,
    ];

    fn keys(self) -> Keys {
        match self {
            Stage::Provision => Keys {
                current: [
                    "csi.storage.k8s.io/provisioner-secret-name",
                    "csi.storage.k8s.io/provisioner-secret-namespace",
                ],
                deprecated: Some(["csiProvisionerSecretName", "csiProvisionerSecretNamespace"]),
            },
            Stage::ControllerPublish => Keys {
                current: [
                    "csi.storage.k8s.io/controller-publish-secret-name",
                    "csi.storage.k8s.io/controller-publish-secret-namespace",
                ],
                deprecated: Some(["csiControllerPublishSecretName", "csiControllerPublishSecretNamespace"]),
            },
            Stage::NodeStage => Keys {
                current: [
                    "csi.storage.k8s.io/node-stage-secret-name",
                    "csi.storage.k8s.io/node-stage-secret-namespace",
                ],
                deprecated: Some(["csiNodeStageSecretName", "csiNodeStageSecretNamespace"]),
            },
            Stage::NodePublish => Keys {
                current: [
                    "csi.storage.k8s.io/node-publish-secret-name",
                    "csi.storage.k8s.io/node-publish-secret-namespace",
                ],
                deprecated: Some(["csiNodePublishSecretName", "csiNodePublishSecretNamespace"]),
            },
            Stage::ControllerExpand => Keys {
                current: [
                    "csi.storage.k8s.io/controller-expand-secret-name",
                    "csi.storage.k8s.io/controller-expand-secret-namespace",
                ],
                deprecated: None,
            },
            Stage::NodeExpand => Keys {
                current: [
                    "csi.storage.k8s.io/node-expand-secret-name",
                    "csi.storage.k8s.io/node-expand-secret-namespace",
                ],
                deprecated: None,
            },
            Stage::ControllerModify => Keys {
                current: [
                    "csi.storage.k8s.io/controller-modify-secret-name",
                    "csi.storage.k8s.io/controller-modify-secret-namespace",
                ],
                deprecated: None,
            },
        }
    }
}

/// Where a Secret is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl SecretRef {
    /// Reads `namespace/name`.
    pub fn parse(text: &str) -> Option<Self> {
        let (namespace, name) = text.split_once('/')?;
        Some(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

impl std::fmt::Display for SecretRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Why a class's parameters name no Secret although they mean to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Old and new key, or twice the same part.
    #[error("StorageClass parameters {0} and {1} mean the same: remove the first")]
    Twice(&'static str, &'static str),
    /// A name without a namespace or the reverse.
    #[error("StorageClass parameter {present} requires {missing}: set both or neither")]
    Half {
        /// The key that is there.
        present: &'static str,
        /// The key that is not.
        missing: &'static str,
    },
    /// A key without a value.
    #[error("StorageClass parameter {0} is empty: remove it or give it a value")]
    Empty(&'static str),
    /// A template that cannot be resolved.
    #[error("StorageClass parameter {key}={}: {source}", quoted(template))]
    Template {
        /// The key.
        key: &'static str,
        /// Its value.
        template: String,
        /// What is wrong with it.
        source: TemplateError,
    },
    /// What a template resolved to is no object name.
    #[error(
        "StorageClass parameter {key}={} resolves to {}, which is not a valid {}: lower case letters, digits and - (names: also .)",
        quoted(template), quoted(resolved), if *is_name { "Secret name" } else { "namespace" }
    )]
    Invalid {
        /// The key.
        key: &'static str,
        /// Its value.
        template: String,
        /// What it resolved to.
        resolved: String,
        /// Whether it is the Secret's name, else its namespace.
        is_name: bool,
    },
}

type Parameters = BTreeMap<String, String>;

/// The Secret that a class names for a stage: by the stage's own keys, else by the default ones;
/// none if neither are there.
///
/// # Errors
/// [`ReferenceError`], naming the parameter.
pub fn reference(
    stage: Stage,
    parameters: &Parameters,
    facts: &Facts<'_>,
) -> Result<Option<SecretRef>, ReferenceError> {
    let pair = match templates(&stage.keys(), parameters)? {
        Some(pair) => Some(pair),
        None => templates(&DEFAULT, parameters)?,
    };
    let Some([name, namespace]) = pair else { return Ok(None) };
    Ok(Some(SecretRef {
        name: resolved(name, Part::Name, facts)?,
        namespace: resolved(namespace, Part::Namespace, facts)?,
    }))
}

/// A key and its value.
type Found<'a> = (&'static str, &'a str);

/// Name and namespace as written, if both are.
fn templates<'a>(keys: &Keys, parameters: &'a Parameters) -> Result<Option<[Found<'a>; 2]>, ReferenceError> {
    let find = |part: usize| -> Result<Option<Found<'a>>, ReferenceError> {
        let value = |keys: Option<[&'static str; 2]>| {
            let key = *keys.as_ref()?.get(part)?;
            parameters.get(key).map(|value| (key, value.as_str()))
        };
        match (value(keys.deprecated), value(Some(keys.current))) {
            (Some((old, _)), Some((new, _))) => Err(ReferenceError::Twice(old, new)),
            (old, new) => Ok(old.or(new)),
        }
    };
    let [name_key, namespace_key] = keys.current;
    match (find(0)?, find(1)?) {
        (None, None) => Ok(None),
        (Some((present, _)), None) => Err(ReferenceError::Half { present, missing: namespace_key }),
        (None, Some((present, _))) => Err(ReferenceError::Half { present, missing: name_key }),
        (Some((key, "")), Some(_)) | (Some(_), Some((key, ""))) => Err(ReferenceError::Empty(key)),
        (Some(name), Some(namespace)) => Ok(Some([name, namespace])),
    }
}

fn resolved((key, template): Found<'_>, part: Part, facts: &Facts<'_>) -> Result<String, ReferenceError> {
    let resolved = resolve(template, part, facts).map_err(|source| ReferenceError::Template {
        key,
        template: template.to_owned(),
        source,
    })?;
    let valid = match part {
        Part::Name => is_subdomain(&resolved),
        Part::Namespace => is_label(&resolved),
    };
    if valid {
        return Ok(resolved);
    }
    let template = template.to_owned();
    Err(ReferenceError::Invalid { key, template, resolved, is_name: part == Part::Name })
}

/// A parameter that only we could mean and nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("StorageClass parameter {0} is unknown: the prefix {PREFIX} is reserved")]
pub struct UnknownParameter(
    /// The key.
    pub String,
);

/// The parameters for the driver: all but the reserved ones. The deprecated keys are not reserved
/// and go to the driver too.
///
/// # Errors
/// [`UnknownParameter`] for the first key with the reserved prefix that is not one of ours.
pub fn strip_reserved(parameters: &Parameters) -> Result<Parameters, UnknownParameter> {
    let mut kept = Parameters::new();
    for (key, value) in parameters {
        if !key.starts_with(PREFIX) {
            kept.insert(key.clone(), value.clone());
        } else if !is_reserved(key) {
            return Err(UnknownParameter(key.clone()));
        }
    }
    Ok(kept)
}

fn is_reserved(key: &str) -> bool {
    key == FS_TYPE
        || DEFAULT.current.contains(&key)
        || Stage::ALL.iter().any(|stage| stage.keys().current.contains(&key))
}

/// Two parameters that name a file system.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("StorageClass parameters {0} and {1} both name a file system: remove one")]
pub struct FsTypeError(
    /// One key.
    pub String,
    /// Another.
    pub String,
);

/// The file system a class names (`csi.storage.k8s.io/fstype`, or `fstype` in any letter case),
/// else `default`. Either may be empty: then the driver chooses.
///
/// # Errors
/// [`FsTypeError`] if two parameters name one.
pub fn fs_type(parameters: &Parameters, default: &str) -> Result<String, FsTypeError> {
    let named = |key: &str| matches!(key.to_ascii_lowercase().as_str(), "fstype" | FS_TYPE);
    let mut found = parameters.iter().filter(|(key, _)| named(key));
    match (found.next(), found.next()) {
        (Some((one, _)), Some((other, _))) => Err(FsTypeError(one.clone(), other.clone())),
        (Some((_, value)), None) if !value.is_empty() => Ok(value.clone()),
        _ => Ok(default.to_owned()),
    }
}
