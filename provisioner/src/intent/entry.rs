//! One intent as the text of an annotation.
//!
//! It holds what sending the request again and storing the volume's object need: the request as it was, the Secrets' names,
//! and of claim and class what the PersistentVolume is made of. Where there are many topology terms, it names their list
//! ([`terms`](super::terms)). A version that knows no lists refuses such an intent and leaves it where it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use csi::topology::Term;
use csi::v1::CreateVolumeRequest;
use k8s_openapi::ByteString;
use kubernetes::object::annotation::SELECTED_NODE;
use kubernetes::object::{Claim, Class, Keep, Object, Scope, Uid};
use kubernetes::secret::SecretRef;
use prost::Message as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;

use super::terms::{Listed, placement_of};
use crate::claim::background::Sent;
use crate::claim::request::{Prepared, SecretRefs};
use crate::topology::Placement;

/// What the annotations of intents begin with.
const PREFIX: &str = "intent.mooring.dev/";

/// Why a text is no intent of ours.
#[derive(Debug, Error)]
pub(crate) enum EntryError {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("the request in it: {0}")]
    Request(#[from] prost::DecodeError),
    #[error("the claim in it is not one that waits for a volume of this driver")]
    Claim,
    #[error("the class in it cannot be used")]
    Class,
    #[error("the topology terms that it names are not there")]
    Terms,
    #[error("there is no request in it")]
    NoRequest,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    claim: Value,
    class: Value,
    name: String,
    /// CreateVolumeRequest as protobuf, without Secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<ByteString>,
    /// The same, where its topology terms are in a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    placed: Option<Placed>,
    bytes: i64,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    attributes_class: Box<str>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    fs_type: String,
    /// `namespace/name`, by stage.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    secrets: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    migrated: bool,
}

#[derive(Serialize, Deserialize)]
struct Placed {
    /// CreateVolumeRequest as protobuf, without Secrets and topology terms.
    request: ByteString,
    /// The name of the list.
    terms: String,
    /// Which of the terms the preferred ones begin with.
    first: usize,
}

/// The annotation of a request: one for each claim and class. A class that was made anew leads to another request.
pub(crate) fn key(claim: &Uid, class: &Uid) -> String {
    // The API server allows 63 characters after the slash: the class's uid is cut.
    let class: String = class.to_string().chars().filter(char::is_ascii_alphanumeric).take(16).collect();
    format!("{}{class}", key_prefix(claim))
}

/// What the annotations of all requests for a claim begin with.
pub(crate) fn key_prefix(claim: &Uid) -> String {
    format!("{PREFIX}{claim}.")
}

/// Whether an annotation of this name is ours.
pub(crate) fn is_key(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// The name of the list that the text of a request names, if it names one.
pub(crate) fn named_terms(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        placed: Option<NamedTerms>,
    }
    #[derive(Deserialize)]
    struct NamedTerms {
        terms: String,
    }
    serde_json::from_str::<Named>(text).ok()?.placed.map(|placed| placed.terms)
}

/// The text of a request, and its topology terms if it names them. `list` gives the terms as a list, if they are many.
///
/// # Errors
/// It cannot be written as JSON.
pub(crate) fn to_text(
    sent: &Sent,
    list: impl FnOnce(&Arc<[Term]>) -> Option<Listed>,
) -> Result<(String, Option<Listed>), EntryError> {
    let Sent { claim, class, prepared, .. } = sent;
    let listed =
        prepared.placement.as_ref().and_then(|placement| Some((list(placement.terms())?, placement)));
    let placed = listed.as_ref().map(|(listed, placement)| Placed {
        request: ByteString(prepared.unplaced().encode_to_vec()),
        terms: listed.name.to_string(),
        first: placement.first(),
    });
    let entry = Entry {
        claim: claim_value(claim),
        class: class_value(class),
        name: prepared.name.clone(),
        request: placed.is_none().then(|| ByteString(prepared.whole().encode_to_vec())),
        placed,
        attributes_class: prepared.attributes_class.clone(),
        bytes: prepared.bytes,
        fs_type: prepared.fs_type.clone(),
        secrets: secrets_value(&prepared.secrets),
        migrated: prepared.migrated,
    };
    Ok((serde_json::to_string(&entry)?, listed.map(|(listed, _)| listed)))
}

/// The request of a text. `terms`: those that it names, if they are there.
///
/// # Errors
/// The text is not one that [`to_text`] writes, or lacks its terms.
pub(crate) fn from_text(text: &str, terms: Option<&Arc<[Term]>>, scope: &Scope) -> Result<Sent, EntryError> {
    let entry: Entry = serde_json::from_str(text)?;
    let (request, placement) = request_of(entry.request, entry.placed, terms)?;
    let claim = claim_of(entry.claim, scope)?;
    let scope = Scope { keep: Keep::PROVISION, ..scope.clone() };
    let class = Class::slim(serde_json::from_value(entry.class)?, &scope).ok_or(EntryError::Class)?;
    let prepared = Prepared {
        name: entry.name,
        // It has its mutable parameters already.
        request,
        placement,
        attributes_class: entry.attributes_class,
        mutable_parameters: BTreeMap::new(),
        bytes: entry.bytes,
        fs_type: entry.fs_type,
        secrets: secrets_of(&entry.secrets),
        migrated: entry.migrated,
    };
    Ok(Sent { claim: claim.into(), class: class.into(), prepared: prepared.into(), is_adopted: true })
}

/// Whose a request is.
#[derive(Debug)]
pub(crate) struct Owner {
    /// The claim as it was then.
    pub(crate) claim: Claim,
    /// The Secret that the request is sent with.
    pub(crate) secret: Option<SecretRef>,
}

/// Whose the request of a text is.
///
/// # Errors
/// The text is not one that [`to_text`] writes.
pub(crate) fn owner_of(text: &str, scope: &Scope) -> Result<Owner, EntryError> {
    #[derive(Deserialize)]
    struct Whose {
        claim: Value,
        #[serde(default)]
        secrets: BTreeMap<String, String>,
    }
    let Whose { claim, secrets } = serde_json::from_str(text)?;
    Ok(Owner { claim: claim_of(claim, scope)?, secret: secrets_of(&secrets).provision })
}

fn claim_of(claim: Value, scope: &Scope) -> Result<Claim, EntryError> {
    let scope = Scope { keep: Keep::PROVISION, ..scope.clone() };
    Claim::slim(serde_json::from_value(claim)?, &scope).ok_or(EntryError::Claim)
}

/// The request, and its topology terms where they are kept apart. `whole` has them in it, as earlier versions wrote it.
fn request_of(
    whole: Option<ByteString>,
    placed: Option<Placed>,
    terms: Option<&Arc<[Term]>>,
) -> Result<(CreateVolumeRequest, Option<Placement>), EntryError> {
    if let Some(Placed { request, first, .. }) = placed {
        let placement =
            terms.and_then(|terms| Placement::of(terms.clone(), first)).ok_or(EntryError::Terms)?;
        return Ok((CreateVolumeRequest::decode(request.0.as_slice())?, Some(placement)));
    }
    let mut request = CreateVolumeRequest::decode(whole.ok_or(EntryError::NoRequest)?.0.as_slice())?;
    let placement = request.accessibility_requirements.as_ref().and_then(placement_of);
    if placement.is_some() {
        request.accessibility_requirements = None;
    }
    Ok((request, placement))
}

fn claim_value(claim: &Claim) -> Value {
    // What the claim waits for is decided by its annotations, and what a failure means by the selected node.
    let waits = |key: &str| key.ends_with("/storage-provisioner") || key.ends_with("/migrated-to");
    let annotations: BTreeMap<&str, &str> =
        claim.meta.annotations.iter().filter(|(key, _)| waits(key) || *key == SELECTED_NODE).collect();
    // The kind of the data source is the label of a metric; and a source is held as long as its request is open.
    let source = claim.data_source.as_ref();
    let source =
        source.map(|source| json!({"kind": source.kind, "name": source.name, "apiGroup": source.api_group}));
    let elsewhere = claim.data_source_ref.as_ref().map(|source| {
        json!({
            "kind": source.kind, "name": source.name, "apiGroup": source.api_group, "namespace": source.namespace,
        })
    });
    json!({
        "metadata": {
            "namespace": claim.meta.namespace(), "name": claim.meta.name(), "uid": claim.meta.uid,
            "resourceVersion": claim.meta.version.to_string(), "annotations": annotations,
        },
        "spec": {
            "accessModes": claim.access_modes, "storageClassName": claim.class, "volumeMode": claim.volume_mode,
            "resources": {"requests": {"storage": claim.request}},
            "volumeAttributesClassName": claim.attributes_class, "dataSource": source,
            "dataSourceRef": elsewhere,
        },
    })
}

fn class_value(class: &Class) -> Value {
    json!({
        "metadata": {"name": class.meta.name(), "uid": class.meta.uid},
        "provisioner": class.provisioner, "reclaimPolicy": class.reclaim, "mountOptions": class.mount_options,
    })
}

/// Each stage's name, and where its reference is.
type Slot = (&'static str, fn(&mut SecretRefs) -> &mut Option<SecretRef>);

const STAGES: [Slot; 7] = [
    ("provision", |refs| &mut refs.provision),
    ("controllerPublish", |refs| &mut refs.controller_publish),
    ("nodeStage", |refs| &mut refs.node_stage),
    ("nodePublish", |refs| &mut refs.node_publish),
    ("controllerExpand", |refs| &mut refs.controller_expand),
    ("nodeExpand", |refs| &mut refs.node_expand),
    ("controllerModify", |refs| &mut refs.controller_modify),
];

fn secrets_value(secrets: &SecretRefs) -> BTreeMap<String, String> {
    let mut secrets = secrets.clone();
    let text =
        |(stage, slot): Slot| slot(&mut secrets).take().map(|place| (stage.to_owned(), place.to_string()));
    STAGES.into_iter().filter_map(text).collect()
}

fn secrets_of(texts: &BTreeMap<String, String>) -> SecretRefs {
    let mut secrets = SecretRefs::default();
    for (stage, slot) in STAGES {
        *slot(&mut secrets) = texts.get(stage).and_then(|text| SecretRef::parse(text));
    }
    secrets
}

#[cfg(test)]
mod tests;
