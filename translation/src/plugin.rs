//! The in-tree plugins and the drivers that replace them (docs/upstream/conventions.md, "In-tree plugins").

use k8s_openapi::api::core::v1::PersistentVolumeSpec;

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

    /// The plugin's name, as StorageClasses and annotations spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AwsEbs => "kubernetes.io/aws-ebs",
            Self::GcePd => "kubernetes.io/gce-pd",
            Self::AzureDisk => "kubernetes.io/azure-disk",
            Self::AzureFile => "kubernetes.io/azure-file",
            Self::Cinder => "kubernetes.io/cinder",
            Self::Vsphere => "kubernetes.io/vsphere-volume",
            Self::Portworx => "kubernetes.io/portworx-volume",
            Self::Rbd => "kubernetes.io/rbd",
        }
    }

    /// The CSI driver that replaces it.
    pub fn driver(self) -> &'static str {
        match self {
            Self::AwsEbs => "ebs.csi.aws.com",
            Self::GcePd => "pd.csi.storage.gke.io",
            Self::AzureDisk => "disk.csi.azure.com",
            Self::AzureFile => "file.csi.azure.com",
            Self::Cinder => "cinder.csi.openstack.org",
            Self::Vsphere => "csi.vsphere.vmware.com",
            Self::Portworx => "pxd.portworx.com",
            Self::Rbd => "rbd.csi.ceph.com",
        }
    }

    /// The plugin that `driver` replaces, if it replaces one. Names are case-sensitive.
    pub fn of_driver(driver: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|plugin| plugin.driver() == driver)
    }

    /// The plugin whose source the volume has; `None` for CSI volumes and for plugins nobody has replaced.
    pub fn of_volume(spec: &PersistentVolumeSpec) -> Option<Self> {
        let sources = [
            (spec.aws_elastic_block_store.is_some(), Self::AwsEbs),
            (spec.gce_persistent_disk.is_some(), Self::GcePd),
            (spec.azure_disk.is_some(), Self::AzureDisk),
            (spec.azure_file.is_some(), Self::AzureFile),
            (spec.cinder.is_some(), Self::Cinder),
            (spec.vsphere_volume.is_some(), Self::Vsphere),
            (spec.portworx_volume.is_some(), Self::Portworx),
            (spec.rbd.is_some(), Self::Rbd),
        ];
        sources.into_iter().find_map(|(present, plugin)| present.then_some(plugin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_in_tree_source_is_recognised() {
        for (source, plugin) in [
            (r#"{"awsElasticBlockStore": {"volumeID": "vol-1"}}"#, Plugin::AwsEbs),
            (r#"{"gcePersistentDisk": {"pdName": "disk"}}"#, Plugin::GcePd),
            (r#"{"azureDisk": {"diskName": "d", "diskURI": "u"}}"#, Plugin::AzureDisk),
            (r#"{"azureFile": {"secretName": "s", "shareName": "n"}}"#, Plugin::AzureFile),
            (r#"{"cinder": {"volumeID": "v"}}"#, Plugin::Cinder),
            (r#"{"vsphereVolume": {"volumePath": "p"}}"#, Plugin::Vsphere),
            (r#"{"portworxVolume": {"volumeID": "v"}}"#, Plugin::Portworx),
            (r#"{"rbd": {"image": "i", "monitors": ["m"]}}"#, Plugin::Rbd),
        ] {
            let spec = serde_json::from_str(source).unwrap();
            assert_eq!(Plugin::of_volume(&spec), Some(plugin), "{source}");
            assert_eq!(Plugin::of_driver(plugin.driver()), Some(plugin));
        }
    }

    #[test]
    fn other_sources_and_drivers_are_nobodys() {
        for source in [
            r#"{"csi": {"driver": "d", "volumeHandle": "h"}}"#,
            r#"{"nfs": {"server": "s", "path": "/"}}"#,
            "{}",
        ] {
            let spec = serde_json::from_str(source).unwrap();
            assert_eq!(Plugin::of_volume(&spec), None, "{source}");
        }
        assert_eq!(Plugin::of_driver("kubernetes.io/aws-ebs"), None);
        assert_eq!(Plugin::of_driver("EBS.csi.aws.com"), None);
    }
}
