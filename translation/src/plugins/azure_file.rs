//! Azure's file shares.
//!
//! A handle is `<resource group>#<account>#<share>#<volume's name>#<namespace of the Secret>`.

use k8s_openapi::api::core::v1::{
    AzureFilePersistentVolumeSource, CSIPersistentVolumeSource, PersistentVolume, PersistentVolumeSpec,
    SecretReference, Volume,
};
use k8s_openapi::api::storage::v1::StorageClass;

use crate::error::TranslationError;
use crate::in_tree::InTreePlugin;
use crate::source::{MANY, attribute, filled, inline_volume, set, take, take_csi};

const NAME: &str = "kubernetes.io/azure-file";
const DRIVER: &str = "file.csi.azure.com";
/// The annotation of a volume that names its resource group.
const RESOURCE_GROUP: &str = "kubernetes.io/azure-file-resource-group";
const SHARE: &str = "sharename";
/// The namespace of a Secret that nothing else tells.
const DEFAULT_NAMESPACE: &str = "default";

/// The plugin.
pub(crate) struct AzureFile;

impl InTreePlugin for AzureFile {
    fn name(&self) -> &'static str {
        NAME
    }

    fn driver(&self) -> &'static str {
        DRIVER
    }

    fn supports(&self, spec: &PersistentVolumeSpec) -> bool {
        spec.azure_file.is_some()
    }

    fn supports_inline(&self, volume: &Volume) -> bool {
        volume.azure_file.is_some()
    }

    /// The driver reads the plugin's own parameters.
    fn class(&self, class: StorageClass) -> Result<StorageClass, TranslationError> {
        Ok(class)
    }

    fn inline(&self, volume: &Volume, pod_namespace: &str) -> Result<PersistentVolume, TranslationError> {
        let source = volume.azure_file.as_ref().ok_or(TranslationError::NoSource(NAME))?;
        let namespace = if pod_namespace.is_empty() { DEFAULT_NAMESPACE } else { pod_namespace };
        let share = Share {
            group: "",
            secret: &source.secret_name,
            share: &source.share_name,
            volume: &volume.name,
            namespace,
        };
        Ok(inline_volume(share.handle(), MANY, share.csi(source.read_only)))
    }

    fn to_csi(&self, mut volume: PersistentVolume) -> Result<PersistentVolume, TranslationError> {
        let source = take(&mut volume, NAME, |spec| spec.azure_file.take())?;
        let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
        let of_claim = claim.and_then(|claim| claim.namespace.clone());
        let namespace =
            filled(source.secret_namespace.or(of_claim)).ok_or(TranslationError::NoSecretNamespace)?;
        let metadata = &volume.metadata;
        let annotations = metadata.annotations.as_ref();
        let share = Share {
            group: annotations.and_then(|map| map.get(RESOURCE_GROUP)).map_or("", String::as_str),
            secret: &source.secret_name,
            share: &source.share_name,
            volume: metadata.name.as_deref().unwrap_or_default(),
            namespace: &namespace,
        };
        let csi = share.csi(source.read_only);
        volume.spec.get_or_insert_default().csi = Some(csi);
        Ok(volume)
    }

    fn to_in_tree(&self, mut volume: PersistentVolume) -> Result<PersistentVolume, TranslationError> {
        let csi = take_csi(&mut volume)?;
        let (mut share, mut secret, mut namespace) = (String::new(), String::new(), None);
        for (name, value) in csi.volume_attributes.into_iter().flatten() {
            match name.to_lowercase().as_str() {
                SHARE => share = value,
                "secretname" => secret = value,
                "secretnamespace" => namespace = Some(value),
                _ => {}
            }
        }
        if let Some(reference) = csi.node_stage_secret_ref
            && let Some(name) = filled(reference.name)
        {
            (secret, namespace) = (name, Some(reference.namespace.unwrap_or_default()));
        }
        if share.is_empty() || secret.is_empty() {
            let [group, account, named] = first_parts(&csi.volume_handle)?;
            if share.is_empty() {
                share = named.to_owned();
            }
            if secret.is_empty() {
                secret = format!("azure-storage-account-{account}-secret");
            }
            if !group.is_empty() {
                let annotations = volume.metadata.annotations.get_or_insert_default();
                annotations.insert(RESOURCE_GROUP.to_owned(), group.to_owned());
            }
        }
        volume.spec.get_or_insert_default().azure_file = Some(AzureFilePersistentVolumeSource {
            read_only: set(csi.read_only),
            secret_name: secret,
            secret_namespace: Some(namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned())),
            share_name: share,
        });
        Ok(volume)
    }
}

/// A share, its Secret and its volume.
struct Share<'a> {
    group: &'a str,
    secret: &'a str,
    share: &'a str,
    volume: &'a str,
    namespace: &'a str,
}

impl Share<'_> {
    fn handle(&self) -> String {
        let Self { group, secret, share, volume, namespace } = self;
        format!("{group}#{}#{share}#{volume}#{namespace}", account(secret))
    }

    fn csi(&self, read_only: Option<bool>) -> CSIPersistentVolumeSource {
        CSIPersistentVolumeSource {
            driver: DRIVER.to_owned(),
            volume_handle: self.handle(),
            read_only: set(read_only),
            volume_attributes: Some(attribute(SHARE, self.share)),
            node_stage_secret_ref: Some(SecretReference {
                name: filled(Some(self.secret.to_owned())),
                namespace: Some(self.namespace.to_owned()),
            }),
            ..CSIPersistentVolumeSource::default()
        }
    }
}

/// The storage account in the name of its Secret, which is `azure-storage-account-<account>-secret`; the whole name if it
/// has another form.
fn account(secret: &str) -> &str {
    let middle =
        secret.split_once("azure-storage-account-").and_then(|(_, rest)| rest.rsplit_once("-secret"));
    middle.map(|(account, _)| account).filter(|account| !account.is_empty()).unwrap_or(secret)
}

/// Resource group, account and share.
fn first_parts(handle: &str) -> Result<[&str; 3], TranslationError> {
    let mut parts = handle.split('#');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(group), Some(account), Some(share)) => Ok([group, account, share]),
        _ => Err(TranslationError::ShareHandle(handle.to_owned())),
    }
}

#[cfg(test)]
mod tests;
