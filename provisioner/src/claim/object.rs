//! Builds the PersistentVolume for a provisioned volume (docs/upstream/provisioner.md,
//! "The PersistentVolume").

use std::collections::BTreeMap;

use base::quantity::Quantity;
use csi::v1;
use kubernetes::object::annotation::{DELETION_SECRET_NAME, DELETION_SECRET_NAMESPACE, PROVISIONED_BY};
use kubernetes::object::{Claim, Class, ReclaimPolicy, Uid};
use kubernetes::secret::SecretRef;
use serde::Serialize;

use super::request::Prepared;
use crate::config::Config;

/// Our finalizer: keeps the object until the volume at the driver is deleted.
pub(crate) const FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";
/// Volume attribute that names the provisioner that made a volume.
const IDENTITY: &str = "storage.kubernetes.io/csiProvisionerIdentity";
const MODIFY_SECRET_NAME: &str = "volume.kubernetes.io/controller-modify-secret-name";
const MODIFY_SECRET_NAMESPACE: &str = "volume.kubernetes.io/controller-modify-secret-namespace";

/// A PersistentVolume as it is sent.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewVolume {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
struct Metadata {
    name: String,
    annotations: BTreeMap<&'static str, String>,
    finalizers: [&'static str; 1],
}

#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct Spec {
    access_modes: Vec<String>,
    capacity: BTreeMap<&'static str, String>,
    claim_ref: ClaimReference,
    csi: Csi,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mount_options: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_affinity: Option<NodeAffinity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    persistent_volume_reclaim_policy: Option<ReclaimPolicy>,
    #[serde(skip_serializing_if = "str::is_empty")]
    storage_class_name: Box<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    volume_attributes_class_name: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume_mode: Option<Box<str>>,
}

#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct ClaimReference {
    api_version: &'static str,
    kind: &'static str,
    namespace: String,
    name: String,
    uid: Uid,
    resource_version: String,
}

#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct Csi {
    driver: Box<str>,
    volume_handle: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    read_only: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    fs_type: String,
    volume_attributes: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    controller_publish_secret_ref: Option<SecretReference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_stage_secret_ref: Option<SecretReference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_publish_secret_ref: Option<SecretReference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    controller_expand_secret_ref: Option<SecretReference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_expand_secret_ref: Option<SecretReference>,
}

#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
struct SecretReference {
    name: String,
    namespace: String,
}

impl From<&SecretRef> for SecretReference {
    fn from(reference: &SecretRef) -> Self {
        Self { name: reference.name.clone(), namespace: reference.namespace.clone() }
    }
}

#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
struct NodeAffinity {
    required: NodeSelector,
}

#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct NodeSelector {
    node_selector_terms: Vec<NodeSelectorTerm>,
}

#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct NodeSelectorTerm {
    match_expressions: Vec<Requirement>,
}

#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: &'static str,
    values: [String; 1],
}

impl NewVolume {
    /// The object's name.
    pub(crate) fn name(&self) -> &str {
        &self.metadata.name
    }

    /// The volume's id at the driver.
    pub(crate) fn handle(&self) -> &str {
        &self.spec.csi.volume_handle
    }

    /// The topology segments that it is in, as text: `key=value,key=value`.
    pub(crate) fn segments(&self) -> Vec<String> {
        texts(self.spec.node_affinity.as_ref())
    }

    /// The uid of the claim it is for.
    pub(crate) fn claim_uid(&self) -> &Uid {
        &self.spec.claim_ref.uid
    }
}

/// The topology segments that a volume is in, as the driver says, as text.
pub(crate) fn places(made: &v1::Volume) -> Vec<String> {
    texts(node_affinity(&made.accessible_topology).as_ref())
}

fn texts(affinity: Option<&NodeAffinity>) -> Vec<String> {
    let pair = |pair: &Requirement| format!("{}={}", pair.key, pair.values[0]);
    let text =
        |term: &NodeSelectorTerm| term.match_expressions.iter().map(pair).collect::<Vec<_>>().join(",");
    affinity.into_iter().flat_map(|affinity| &affinity.required.node_selector_terms).map(text).collect()
}

/// Builds the object for a volume that the driver made. `bytes` is its size.
pub(crate) fn new_volume(
    config: &Config,
    claim: &Claim,
    class: &Class,
    prepared: &Prepared,
    made: &v1::Volume,
    bytes: i64,
) -> NewVolume {
    let block = claim.volume_mode.as_deref() == Some("Block");
    NewVolume {
        api_version: "v1",
        kind: "PersistentVolume",
        metadata: Metadata {
            name: prepared.name.clone(),
            annotations: annotations(class, prepared),
            finalizers: [FINALIZER],
        },
        spec: Spec {
            access_modes: claim.access_modes.iter().map(|mode| (**mode).to_owned()).collect(),
            capacity: BTreeMap::from([("storage", Quantity::from_bytes(bytes).to_string())]),
            claim_ref: ClaimReference {
                api_version: "v1",
                kind: "PersistentVolumeClaim",
                namespace: claim.meta.namespace().to_owned(),
                name: claim.meta.name().to_owned(),
                uid: claim.meta.uid.clone(),
                resource_version: claim.meta.version.to_string(),
            },
            csi: csi(config, claim, prepared, made, block),
            mount_options: class.mount_options.iter().map(|option| (**option).to_owned()).collect(),
            node_affinity: config.uses_topology().then(|| node_affinity(&made.accessible_topology)).flatten(),
            persistent_volume_reclaim_policy: class.reclaim,
            storage_class_name: claim.class.clone(),
            volume_attributes_class_name: prepared.attributes_class.clone(),
            volume_mode: claim.volume_mode.clone(),
        },
    }
}

fn annotations(class: &Class, prepared: &Prepared) -> BTreeMap<&'static str, String> {
    let secrets = &prepared.secrets;
    let (name, namespace) = match &secrets.provision {
        Some(reference) => (reference.name.clone(), reference.namespace.clone()),
        None => (String::new(), String::new()),
    };
    let mut annotations = BTreeMap::from([
        (PROVISIONED_BY, class.provisioner.to_string()),
        (DELETION_SECRET_NAME, name),
        (DELETION_SECRET_NAMESPACE, namespace),
    ]);
    if let Some(modify) = &secrets.controller_modify {
        annotations.insert(MODIFY_SECRET_NAME, modify.name.clone());
        annotations.insert(MODIFY_SECRET_NAMESPACE, modify.namespace.clone());
    }
    annotations
}

fn csi(config: &Config, claim: &Claim, prepared: &Prepared, made: &v1::Volume, block: bool) -> Csi {
    // The driver may overwrite the identity: its context comes second.
    let mut volume_attributes = BTreeMap::from([(IDENTITY.to_owned(), config.identity.to_string())]);
    volume_attributes.extend(made.volume_context.iter().map(|(key, value)| (key.clone(), value.clone())));
    let secrets = &prepared.secrets;
    Csi {
        driver: config.driver.clone(),
        volume_handle: made.volume_id.clone(),
        read_only: config.publish_read_only && only_read(claim),
        fs_type: if block { String::new() } else { prepared.fs_type.clone() },
        volume_attributes,
        controller_publish_secret_ref: secrets.controller_publish.as_ref().map(Into::into),
        node_stage_secret_ref: secrets.node_stage.as_ref().map(Into::into),
        node_publish_secret_ref: secrets.node_publish.as_ref().map(Into::into),
        controller_expand_secret_ref: secrets.controller_expand.as_ref().map(Into::into),
        node_expand_secret_ref: secrets.node_expand.as_ref().map(Into::into),
    }
}

/// Whether the claim's only access mode is ReadOnlyMany.
fn only_read(claim: &Claim) -> bool {
    matches!(&*claim.access_modes, [mode] if &**mode == "ReadOnlyMany")
}

/// The node affinity: one term for each topology with segments. `None` if every node reaches the volume.
fn node_affinity(places: &[v1::Topology]) -> Option<NodeAffinity> {
    let term = |place: &v1::Topology| {
        let mut segments: Vec<_> = place.segments.iter().collect();
        segments.sort();
        let requirement = |(key, value): (&String, &String)| Requirement {
            key: key.clone(),
            operator: "In",
            values: [value.clone()],
        };
        NodeSelectorTerm { match_expressions: segments.into_iter().map(requirement).collect() }
    };
    let terms: Vec<_> = places.iter().filter(|place| !place.segments.is_empty()).map(term).collect();
    (!terms.is_empty()).then_some(NodeAffinity { required: NodeSelector { node_selector_terms: terms } })
}
