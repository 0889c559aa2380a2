//! Reads source, node id and publication from an attachment, its CSINode and its volume.
//!
//! Before we publish a volume, we note in the attachment's annotations what unpublishing needs: the node's id
//! (as upstream does), the volume's handle, and where its Secret is ([`Note`]). So neither the
//! PersistentVolume nor the CSINode has to outlive the attachment. The Secret's content is never noted.

use std::sync::Arc;

use kubernetes::object::{Attachment, AttachmentSource, CsiNode, CsiSource, VolumeSpec};
use kubernetes::secret::SecretRef;

use super::error::{NodeError, SourceError};

/// What is attached.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// The PersistentVolume of this name.
    Volume(&'a str),
    /// A volume that exists only in the attachment.
    Inline(&'a VolumeSpec, &'a CsiSource),
}

/// Reads an attachment's source.
///
/// # Errors
/// The attachment has both kinds of source, none, or an inline source that is not CSI.
pub fn source(attachment: &Attachment) -> Result<Source<'_>, SourceError> {
    match &attachment.source {
        AttachmentSource::Volume(name) => Ok(Source::Volume(name)),
        AttachmentSource::Inline(spec) => match &spec.csi {
            Some(csi) => Ok(Source::Inline(spec, csi)),
            None => Err(SourceError::InlineNotCsi),
        },
        AttachmentSource::Both => Err(SourceError::Both),
        AttachmentSource::Neither => Err(SourceError::Neither),
    }
}

/// What ControllerUnpublishVolume needs to know about a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The volume's id at the driver.
    pub handle: Box<str>,
    /// Where the secret is, if the volume has one.
    pub secret: Option<SecretRef>,
}

impl Note {
    /// The note to write for a volume.
    pub fn of(csi: &CsiSource) -> Self {
        Self { handle: csi.volume_handle.clone(), secret: secret_of(csi) }
    }

    /// The note in an attachment; `None` if another attacher published it without one.
    pub fn read(attachment: &Attachment) -> Option<Self> {
        let handle = attachment.volume_handle.clone()?;
        Some(Self { handle, secret: attachment.publish_secret.as_deref().and_then(secret_at) })
    }
}

/// Where the Secret for publishing a volume is, if it needs one.
pub fn secret_of(csi: &CsiSource) -> Option<SecretRef> {
    csi.publish_secret.as_deref().and_then(secret_at)
}

/// Reads `namespace/name`.
fn secret_at(place: &str) -> Option<SecretRef> {
    let (namespace, name) = place.split_once('/')?;
    Some(SecretRef { namespace: namespace.to_owned(), name: name.to_owned() })
}

/// The node's id at the driver, as its CSINode has it.
///
/// # Errors
/// There is no CSINode of this name, or it does not list the driver.
pub fn node_id(driver: &str, name: &str, node: Option<&CsiNode>) -> Result<Arc<str>, NodeError> {
    let node = node.ok_or_else(|| NodeError::NotFound(name.into()))?;
    let missing = || NodeError::NoDriver { node: name.into(), driver: driver.into() };
    node.driver.as_ref().map(|entry| entry.node_id.clone()).ok_or_else(missing)
}

/// As [`node_id`]; if that fails, the id that was noted when the volume was published, even an empty one.
pub fn node_id_for_detach(
    driver: &str,
    attachment: &Attachment,
    node: Option<&CsiNode>,
) -> Result<Arc<str>, NodeError> {
    node_id(driver, &attachment.node, node).or_else(|error| attachment.node_id.clone().ok_or(error))
}

/// Whether the attachment lacks our finalizer, the node's id or the note.
pub fn needs_note(attachment: &Attachment, finalizer: &str, node_id: &str, note: Option<&Note>) -> bool {
    !attachment.meta.has_finalizer(finalizer)
        || attachment.node_id.as_deref() != Some(node_id)
        || note.is_some_and(|note| Note::read(attachment).as_ref() != Some(note))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{DRIVER, FINALIZER, attachment, scope};
    use kubernetes::object::Object;
    use kubernetes::object::annotation::{NODE_ID, PUBLISH_SECRET, VOLUME_HANDLE};
    use serde_json::{Value, json};

    fn node(drivers: Value) -> CsiNode {
        let object = json!({"metadata": {"name": "node1"}, "spec": {"drivers": drivers}});
        CsiNode::slim(serde_json::from_value(object).unwrap(), &scope()).unwrap()
    }

    fn noted(annotations: Value) -> Attachment {
        attachment(json!({"metadata": {"annotations": annotations, "finalizers": [FINALIZER]}}))
    }

    #[test]
    fn each_source_is_read_or_refused() {
        let inline = json!({"csi": {"driver": DRIVER, "volumeHandle": "h"}});
        let read = |source: Value| {
            let attachment = attachment(json!({"spec": {"source": source}}));
            super::source(&attachment)
                .map(|source| matches!(source, Source::Inline(..)))
                .map_err(|error| error.to_string())
        };
        let no_name = Value::Null;
        assert_eq!(read(json!({})), Ok(false));
        assert_eq!(read(json!({"persistentVolumeName": no_name, "inlineVolumeSpec": inline})), Ok(true));
        for (source, word) in [
            (json!({"inlineVolumeSpec": inline}), "both"),
            (json!({"persistentVolumeName": no_name}), "neither"),
            (json!({"persistentVolumeName": no_name, "inlineVolumeSpec": {"nfs": {}}}), "csi"),
        ] {
            let error = read(source).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn node_id_comes_from_our_entry_of_the_csi_node() {
        let both = json!([{"name": "other", "nodeID": "o"}, {"name": DRIVER, "nodeID": "id1"}]);
        assert_eq!(node_id(DRIVER, "node1", Some(&node(both))), Ok("id1".into()));
        let error =
            node_id(DRIVER, "node1", Some(&node(json!([{"name": "other", "nodeID": "o"}])))).unwrap_err();
        assert_eq!(error.to_string(), "CSINode node1 does not contain driver csi/test");
        assert_eq!(node_id(DRIVER, "node1", Some(&node(Value::Null))), Err(error));
        let error = node_id(DRIVER, "node1", None).unwrap_err();
        assert_eq!(error.to_string(), "csinode.storage.k8s.io \"node1\" not found");
    }

    #[test]
    fn detaching_falls_back_to_the_noted_node_id_even_if_empty() {
        let ours = node(json!([{"name": DRIVER, "nodeID": "now"}]));
        let before = noted(json!({NODE_ID: "before"}));
        assert_eq!(node_id_for_detach(DRIVER, &before, Some(&ours)), Ok("now".into()));
        assert_eq!(node_id_for_detach(DRIVER, &before, Some(&node(Value::Null))), Ok("before".into()));
        assert_eq!(node_id_for_detach(DRIVER, &before, None), Ok("before".into()));
        assert_eq!(node_id_for_detach(DRIVER, &noted(json!({NODE_ID: ""})), None), Ok("".into()));
        assert!(node_id_for_detach(DRIVER, &noted(json!({})), None).is_err());
    }

    #[test]
    fn what_is_noted_is_read_back() {
        let csi = |secret: Value| {
            let source =
                json!({"driver": DRIVER, "volumeHandle": "h/1", "controllerPublishSecretRef": secret});
            serde_json::from_value::<CsiSource>(source).unwrap()
        };
        let plain = Note::of(&csi(Value::Null));
        assert_eq!(plain, Note { handle: "h/1".into(), secret: None });
        assert_eq!(Note::read(&noted(json!({VOLUME_HANDLE: "h/1"}))), Some(plain));
        let secret = Note::of(&csi(json!({"namespace": "ns", "name": "s"})));
        assert_eq!(Note::read(&noted(json!({VOLUME_HANDLE: "h/1", PUBLISH_SECRET: "ns/s"}))), Some(secret));
        assert_eq!(Note::read(&noted(json!({PUBLISH_SECRET: "ns/s"}))), None);
    }

    #[test]
    fn writes_only_what_is_missing() {
        let note = Note { handle: "h".into(), secret: None };
        let complete = noted(json!({NODE_ID: "n", VOLUME_HANDLE: "h"}));
        assert!(!needs_note(&complete, FINALIZER, "n", Some(&note)));
        assert!(!needs_note(&complete, FINALIZER, "n", None), "inline volumes note nothing");
        assert!(needs_note(&complete, "another", "n", Some(&note)));
        assert!(needs_note(&complete, FINALIZER, "other", Some(&note)));
        assert!(needs_note(&noted(json!({NODE_ID: "n"})), FINALIZER, "n", Some(&note)));
        let secret = SecretRef { namespace: "ns".to_owned(), name: "s".to_owned() };
        let with_secret = Note { secret: Some(secret), ..note };
        assert!(needs_note(&complete, FINALIZER, "n", Some(&with_secret)));
    }
}
