//! Decides what becomes of a volume and its claim, and what stands against that now.

use k8s_openapi::api::core::v1::PersistentVolume;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DynamicObject;
use kubernetes::object::annotation::{
    DELETION_SECRET_NAME, DELETION_SECRET_NAMESPACE, MIGRATED_TO, PROVISIONED_BY, PROVISIONER,
    PROVISIONER_BETA,
};
use kubernetes::secret::{ClaimFacts, Facts, ReferenceError, SecretRef, Stage, reference};
use thiserror::Error;
use translation::{Plugin, Plugins, Translation as _, TranslationError};

/// Who uses a volume now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Users {
    /// The nodes that it is attached to, or is to be.
    pub(crate) nodes: Vec<String>,
    /// The pods that mount its claim and have not ended, as `namespace/name`.
    pub(crate) pods: Vec<String>,
}

/// Which volumes are converted, and how.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    /// The plugins whose volumes are converted.
    pub(crate) plugins: Plugins,
    /// Volumes that are in use too.
    pub(crate) in_use: bool,
    /// Volumes that somebody made by hand, with reclaim policy Delete, too.
    pub(crate) hand_made: bool,
    /// The project of GCE disks whose handle would lack it.
    pub(crate) gce_project: Option<String>,
}

/// Why a volume cannot be converted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConversionError {
    /// Its source, or its class, has no translation.
    #[error(transparent)]
    Translation(#[from] TranslationError),
    /// The plugin is left alone unless it is asked for.
    #[error("volumes of kubernetes.io/rbd are converted only with --rbd")]
    NotAsked,
    /// Its handle would be the disk's path.
    #[error("vSphere's driver knows disks by an id, and this PersistentVolume has only the path")]
    DiskPath,
    /// Its class does not tell the Secret for its deletion.
    #[error("the Secret for its deletion: {0}")]
    Secret(#[from] ReferenceError),
}

impl ConversionError {
    /// Whether a flag, a label or the binding of a claim can change it.
    pub(crate) fn is_for_now(&self) -> bool {
        use TranslationError::{NoSecretNamespace, Regions, Zone};
        matches!(self, Self::NotAsked | Self::Translation(NoSecretNamespace | Regions(..) | Zone(_)))
    }
}

/// The volume as it would be stored: a CSI volume of the driver, which also counts as the one that made it. The Secret for its
/// deletion is written down as for every CSI volume, since nobody translates its class any more.
///
/// # Errors
/// The volume, or its class, cannot be translated.
pub(crate) fn converted(
    scope: &Scope,
    plugin: Plugin,
    volume: PersistentVolume,
    class: Option<&StorageClass>,
) -> Result<PersistentVolume, ConversionError> {
    match plugin {
        Plugin::Vsphere => return Err(ConversionError::DiskPath),
        Plugin::Rbd if !scope.plugins.rbd => return Err(ConversionError::NotAsked),
        _ => {}
    }
    let secret = deletion_secret(scope, plugin, &volume, class)?;
    let mut volume = scope.plugins.to_csi(volume)?;
    rename(&mut volume.metadata, plugin, &[PROVISIONED_BY]);
    if let Some(secret) = secret {
        let annotations = volume.metadata.annotations.get_or_insert_default();
        annotations.insert(DELETION_SECRET_NAME.to_owned(), secret.name);
        annotations.insert(DELETION_SECRET_NAMESPACE.to_owned(), secret.namespace);
    }
    let csi = volume.spec.as_mut().and_then(|spec| spec.csi.as_mut());
    if let (Plugin::GcePd, Some(project), Some(csi)) = (plugin, &scope.gce_project, csi)
        && let Some(rest) = csi.volume_handle.strip_prefix("projects/UNSPECIFIED/")
    {
        csi.volume_handle = format!("projects/{project}/{rest}");
    }
    Ok(volume)
}

/// The Secret that the volume's class names for its deletion, if a plugin's class does and the volume itself does not say.
fn deletion_secret(
    scope: &Scope,
    plugin: Plugin,
    volume: &PersistentVolume,
    class: Option<&StorageClass>,
) -> Result<Option<SecretRef>, ConversionError> {
    let annotations = volume.metadata.annotations.as_ref();
    if annotations.is_some_and(|all| all.contains_key(DELETION_SECRET_NAME)) {
        return Ok(None);
    }
    let holder = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    let Some(class) = class.filter(|class| class.provisioner == plugin.name()) else { return Ok(None) };
    let parameters = scope.plugins.class(plugin, class.clone())?.parameters.unwrap_or_default();
    let facts = |name: &'_ Option<String>| name.clone().unwrap_or_default();
    let (namespace, name) =
        holder.map_or_else(Default::default, |holder| (facts(&holder.namespace), facts(&holder.name)));
    let claim = ClaimFacts { namespace: &namespace, name: &name, annotations: None };
    let volume_name = volume.metadata.name.as_deref().unwrap_or_default();
    let facts = Facts { volume_name, claim: holder.is_some().then_some(claim) };
    Ok(reference(Stage::Provision, &parameters, &facts)?)
}

/// The claim as it would be stored: for the driver.
pub(crate) fn converted_claim(plugin: Plugin, mut claim: DynamicObject) -> DynamicObject {
    rename(&mut claim.metadata, plugin, &[PROVISIONER, PROVISIONER_BETA]);
    claim
}

/// Puts the driver's name where these annotations have the plugin's. A converted object is migrated to nobody.
fn rename(metadata: &mut ObjectMeta, plugin: Plugin, keys: &[&str]) {
    let Some(annotations) = &mut metadata.annotations else { return };
    annotations.remove(MIGRATED_TO);
    for (_, value) in annotations.iter_mut().filter(|(key, _)| keys.contains(&key.as_str())) {
        if value == plugin.name() {
            plugin.driver().clone_into(value);
        }
    }
}

/// What stands against converting the volume now.
pub(crate) fn obstacles(
    scope: &Scope,
    volume: &PersistentVolume,
    converted: &PersistentVolume,
    users: &Users,
) -> Vec<String> {
    let mut found = unsettled(volume);
    if !scope.in_use {
        found.extend(in_use(users));
    }
    // projects/PROJECT/zones/ZONE/disks/DISK
    let unknown: Vec<bool> = handle(converted)
        .map(|handle| handle.split('/').map(|part| part == "UNSPECIFIED").collect())
        .unwrap_or_default();
    if unknown.get(1) == Some(&true) {
        found.push("its project is unknown: give --gce-project".to_owned());
    }
    if unknown.get(3) == Some(&true) {
        found.push("its zone is unknown: set label topology.kubernetes.io/zone".to_owned());
    }
    if !scope.hand_made && is_hand_made_to_delete(volume) {
        found.push(
            "somebody made it by hand, and nobody deletes it now; its CSI driver would, with its claim: set its reclaim policy \
             to Retain, or give --hand-made"
                .to_owned(),
        );
    }
    found.extend(other_handle(scope, volume, converted, users));
    found
}

/// Whether nobody deletes the volume as an in-tree one, and its driver would as a CSI volume: no provisioner of the plugin is
/// left, and volumes that none has made are translated for nobody's deletion.
fn is_hand_made_to_delete(volume: &PersistentVolume) -> bool {
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    let is_provisioned =
        volume.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(PROVISIONED_BY));
    policy == Some("Delete") && !is_provisioned
}

fn handle(volume: &PersistentVolume) -> Option<&String> {
    volume.spec.as_ref()?.csi.as_ref().map(|csi| &csi.volume_handle)
}

/// Nodes know a volume in use by the handle of its CSI form: that must not change under them, whichever way the volume goes.
pub(crate) fn other_handle(
    scope: &Scope,
    before: &PersistentVolume,
    after: &PersistentVolume,
    users: &Users,
) -> Option<String> {
    let form = |volume: &PersistentVolume| {
        let translated = || scope.plugins.to_csi(volume.clone()).ok().and_then(|csi| handle(&csi).cloned());
        handle(volume).cloned().or_else(translated)
    };
    let (before, after) = (form(before)?, form(after)?);
    let is_used = !users.nodes.is_empty() || !users.pods.is_empty();
    (is_used && before != after)
        .then(|| format!("it is in use under the handle {before}, which would become {after}"))
}

/// Who uses it, in words.
pub(crate) fn in_use(users: &Users) -> Vec<String> {
    let mut found = Vec::new();
    if !users.nodes.is_empty() {
        found.push(format!("it is attached to {}", users.nodes.join(", ")));
    }
    if !users.pods.is_empty() {
        found.push(format!("it is used by {}", users.pods.join(", ")));
    }
    found
}

/// A volume that others are about to change.
pub(crate) fn unsettled(volume: &PersistentVolume) -> Vec<String> {
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    let mut found = Vec::new();
    if volume.metadata.deletion_timestamp.is_some() {
        found.push("it is being deleted".to_owned());
    } else if matches!(phase, "Released" | "Failed") && policy != Some("Retain") {
        found.push(format!("it is {phase}: its volume is about to be deleted"));
    }
    found
}

/// What stands against touching the claim of a volume now. `claim` is the one of the name that the volume gives.
pub(crate) fn claim_obstacle(volume: &PersistentVolume, claim: Option<&DynamicObject>) -> Option<String> {
    let holder = volume.spec.as_ref()?.claim_ref.as_ref()?;
    if holder.uid.as_ref().is_none_or(String::is_empty) {
        return Some("it is kept for a claim that is not bound to it yet".to_owned());
    }
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    let Some(claim) = claim.filter(|claim| claim.metadata.uid == holder.uid) else {
        let is_free = matches!(phase, Some("Released" | "Failed"));
        return (!is_free).then(|| "its claim is gone: it is about to be released".to_owned());
    };
    let text =
        |pointer: &str| claim.data.pointer(pointer).and_then(|value| value.as_str()).unwrap_or_default();
    if text("/status/phase") == "Bound" && Some(text("/spec/volumeName")) == volume.metadata.name.as_deref() {
        let is_going = claim.metadata.deletion_timestamp.is_some();
        return is_going.then(|| "its claim is being deleted".to_owned());
    }
    Some("its claim is not bound to it".to_owned())
}

#[cfg(test)]
mod tests;
