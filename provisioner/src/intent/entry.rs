//! One intent as the text of an annotation.
//!
//! It holds what sending the request again and storing the volume's object need: the request as it was, the Secrets' names,
//! and of claim and class what the PersistentVolume is made of.

use std::collections::BTreeMap;

use csi::v1::CreateVolumeRequest;
use k8s_openapi::ByteString;
use kubernetes::object::annotation::SELECTED_NODE;
use kubernetes::object::{Claim, Class, Keep, Object, Scope, Uid};
use kubernetes::secret::SecretRef;
use prost::Message as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;

use crate::claim::background::Sent;
use crate::claim::request::{Prepared, SecretRefs};

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
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    claim: Value,
    class: Value,
    name: String,
    /// CreateVolumeRequest as protobuf, without Secrets.
    request: ByteString,
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

/// Whether an annotation of this name is an intent.
pub(crate) fn is_key(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// The text of a request.
///
/// # Errors
/// It cannot be written as JSON.
pub(crate) fn to_text(sent: &Sent) -> Result<String, EntryError> {
    let Sent { claim, class, prepared } = sent;
    let entry = Entry {
        claim: claim_value(claim),
        class: class_value(class),
        name: prepared.name.clone(),
        request: ByteString(prepared.whole().encode_to_vec()),
        attributes_class: prepared.attributes_class.clone(),
        bytes: prepared.bytes,
        fs_type: prepared.fs_type.clone(),
        secrets: secrets_value(&prepared.secrets),
        migrated: prepared.migrated,
    };
    Ok(serde_json::to_string(&entry)?)
}

/// The request of a text.
///
/// # Errors
/// The text is not one that [`to_text`] writes.
pub(crate) fn from_text(text: &str, scope: &Scope) -> Result<Sent, EntryError> {
    let entry: Entry = serde_json::from_str(text)?;
    let scope = Scope { keep: Keep::PROVISION, ..scope.clone() };
    let claim = Claim::slim(serde_json::from_value(entry.claim)?, &scope).ok_or(EntryError::Claim)?;
    let class = Class::slim(serde_json::from_value(entry.class)?, &scope).ok_or(EntryError::Class)?;
    let prepared = Prepared {
        name: entry.name,
        // It has its topology terms and mutable parameters already.
        request: CreateVolumeRequest::decode(entry.request.0.as_slice())?,
        placement: None,
        attributes_class: entry.attributes_class,
        mutable_parameters: BTreeMap::new(),
        bytes: entry.bytes,
        fs_type: entry.fs_type,
        secrets: secrets_of(&entry.secrets),
        migrated: entry.migrated,
    };
    Ok(Sent { claim: claim.into(), class: class.into(), prepared: prepared.into() })
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
mod tests {
    use super::*;
    use crate::claim::object::new_volume;
    use crate::claim::request::{Found, fills_from, named, prepare};
    use crate::fixture::{claim_from, class, config, scope};
    use crate::topology::Known;

    fn sent(spec: Value, parameters: &[(&str, &str)]) -> Sent {
        let claim = claim_from(json!({SELECTED_NODE: "node1"}), spec);
        let mut class = class();
        class.parameters =
            parameters.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let prepared =
            prepare(&config(), &claim, &class, "pvc-1".into(), &Known::default(), &Found::default()).unwrap();
        Sent { claim: claim.into(), class: class.into(), prepared: prepared.into() }
    }

    #[test]
    fn request_and_object_come_back_as_they_were() {
        let secret = [
            ("csi.storage.k8s.io/provisioner-secret-name", "a"),
            ("csi.storage.k8s.io/provisioner-secret-namespace", "b"),
            ("csi.storage.k8s.io/node-stage-secret-name", "c"),
            ("csi.storage.k8s.io/node-stage-secret-namespace", "d"),
            ("csi.storage.k8s.io/fstype", "xfs"),
            ("kind", "fast"),
        ];
        for (spec, parameters) in [
            (json!({}), &[][..]),
            (json!({"volumeMode": "Block", "accessModes": ["ReadWriteMany", "ReadOnlyMany"]}), &secret[4..]),
            (json!({"volumeMode": "Filesystem"}), &secret),
        ] {
            let before = sent(spec, parameters);
            let after = from_text(&to_text(&before).unwrap(), &scope()).unwrap();
            assert_eq!(after.prepared.whole(), before.prepared.whole());
            let object = |sent: &Sent| {
                let made = csi::v1::Volume { volume_id: "id".into(), ..Default::default() };
                new_volume(&config(), &sent.claim, &sent.class, &sent.prepared, &made, 7)
            };
            assert_eq!(object(&after), object(&before));
            let facts = |sent: &Sent| {
                let node = sent.claim.meta.annotations.get(SELECTED_NODE).map(str::to_owned);
                let source = sent.claim.data_source_ref.as_ref();
                let source =
                    source.map(|source| (source.kind.clone(), source.name.clone(), source.namespace.clone()));
                (
                    sent.claim.meta.key.clone(),
                    sent.claim.meta.uid.clone(),
                    sent.class.meta.uid.clone(),
                    node,
                    source,
                )
            };
            assert_eq!(facts(&after), facts(&before));
        }
    }

    #[test]
    fn source_in_another_namespace_comes_back() {
        let elsewhere = json!({"kind": "PersistentVolumeClaim", "name": "source", "namespace": "theirs"});
        let mut before = sent(json!({}), &[]);
        before.claim = claim_from(json!({}), json!({"dataSourceRef": elsewhere})).into();
        let after = from_text(&to_text(&before).unwrap(), &scope()).unwrap();
        let source = after.claim.data_source_ref.as_ref().unwrap();
        assert_eq!((&*source.name, source.namespace.as_deref()), ("source", Some("theirs")));
    }

    #[test]
    fn source_in_the_claim_s_namespace_comes_back() {
        let source = json!({"kind": "VolumeSnapshot", "name": "snap", "apiGroup": "snapshot.storage.k8s.io"});
        let mut before = sent(json!({}), &[]);
        before.claim = claim_from(json!({}), json!({"dataSource": source})).into();
        let after = from_text(&to_text(&before).unwrap(), &scope()).unwrap();
        let asked = named(&before.claim).unwrap().unwrap();
        assert!(fills_from(&after.claim, &asked), "{:?}", after.claim.data_source);
        assert_eq!(after.claim.data_source, before.claim.data_source);
    }

    #[test]
    fn name_of_an_annotation_is_one_that_the_api_server_takes() {
        let uid = Uid::from("8d2a5c1e-3f4b-4f6a-9c1d-000000000001");
        let key = key(&uid, &uid);
        assert!(is_key(&key) && key.starts_with(&key_prefix(&uid)));
        assert!(key.rsplit('/').next().is_some_and(|name| name.len() <= 63), "{key}");
    }

    #[test]
    fn text_of_something_else_is_refused() {
        for text in ["", "{}", r#"{"claim": {}, "class": {}, "name": "n", "request": "AA==", "bytes": 1}"#] {
            assert!(from_text(text, &scope()).is_err(), "{text}");
        }
    }
}
