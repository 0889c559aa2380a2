//! The in-tree plugins and the drivers that replace them (docs/upstream/migration.md).

use k8s_openapi::api::core::v1::{PersistentVolumeSpec, Volume};

use crate::in_tree::InTreePlugin;
use crate::plugins::{AwsEbs, AzureDisk, AzureFile, Cinder, GcePd, Portworx, Rbd, Vsphere};

/// An in-tree plugin that a CSI driver has replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Plugin {
    /// `kubernetes.io/aws-ebs`
    AwsEbs,
    /// `kubernetes.io/gce-pd`
    GcePd,
    /// `kubernetes.io/azure-disk`
    AzureDisk,
    /// `kubernetes.io/azure-file`
    AzureFile,
    /// `kubernetes.io/cinder`
    Cinder,
    /// `kubernetes.io/vsphere-volume`
    Vsphere,
    /// `kubernetes.io/portworx-volume`
    Portworx,
    /// `kubernetes.io/rbd`
    Rbd,
}

impl Plugin {
    /// Every plugin.
    pub const ALL: [Self; 8] = [
        Self::AwsEbs,
        Self::GcePd,
        Self::AzureDisk,
        Self::AzureFile,
        Self::Cinder,
        Self::Vsphere,
        Self::Portworx,
        Self::Rbd,
    ];

    /// The plugin's own operations.
    pub(crate) fn operations(self) -> &'static dyn InTreePlugin {
        match self {
            Self::AwsEbs => &AwsEbs,
            Self::GcePd => &GcePd,
            Self::AzureDisk => &AzureDisk,
            Self::AzureFile => &AzureFile,
            Self::Cinder => &Cinder,
            Self::Vsphere => &Vsphere,
            Self::Portworx => &Portworx,
            Self::Rbd => &Rbd,
        }
    }

    /// The plugin's name, as StorageClasses and annotations spell it.
    pub fn name(self) -> &'static str {
        self.operations().name()
    }

    /// The CSI driver that replaces it.
    pub fn driver(self) -> &'static str {
        self.operations().driver()
    }

    /// The plugin of this name, if a driver replaces it. Names are case-sensitive.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|plugin| plugin.name() == name)
    }

    /// The plugin that `driver` replaces, if it replaces one. Names are case-sensitive.
    pub fn of_driver(driver: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|plugin| plugin.driver() == driver)
    }

    /// The plugin whose source the volume has; `None` for CSI volumes and for plugins nobody has replaced.
    pub fn of_volume(spec: &PersistentVolumeSpec) -> Option<Self> {
        Self::ALL.into_iter().find(|plugin| plugin.operations().supports(spec))
    }

    /// The plugin whose source a pod's volume has; `None` for other volumes.
    pub fn of_inline(volume: &Volume) -> Option<Self> {
        Self::ALL.into_iter().find(|plugin| plugin.operations().supports_inline(volume))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_in_tree_source_is_recognised() {
        for (source, plugin) in [
            (json!({"awsElasticBlockStore": {"volumeID": "vol-1"}}), Plugin::AwsEbs),
            (json!({"gcePersistentDisk": {"pdName": "disk"}}), Plugin::GcePd),
            (json!({"azureDisk": {"diskName": "d", "diskURI": "u"}}), Plugin::AzureDisk),
            (json!({"azureFile": {"secretName": "s", "shareName": "n"}}), Plugin::AzureFile),
            (json!({"cinder": {"volumeID": "v"}}), Plugin::Cinder),
            (json!({"vsphereVolume": {"volumePath": "p"}}), Plugin::Vsphere),
            (json!({"portworxVolume": {"volumeID": "v"}}), Plugin::Portworx),
            (json!({"rbd": {"image": "i", "monitors": ["m"]}}), Plugin::Rbd),
        ] {
            let spec = serde_json::from_value(source.clone()).unwrap();
            assert_eq!(Plugin::of_volume(&spec), Some(plugin), "{source}");
            let mut inline = source.clone();
            inline["name"] = "v".into();
            let inline = serde_json::from_value(inline).unwrap();
            assert_eq!(Plugin::of_inline(&inline), Some(plugin), "{source}");
            assert_eq!(Plugin::of_driver(plugin.driver()), Some(plugin));
            assert_eq!(Plugin::of_name(plugin.name()), Some(plugin));
        }
    }

    #[test]
    fn other_sources_and_names_are_nobodys() {
        for source in [
            json!({"csi": {"driver": "d", "volumeHandle": "h"}}),
            json!({"nfs": {"server": "s", "path": "/"}}),
            json!({}),
        ] {
            let spec = serde_json::from_value(source.clone()).unwrap();
            assert_eq!(Plugin::of_volume(&spec), None, "{source}");
        }
        assert_eq!(Plugin::of_inline(&Volume::default()), None);
        assert_eq!(Plugin::of_driver("kubernetes.io/aws-ebs"), None);
        assert_eq!(Plugin::of_driver("EBS.csi.aws.com"), None);
        assert_eq!(Plugin::of_name("ebs.csi.aws.com"), None);
        assert_eq!(Plugin::of_name("kubernetes.io/AWS-EBS"), None);
    }
}
