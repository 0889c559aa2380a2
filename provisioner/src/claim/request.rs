//! Builds the CreateVolume request for a claim: fifteen checks, in upstream's order
//! (docs/upstream/provisioner.md, "Request").

use std::collections::BTreeMap;

use base::quantity::Quantity;
use csi::access::of_claim_mode;
use csi::v1;
use kubernetes::object::{Claim, Class};
use kubernetes::secret::{ClaimFacts, Facts, SecretRef, Stage, fs_type, reference, strip_reserved};

use super::eligible::names_namespace;
use super::error::ProvisionError;
use crate::config::Config;

/// Everything that is known about a claim's volume before the driver is called.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Name of the volume and of its object.
    pub name: String,
    /// The request, without the content of the provision Secret.
    pub request: v1::CreateVolumeRequest,
    /// Bytes asked for.
    pub bytes: i64,
    /// File system; empty when the driver chooses.
    pub fs_type: String,
    /// The secrets of each stage.
    pub secrets: SecretRefs,
}

/// Where the secrets of each stage are, if there are any.
#[derive(Debug, Clone, Default)]
pub struct SecretRefs {
    /// CreateVolume and DeleteVolume.
    pub provision: Option<SecretRef>,
    /// ControllerPublishVolume.
    pub controller_publish: Option<SecretRef>,
    /// NodeStageVolume.
    pub node_stage: Option<SecretRef>,
    /// NodePublishVolume.
    pub node_publish: Option<SecretRef>,
    /// ControllerExpandVolume.
    pub controller_expand: Option<SecretRef>,
    /// NodeExpandVolume.
    pub node_expand: Option<SecretRef>,
    /// ControllerModifyVolume.
    pub controller_modify: Option<SecretRef>,
}

/// Builds the request. The first check that fails decides the error.
pub fn prepare(
    config: &Config,
    claim: &Claim,
    class: &Class,
    name: String,
) -> Result<Prepared, ProvisionError> {
    check_features(config, claim, class)?;
    if claim.has_selector {
        return Err(ProvisionError::Selector);
    }
    let fs_type = fs_type(&class.parameters, &config.default_fs)?;
    let capabilities = capabilities(config, claim, class, &fs_type)?;
    let bytes = requested_bytes(claim)?;
    let secrets = secret_refs(claim, class, &name)?;
    let mut parameters = strip_reserved(&class.parameters)?;
    if config.extra_metadata {
        parameters.extend(metadata(claim, &name));
    }
    let request = v1::CreateVolumeRequest {
        name: name.clone(),
        capacity_range: Some(v1::CapacityRange { required_bytes: bytes, limit_bytes: 0 }),
        volume_capabilities: capabilities,
        parameters,
        ..v1::CreateVolumeRequest::default()
    };
    Ok(Prepared { name, request, bytes, fs_type, secrets })
}

/// Refuses what the driver or this release cannot do. The error names it, so that nothing is ignored
/// silently.
fn check_features(config: &Config, claim: &Claim, class: &Class) -> Result<(), ProvisionError> {
    use ProvisionError::{NotAvailable, NotSupported};
    if *class.provisioner != *config.driver {
        return Err(NotAvailable("migration of in-tree volumes"));
    }
    if names_namespace(claim) {
        return Err(NotAvailable("filling a volume from another namespace (spec.dataSourceRef.namespace)"));
    }
    if claim.data_source.is_some() || claim.data_source_ref.is_some() {
        return Err(NotAvailable("filling a volume from spec.dataSource"));
    }
    if !config.can.controller {
        return Err(NotSupported("dynamic provisioning: controller service missing"));
    }
    if !config.can.create_delete {
        return Err(NotSupported("dynamic provisioning: CREATE_DELETE_VOLUME missing"));
    }
    if config.attributes_classes && !claim.attributes_class.is_empty() {
        let modifies = config.can.modify;
        return Err(if modifies {
            NotAvailable("spec.volumeAttributesClassName")
        } else {
            NotSupported("VolumeAttributesClass: MODIFY_VOLUME missing")
        });
    }
    if config.uses_topology() {
        return Err(NotAvailable("topology (start the provisioner with --feature-gates=Topology=false)"));
    }
    Ok(())
}

fn capabilities(
    config: &Config,
    claim: &Claim,
    class: &Class,
    fs_type: &str,
) -> Result<Vec<v1::VolumeCapability>, ProvisionError> {
    use v1::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
    let access_type = if claim.volume_mode.as_deref() == Some("Block") {
        AccessType::Block(BlockVolume {})
    } else {
        AccessType::Mount(MountVolume {
            fs_type: fs_type.to_owned(),
            mount_flags: class.mount_options.iter().map(|option| (**option).to_owned()).collect(),
            ..MountVolume::default()
        })
    };
    let capability = |mode: &str| {
        let mode = of_claim_mode(mode, config.can.single_node_multi_writer)?;
        let access_mode = Some(AccessMode { mode: mode.into() });
        Ok(v1::VolumeCapability { access_mode, access_type: Some(access_type.clone()) })
    };
    claim.access_modes.iter().map(|mode| capability(mode)).collect()
}

fn requested_bytes(claim: &Claim) -> Result<i64, ProvisionError> {
    let failed = || ProvisionError::Request(claim.request.to_string());
    Quantity::parse(&claim.request).and_then(|quantity| quantity.value()).map_err(|_| failed())
}

fn secret_refs(claim: &Claim, class: &Class, name: &str) -> Result<SecretRefs, ProvisionError> {
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

fn metadata(claim: &Claim, name: &str) -> [(String, String); 3] {
    [
        ("csi.storage.k8s.io/pvc/name".to_owned(), claim.meta.name().to_owned()),
        ("csi.storage.k8s.io/pvc/namespace".to_owned(), claim.meta.namespace().to_owned()),
        ("csi.storage.k8s.io/pv/name".to_owned(), name.to_owned()),
    ]
}
