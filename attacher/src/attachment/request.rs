//! Builds the two requests to the driver (docs/upstream/attacher.md, "Requests").

use std::collections::BTreeMap;

use csi::access::{AccessError, of_volume};
use csi::v1::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use csi::v1::{ControllerPublishVolumeRequest, ControllerUnpublishVolumeRequest, VolumeCapability};
use kubernetes::object::{CsiSource, VolumeSpec};

use crate::config::Config;

/// Builds ControllerPublishVolume for a volume and a node. The secrets are added later.
///
/// # Errors
/// The access modes have no CSI equivalent.
pub(crate) fn publish(
    config: &Config,
    spec: &VolumeSpec,
    csi: &CsiSource,
    node_id: &str,
) -> Result<ControllerPublishVolumeRequest, AccessError> {
    let attributes = csi.volume_attributes.iter().flat_map(|pairs| pairs.iter());
    Ok(ControllerPublishVolumeRequest {
        volume_id: csi.volume_handle.to_string(),
        node_id: node_id.to_owned(),
        volume_capability: Some(capability(config, spec, csi)?),
        readonly: csi.read_only && config.can.read_only,
        secrets: BTreeMap::new(),
        volume_context: attributes.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
    })
}

/// Builds ControllerUnpublishVolume for a volume and a node. The secrets are added later.
pub(crate) fn unpublish(handle: &str, node_id: &str) -> ControllerUnpublishVolumeRequest {
    ControllerUnpublishVolumeRequest {
        volume_id: handle.to_owned(),
        node_id: node_id.to_owned(),
        secrets: BTreeMap::new(),
    }
}

fn capability(config: &Config, spec: &VolumeSpec, csi: &CsiSource) -> Result<VolumeCapability, AccessError> {
    let access_type = if spec.block {
        AccessType::Block(BlockVolume {})
    } else {
        let fs_type: &str = if csi.fs_type.is_empty() { &config.default_fs } else { &csi.fs_type };
        AccessType::Mount(MountVolume {
            fs_type: fs_type.to_string(),
            mount_flags: spec.mount_options.iter().map(|option| option.to_string()).collect(),
            ..MountVolume::default()
        })
    };
    let mode = of_volume(&spec.access_modes, config.can.single_node_multi_writer)?;
    let access_mode = Some(AccessMode { mode: mode.into() });
    Ok(VolumeCapability { access_mode, access_type: Some(access_type) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Capabilities;
    use crate::fixture::{config, volume};
    use csi::v1::volume_capability::access_mode::Mode;
    use serde_json::{Value, json};

    fn request(config: &Config, spec: Value) -> Result<ControllerPublishVolumeRequest, AccessError> {
        let volume = volume(json!({"spec": spec}));
        publish(config, &volume.spec, volume.spec.csi.as_ref().unwrap(), "node-id")
    }

    fn mount(fs_type: &str, flags: &[&str]) -> Option<AccessType> {
        let mount_flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Some(AccessType::Mount(MountVolume {
            fs_type: fs_type.to_owned(),
            mount_flags,
            ..Default::default()
        }))
    }

    #[test]
    fn everything_the_driver_needs_is_in_the_request() {
        let attributes = json!({"storage.kubernetes.io/csiProvisionerIdentity": "x", "a": "b"});
        let made = request(&config(), json!({"csi": {"volumeAttributes": attributes}})).unwrap();
        assert_eq!(
            (made.volume_id.as_str(), made.node_id.as_str(), made.readonly),
            ("handle1", "node-id", false)
        );
        assert_eq!(serde_json::to_value(&made.volume_context).unwrap(), attributes);
        assert!(made.secrets.is_empty());
    }

    #[test]
    fn read_only_needs_both_the_volume_and_the_driver() {
        for (volume, driver) in [(false, false), (false, true), (true, false), (true, true)] {
            let can = Capabilities { read_only: driver, ..config().can };
            let made = request(&Config { can, ..config() }, json!({"csi": {"readOnly": volume}})).unwrap();
            assert_eq!(made.readonly, volume && driver);
        }
    }

    #[test]
    fn access_type_follows_volume_mode_file_system_and_options() {
        let block = Some(AccessType::Block(BlockVolume {}));
        for (spec, default, expected) in [
            (json!({}), "", mount("", &[])),
            (json!({"volumeMode": "Filesystem"}), "ext4", mount("ext4", &[])),
            (json!({"csi": {"fsType": "xfs"}}), "ext4", mount("xfs", &[])),
            (
                json!({"csi": {"fsType": "xfs"}, "mountOptions": ["ro", "noatime"]}),
                "",
                mount("xfs", &["ro", "noatime"]),
            ),
            (json!({"volumeMode": "Block"}), "ext4", block.clone()),
            (json!({"volumeMode": "Block", "csi": {"fsType": "xfs"}, "mountOptions": ["ro"]}), "", block),
        ] {
            let config = Config { default_fs: default.into(), ..config() };
            let made = request(&config, spec.clone()).unwrap();
            assert_eq!(made.volume_capability.unwrap().access_type, expected, "{spec}");
        }
    }

    #[test]
    fn access_modes_amount_to_one() {
        let (once, many, read, pod) = ("ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany", "ReadWriteOncePod");
        for (modes, without, with) in [
            (&[many][..], Ok(Mode::MultiNodeMultiWriter), Ok(Mode::MultiNodeMultiWriter)),
            (&[many, once], Ok(Mode::MultiNodeMultiWriter), Ok(Mode::MultiNodeMultiWriter)),
            (&[many, read], Ok(Mode::MultiNodeMultiWriter), Ok(Mode::MultiNodeMultiWriter)),
            (&[read], Ok(Mode::MultiNodeReaderOnly), Ok(Mode::MultiNodeReaderOnly)),
            (&[once], Ok(Mode::SingleNodeWriter), Ok(Mode::SingleNodeMultiWriter)),
            (&[pod], Ok(Mode::SingleNodeWriter), Ok(Mode::SingleNodeSingleWriter)),
            (&[read, once], Err(AccessError::ReadOnlyManyWithOnce), Err(AccessError::ReadOnlyManyWithOnce)),
            (&[pod, once], Err(AccessError::PodWithOthers), Err(AccessError::PodWithOthers)),
            (&[], Err(AccessError::None), Err(AccessError::None)),
        ] {
            for (multi_writer, expected) in [(false, without), (true, with)] {
                let can = Capabilities { single_node_multi_writer: multi_writer, ..config().can };
                let made = request(&Config { can, ..config() }, json!({"accessModes": modes}));
                let mode = made.map(|made| made.volume_capability.unwrap().access_mode.unwrap().mode());
                assert_eq!(mode, expected, "{modes:?}, multi-writer {multi_writer}");
            }
        }
    }

    #[test]
    fn withdrawing_names_volume_and_node_only() {
        let made = unpublish("h", "n");
        assert_eq!((made.volume_id.as_str(), made.node_id.as_str(), made.secrets.len()), ("h", "n", 0));
    }
}
