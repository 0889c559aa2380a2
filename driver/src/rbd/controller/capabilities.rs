//! What the driver says of itself, and in which ways a volume can be used.

use csi::v1;
use v1::controller_service_capability as capability;
use v1::controller_service_capability::rpc::Type;
use v1::plugin_capability as plugin;
use v1::volume_capability::AccessType;
use v1::volume_capability::access_mode::Mode;

use crate::check;
use crate::controller::common_access;
use crate::rbd::credentials;
use crate::rbd::driver::Rbd;
use crate::rbd::handle::Id;
use crate::rbd::image;
use crate::rbd::names::Kind;
use crate::refusal::Refusal;
use crate::store::Access;

impl Rbd {
    /// Name and version.
    pub(crate) fn plugin_info(&self) -> v1::GetPluginInfoResponse {
        v1::GetPluginInfoResponse {
            name: self.options.name.clone(),
            vendor_version: env!("CARGO_PKG_VERSION").to_owned(),
            manifest: Default::default(),
        }
    }

    /// The controller's service, and growth while a volume is in use.
    pub(crate) fn plugin_capabilities(&self) -> v1::GetPluginCapabilitiesResponse {
        use plugin::service::Type as Service;
        let service = plugin::Type::Service(plugin::Service { r#type: Service::ControllerService as i32 });
        let online = plugin::VolumeExpansion { r#type: plugin::volume_expansion::Type::Online as i32 };
        let kinds = [service, plugin::Type::VolumeExpansion(online)];
        let entry = |kind| v1::PluginCapability { r#type: Some(kind) };
        v1::GetPluginCapabilitiesResponse { capabilities: kinds.map(entry).to_vec() }
    }

    /// What the controller's service advertises.
    ///
    /// Differs: ceph-csi has neither LIST_VOLUMES nor GET_CAPACITY. Their requests carry no secrets, so ours has them
    /// only with `--ceph-secret-folder`.
    pub(crate) fn controller_capabilities(&self) -> v1::ControllerGetCapabilitiesResponse {
        let mut kinds = vec![
            Type::CreateDeleteVolume,
            Type::CreateDeleteSnapshot,
            Type::CloneVolume,
            Type::ExpandVolume,
            Type::SingleNodeMultiWriter,
        ];
        if self.options.secret_folder.is_some() {
            kinds.extend([Type::ListVolumes, Type::GetCapacity]);
        }
        kinds.retain(|kind| !self.options.hidden.contains(kind.as_str_name()));
        let entry = |kind: Type| v1::ControllerServiceCapability {
            r#type: Some(capability::Type::Rpc(capability::Rpc { r#type: kind as i32 })),
        };
        v1::ControllerGetCapabilitiesResponse { capabilities: kinds.into_iter().map(entry).collect() }
    }

    /// Whether a volume can be used in these ways.
    ///
    /// Differs: ceph-csi confirms SINGLE_NODE_WRITER only, and looks for no volume; ours confirms what CreateVolume takes.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field; NOT_FOUND.
    pub(crate) fn validate(
        &self,
        request: v1::ValidateVolumeCapabilitiesRequest,
    ) -> Result<v1::ValidateVolumeCapabilitiesResponse, Refusal> {
        check::validation(&request)?;
        let _call = self.calls.take()?;
        let unknown = || Refusal::no_volume(&request.volume_id);
        let id = Id::parse(&request.volume_id).ok_or_else(unknown)?;
        let (pool, name) =
            self.located(id, credentials::of_secrets(&request.secrets)?)?.ok_or_else(unknown)?;
        image::look(&pool, &name)?.ok_or_else(unknown)?;
        // A clone may be read from many nodes, and nobody asks here whether this is one.
        if let Err(refusal) = usable(&request.volume_capabilities, true) {
            return Ok(v1::ValidateVolumeCapabilitiesResponse {
                confirmed: None,
                message: refusal.to_string(),
            });
        }
        let confirmed = v1::validate_volume_capabilities_response::Confirmed {
            volume_context: request.volume_context,
            volume_capabilities: request.volume_capabilities,
            parameters: request.parameters,
            mutable_parameters: request.mutable_parameters,
        };
        Ok(v1::ValidateVolumeCapabilitiesResponse { confirmed: Some(confirmed), message: String::new() })
    }

    /// The pool and the name of a volume's image; none if nobody knows the volume.
    ///
    /// # Errors
    /// Ceph's.
    pub(super) fn located(
        &self,
        id: Id,
        who: credentials::Credentials,
    ) -> Result<Option<(std::sync::Arc<crate::rbd::ceph::Pool>, String)>, Refusal> {
        match id {
            Id::Journal(handle) => {
                let known = self.known(handle, Kind::Volume, who)?;
                Ok(known.map(|known| (std::sync::Arc::clone(known.pool()), known.attributes.image)))
            }
            Id::Migrated(volume) => {
                let site = self.site(&volume.cluster, who)?;
                Ok(site.pool_named(&volume.pool)?.map(|pool| (pool, volume.image)))
            }
        }
    }
}

/// Whether a volume can be used in these ways; one that has content from elsewhere can be read on many nodes.
///
/// # Errors
/// INVALID_ARGUMENT, with the access mode.
pub(super) fn usable(capabilities: &[v1::VolumeCapability], has_content: bool) -> Result<(), Refusal> {
    let access = common_access(capabilities)?;
    for capability in capabilities {
        let mode = capability.access_mode.map_or(0, |mode| mode.mode);
        let wrong = |reason: &str| Err(Refusal::invalid("volume_capabilities", reason));
        match Mode::try_from(mode) {
            Ok(Mode::SingleNodeWriter | Mode::SingleNodeSingleWriter | Mode::SingleNodeMultiWriter) => {}
            Ok(Mode::SingleNodeReaderOnly | Mode::MultiNodeReaderOnly) if has_content => {}
            Ok(Mode::MultiNodeSingleWriter | Mode::MultiNodeMultiWriter) if access == Access::Block => {}
            Ok(Mode::SingleNodeReaderOnly | Mode::MultiNodeReaderOnly) => {
                return wrong("a volume to be read only needs a volume_content_source");
            }
            Ok(Mode::MultiNodeSingleWriter | Mode::MultiNodeMultiWriter) => {
                return wrong(
                    "a file system can be mounted for writing on one node only: use a block volume",
                );
            }
            Ok(Mode::Unknown) | Err(_) => return wrong("access_mode is unknown"),
        }
        if let Some(AccessType::Mount(mount)) = &capability.access_type
            && !["", "ext4", "xfs"].contains(&mount.fs_type.as_str())
        {
            return wrong("fs_type must be ext4 or xfs");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use v1::volume_capability::{AccessMode, BlockVolume, MountVolume};

    use super::*;

    #[test]
    fn many_nodes_write_to_blocks_only_and_read_copies_only() {
        let block = || AccessType::Block(BlockVolume {});
        let mount = |fs_type: &str| {
            AccessType::Mount(MountVolume { fs_type: fs_type.to_owned(), ..MountVolume::default() })
        };
        for (access, mode, has_content, is_usable) in [
            (mount(""), Mode::SingleNodeWriter, false, true),
            (mount("xfs"), Mode::SingleNodeMultiWriter, false, true),
            (mount("ntfs"), Mode::SingleNodeWriter, false, false),
            (mount("ext4"), Mode::MultiNodeMultiWriter, false, false),
            (mount("ext4"), Mode::MultiNodeMultiWriter, true, false),
            (block(), Mode::MultiNodeMultiWriter, false, true),
            (block(), Mode::MultiNodeSingleWriter, false, true),
            (mount("ext4"), Mode::MultiNodeReaderOnly, false, false),
            (mount("ext4"), Mode::MultiNodeReaderOnly, true, true),
            (block(), Mode::SingleNodeReaderOnly, false, false),
            (block(), Mode::Unknown, true, false),
        ] {
            let capability = v1::VolumeCapability {
                access_type: Some(access.clone()),
                access_mode: Some(AccessMode { mode: mode as i32 }),
            };
            let found = usable(&[capability], has_content);
            assert_eq!(found.is_ok(), is_usable, "{access:?} {mode:?} {has_content}: {found:?}");
        }
    }
}
