//! Which Secrets belong to the volume (docs/upstream/provisioner.md, "Class parameters").

use std::collections::BTreeMap;

use kubernetes::object::{Claim, Class};
use kubernetes::secret::{ClaimFacts, Facts, SecretRef, Stage, reference};

use super::super::error::ProvisionError;

/// Where the Secrets of each stage are, if there are any.
#[derive(Debug, Clone, Default)]
pub(crate) struct SecretRefs {
    /// CreateVolume and DeleteVolume.
    pub(crate) provision: Option<SecretRef>,
    /// ControllerPublishVolume.
    pub(crate) controller_publish: Option<SecretRef>,
    /// NodeStageVolume.
    pub(crate) node_stage: Option<SecretRef>,
    /// NodePublishVolume.
    pub(crate) node_publish: Option<SecretRef>,
    /// ControllerExpandVolume.
    pub(crate) controller_expand: Option<SecretRef>,
    /// NodeExpandVolume.
    pub(crate) node_expand: Option<SecretRef>,
    /// ControllerModifyVolume.
    pub(crate) controller_modify: Option<SecretRef>,
}

/// Finds the Secrets that the class names for this claim.
///
/// # Errors
/// A reference in the class's parameters cannot be resolved.
pub(super) fn secret_refs(claim: &Claim, class: &Class, name: &str) -> Result<SecretRefs, ProvisionError> {
    let annotations: BTreeMap<String, String> =
        claim.meta.annotations.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let of_claim = ClaimFacts {
        namespace: claim.meta.namespace(),
        name: claim.meta.name(),
        annotations: Some(&annotations),
    };
    let facts = Facts { volume_name: name, claim: Some(of_claim) };
    let find = |stage| reference(stage, &class.parameters, &facts);
    Ok(SecretRefs {
        provision: find(Stage::Provision)?,
        controller_publish: find(Stage::ControllerPublish)?,
        node_stage: find(Stage::NodeStage)?,
        node_publish: find(Stage::NodePublish)?,
        controller_expand: find(Stage::ControllerExpand)?,
        node_expand: find(Stage::NodeExpand)?,
        controller_modify: find(Stage::ControllerModify)?,
    })
}
