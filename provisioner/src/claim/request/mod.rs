//! Builds the CreateVolume request for a claim, in upstream's order (docs/upstream/provisioner.md, "Request").
//!
//! One file for each part: what the claim asks for ([`validate`]), what the volume is filled with ([`source`]), where it
//! is to be ([`place`]), which Secrets belong to it ([`secrets`]), which parameters the driver gets ([`strip`]), and
//! those of its VolumeAttributesClass ([`attributes`]), which is read last. No part awaits: what a part has to know of the cluster is read
//! before it and given to it.

mod attributes;
mod place;
mod secrets;
mod source;
mod strip;
mod validate;

use std::collections::BTreeMap;

use csi::v1;
use kubernetes::object::{Claim, Class};

pub(crate) use self::attributes::mutable_parameters;
pub(crate) use self::secrets::SecretRefs;
pub(crate) use self::source::{Asked, Found, SourceError, asked, fills_from, may_refer, named};

use self::place::place;
use self::secrets::secret_refs;
use self::source::{check_kind, content_source};
use self::strip::parameters;
use self::validate::validate;
use super::error::ProvisionError;
use crate::config::Config;
use crate::migration;
use crate::topology::{Known, Placement};

/// Everything that is known about a claim's volume before the driver is called.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    /// Name of the volume and of its object.
    pub(crate) name: String,
    /// The request, without the content of the provision Secret, topology terms and mutable parameters.
    pub(crate) request: v1::CreateVolumeRequest,
    /// The topology terms, which the claims of a large cluster share.
    pub(crate) placement: Option<Placement>,
    /// The name of the VolumeAttributesClass; empty if it has none that counts.
    pub(crate) attributes_class: Box<str>,
    /// Its parameters, once they are read.
    pub(crate) mutable_parameters: BTreeMap<String, String>,
    /// Bytes asked for.
    pub(crate) bytes: i64,
    /// File system; empty when the driver chooses.
    pub(crate) fs_type: String,
    /// The Secrets of each stage.
    pub(crate) secrets: SecretRefs,
    /// Whether the class is that of the in-tree plugin which the driver has replaced.
    pub(crate) migrated: bool,
}

impl Prepared {
    /// The request as it is sent, but for the content of its Secret.
    pub(crate) fn whole(&self) -> v1::CreateVolumeRequest {
        let mut request = self.unplaced();
        if let Some(placement) = &self.placement {
            request.accessibility_requirements = Some(placement.requirement());
        }
        request
    }

    /// The same without the topology terms of [`Prepared::placement`].
    pub(crate) fn unplaced(&self) -> v1::CreateVolumeRequest {
        let mut request = self.request.clone();
        request.mutable_parameters.extend(self.mutable_parameters.clone());
        request
    }
}

/// What the claim's volume may be filled from, given what was read of its source; `None` for an empty volume.
///
/// # Errors
/// It may not be filled from what the claim names.
pub(crate) fn source_of(
    config: &Config,
    claim: &Claim,
    bytes: i64,
    found: &Found,
) -> Result<Option<v1::VolumeContentSource>, SourceError> {
    content_source(config, claim, bytes, asked(config, claim)?.as_ref(), found)
}

/// Builds the request. `found` is what was read of the claim's source. The first part that refuses decides the error.
pub(crate) fn prepare(
    config: &Config,
    claim: &Claim,
    class: &Class,
    name: String,
    known: &Known,
    found: &Found,
) -> Result<Prepared, ProvisionError> {
    let asked = asked(config, claim)?;
    check_kind(claim, asked.as_ref(), found)?;
    let plugin = config.names().plugin(&class.provisioner);
    let translated = plugin.map(|plugin| migration::translated(config.plugins, plugin, class)).transpose()?;
    let class = translated.as_ref().unwrap_or(class);
    let wanted = validate(config, claim, class, asked.as_ref())?;
    let volume_content_source = content_source(config, claim, wanted.bytes, asked.as_ref(), found)?;
    let placement = place(config, claim, class, known)?;
    let secrets = secret_refs(claim, class, &name)?;
    let parameters = parameters(config, claim, class, &name)?;
    let request = v1::CreateVolumeRequest {
        name: name.clone(),
        capacity_range: Some(v1::CapacityRange { required_bytes: wanted.bytes, limit_bytes: 0 }),
        volume_capabilities: wanted.capabilities,
        parameters,
        volume_content_source,
        ..v1::CreateVolumeRequest::default()
    };
    Ok(Prepared {
        name,
        request,
        placement,
        attributes_class: if config.names_attributes(claim) {
            claim.attributes_class.clone()
        } else {
            Box::default()
        },
        mutable_parameters: BTreeMap::new(),
        bytes: wanted.bytes,
        fs_type: wanted.fs_type,
        secrets,
        migrated: plugin.is_some(),
    })
}
