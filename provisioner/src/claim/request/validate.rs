//! What the claim asks for: size, access and file system. Refuses what the driver cannot do.

use base::quantity::Quantity;
use csi::access::of_claim_mode;
use csi::v1;
use kubernetes::object::{Claim, Class};
use kubernetes::secret::fs_type;

use super::super::error::ProvisionError;
use super::source::{Asked, check_driver};
use crate::config::Config;

/// What a claim asks for.
pub(super) struct Wanted {
    pub(super) capabilities: Vec<v1::VolumeCapability>,
    pub(super) bytes: i64,
    pub(super) fs_type: String,
}

/// Reads what the claim asks for.
///
/// # Errors
/// The driver or this release cannot do it, or the claim cannot be read. The error names the field, so that nothing is
/// ignored silently.
pub(super) fn validate(
    config: &Config,
    claim: &Claim,
    class: &Class,
    asked: Option<&Asked>,
) -> Result<Wanted, ProvisionError> {
    use ProvisionError::NotSupported;
    if !config.can.controller {
        return Err(NotSupported("dynamic provisioning: controller service missing"));
    }
    if !config.can.create_delete {
        return Err(NotSupported("dynamic provisioning: CREATE_DELETE_VOLUME missing"));
    }
    check_driver(config, asked)?;
    if config.names_attributes(claim) && !config.can.modify {
        return Err(NotSupported("VolumeAttributesClass: MODIFY_VOLUME missing"));
    }
    if claim.has_selector {
        return Err(ProvisionError::Selector);
    }
    let fs_type = fs_type(&class.parameters, &config.default_fs)?;
    let capabilities = capabilities(config, claim, class, &fs_type)?;
    Ok(Wanted { capabilities, bytes: requested_bytes(claim)?, fs_type })
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
