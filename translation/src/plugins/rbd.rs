//! Ceph RBD, as csi-translation-lib had it up to Kubernetes 1.30.
//!
//! A volume that the driver has made has its handle in an annotation. That of any other volume is made of what the
//! driver needs to find the image: `mig_mons-<md5 of the monitors>_image-<image>_<pool in hex>`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    CSIPersistentVolumeSource, PersistentVolume, PersistentVolumeSpec, RBDPersistentVolumeSource,
    SecretReference, Volume,
};
use k8s_openapi::api::storage::v1::StorageClass;

use crate::class::{FS_TYPE, Parameters, translate_parameters};
use crate::error::TranslationError;
use crate::in_tree::InTreePlugin;
use crate::source::{filled, inline_volume, mode, set, take, take_csi};

const NAME: &str = "kubernetes.io/rbd";
const DRIVER: &str = "rbd.csi.ceph.com";
/// The annotation with the handle of a volume that the driver has made.
const HANDLE: &str = "rbd.csi.ceph.com/volume-handle";
const CLUSTER: &str = "clusterID";
const POOL: &str = "pool";
const STATIC: &str = "staticVolume";
const IMAGE: &str = "imageName";
const FEATURES: &str = "imageFeatures";
const FORMAT: &str = "imageFormat";
const JOURNAL_POOL: &str = "journalPool";
const MIGRATION: &str = "migration";
const MONITORS: &str = "monitors";
const USER: &str = "adminId";
/// What images can do unless the volume says otherwise.
const LAYERING: &str = "layering";
/// The stages whose Secret a class names.
const STAGES: [&str; 3] = ["provisioner", "node-stage", "controller-expand"];

/// The plugin.
pub(crate) struct Rbd;

impl InTreePlugin for Rbd {
    fn name(&self) -> &'static str {
        NAME
    }

    fn driver(&self) -> &'static str {
        DRIVER
    }

    fn supports(&self, spec: &PersistentVolumeSpec) -> bool {
        spec.rbd.is_some()
    }

    fn supports_inline(&self, volume: &Volume) -> bool {
        volume.rbd.is_some()
    }

    /// A parameter that the driver does not know is dropped.
    fn class(&self, mut class: StorageClass) -> Result<StorageClass, TranslationError> {
        let mut parameters = Parameters::from([
            (MIGRATION.to_owned(), "true".to_owned()),
            (POOL.to_owned(), "rbd".to_owned()),
        ]);
        parameters.extend(secret_parameters("namespace", "default"));
        translate_parameters(&mut class, |lower, (_, value), _| match lower {
            "fstype" => drop(parameters.insert(FS_TYPE.to_owned(), value)),
            "pool" => drop(parameters.insert(POOL.to_owned(), value)),
            "imagefeatures" => drop(parameters.insert(FEATURES.to_owned(), value)),
            "imageformat" => drop(parameters.insert(FORMAT.to_owned(), value)),
            "adminid" => drop(parameters.insert(USER.to_owned(), value)),
            "adminsecretname" => parameters.extend(secret_parameters("name", &value)),
            "adminsecretnamespace" => parameters.extend(secret_parameters("namespace", &value)),
            MONITORS => {
                parameters.insert(CLUSTER.to_owned(), md5_hex(&value));
                parameters.insert(MONITORS.to_owned(), value);
            }
            _ => {}
        });
        let is_set = |name: &str| parameters.get(name).is_some_and(|value| !value.is_empty());
        if !is_set("csi.storage.k8s.io/provisioner-secret-name") {
            return Err(TranslationError::NoParameter("adminSecretName"));
        }
        if !is_set(MONITORS) {
            return Err(TranslationError::NoParameter(MONITORS));
        }
        DRIVER.clone_into(&mut class.provisioner);
        class.parameters = Some(parameters);
        Ok(class)
    }

    /// A pod's RBD image as a CSI volume. `Differs:` upstream names an empty Secret if the volume names none.
    fn inline(&self, volume: &Volume, pod_namespace: &str) -> Result<PersistentVolume, TranslationError> {
        let source = volume.rbd.as_ref().ok_or(TranslationError::NoSource(NAME))?;
        let secret = source.secret_ref.as_ref().map(|secret| SecretReference {
            name: filled(Some(secret.name.clone())),
            namespace: filled(Some(pod_namespace.to_owned())),
        });
        let pool = filled(source.pool.clone()).unwrap_or_else(|| "rbd".to_owned());
        let attributes = [
            (CLUSTER, md5_hex(&source.monitors.join(","))),
            (POOL, pool),
            (STATIC, "true".to_owned()),
            (FEATURES, LAYERING.to_owned()),
        ];
        let csi = CSIPersistentVolumeSource {
            driver: DRIVER.to_owned(),
            volume_handle: source.image.clone(),
            fs_type: filled(source.fs_type.clone()),
            volume_attributes: Some(attributes.map(|(name, value)| (name.to_owned(), value)).into()),
            node_stage_secret_ref: secret.clone(),
            controller_expand_secret_ref: secret,
            ..CSIPersistentVolumeSource::default()
        };
        Ok(inline_volume(format!("{DRIVER}-{}", source.image), mode(source.read_only), csi))
    }

    fn to_csi(&self, mut volume: PersistentVolume) -> Result<PersistentVolume, TranslationError> {
        let source = take(&mut volume, NAME, |spec| spec.rbd.take())?;
        let annotations = volume.metadata.annotations.as_ref();
        let (volume_handle, attributes) = identity(annotations, &source);
        let spec = volume.spec.get_or_insert_default();
        spec.access_modes = Some(vec![mode(source.read_only).to_owned()]);
        spec.csi = Some(CSIPersistentVolumeSource {
            driver: DRIVER.to_owned(),
            volume_handle,
            fs_type: filled(source.fs_type),
            volume_attributes: Some(attributes),
            node_stage_secret_ref: source.secret_ref.clone(),
            controller_expand_secret_ref: source.secret_ref,
            ..CSIPersistentVolumeSource::default()
        });
        Ok(volume)
    }

    /// Monitors are not known to the volume: the driver finds them by its clusterID.
    fn to_in_tree(&self, mut volume: PersistentVolume) -> Result<PersistentVolume, TranslationError> {
        let csi = take_csi(&mut volume)?;
        let attributes = csi.volume_attributes.unwrap_or_default();
        let attribute = |name: &str| attributes.get(name).cloned().unwrap_or_default();
        let annotations = volume.metadata.annotations.get_or_insert_default();
        annotations.insert(HANDLE.to_owned(), csi.volume_handle);
        for name in [CLUSTER, JOURNAL_POOL, FEATURES, FORMAT] {
            annotations.insert(name.to_owned(), attribute(name));
        }
        volume.spec.get_or_insert_default().rbd = Some(RBDPersistentVolumeSource {
            monitors: vec![String::new()],
            image: attribute(IMAGE),
            pool: filled(Some(attribute(POOL))),
            user: Some(filled(Some(attribute(USER))).unwrap_or_else(|| "admin".to_owned())),
            fs_type: filled(csi.fs_type),
            read_only: set(csi.read_only),
            secret_ref: csi.node_stage_secret_ref,
            keyring: None,
        });
        Ok(volume)
    }
}

/// Handle and attributes of a volume.
fn identity(
    annotations: Option<&BTreeMap<String, String>>,
    source: &RBDPersistentVolumeSource,
) -> (String, BTreeMap<String, String>) {
    let noted = |name: &str| annotations.and_then(|map| map.get(name)).cloned().unwrap_or_default();
    let pool = source.pool.clone().unwrap_or_default();
    let features = filled(Some(noted(FEATURES))).unwrap_or_else(|| LAYERING.to_owned());
    let mut attributes: BTreeMap<String, String> = [
        (IMAGE, source.image.clone()),
        (POOL, pool.clone()),
        (FEATURES, features),
        (FORMAT, noted(FORMAT)),
        (JOURNAL_POOL, noted(JOURNAL_POOL)),
        (MIGRATION, "true".to_owned()),
        ("tryOtherMounters", "true".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if let Some(handle) = filled(Some(noted(HANDLE))) {
        attributes.insert(CLUSTER.to_owned(), noted(CLUSTER));
        return (handle, attributes);
    }
    let cluster = md5_hex(&source.monitors.join(","));
    let image = source.image.strip_prefix("kubernetes-dynamic-pvc-").unwrap_or(&source.image);
    let handle = format!("mig_mons-{cluster}_image-{image}_{}", hex(pool.as_bytes()));
    attributes.insert(STATIC.to_owned(), "true".to_owned());
    attributes.insert(CLUSTER.to_owned(), cluster);
    (handle, attributes)
}

fn secret_parameters(part: &str, value: &str) -> [(String, String); 3] {
    STAGES.map(|stage| (format!("csi.storage.k8s.io/{stage}-secret-{part}"), value.to_owned()))
}

fn md5_hex(text: &str) -> String {
    hex(&md5::compute(text).0)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
