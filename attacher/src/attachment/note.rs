//! The note in an attachment's annotations: what unpublishing its volume needs.
//!
//! Before we publish a volume, we note in the attachment's annotations the node's id (as upstream does), the volume's
//! handle, and where its Secret is. So neither the PersistentVolume nor the CSINode has to outlive the attachment. The
//! Secret's content is never noted.

use kubernetes::object::{Attachment, CsiSource};
use kubernetes::secret::SecretRef;

/// What ControllerUnpublishVolume needs to know about a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    /// The volume's id at the driver.
    pub(crate) handle: Box<str>,
    /// Where the secret is, if the volume has one.
    pub(crate) secret: Option<SecretRef>,
}

impl Note {
    /// The note to write for a volume.
    pub(crate) fn of(csi: &CsiSource) -> Self {
        Self { handle: csi.volume_handle.clone(), secret: secret_of(csi) }
    }

    /// The note in an attachment; `None` if another attacher published it without one.
    pub(crate) fn read(attachment: &Attachment) -> Option<Self> {
        let handle = attachment.volume_handle.clone()?;
        Some(Self { handle, secret: attachment.publish_secret.as_deref().and_then(SecretRef::parse) })
    }
}

/// Where the Secret for publishing a volume is, if it needs one.
pub(crate) fn secret_of(csi: &CsiSource) -> Option<SecretRef> {
    csi.publish_secret.as_deref().and_then(SecretRef::parse)
}

/// Whether the attachment lacks our finalizer, the node's id or the note.
pub(crate) fn needs_note(
    attachment: &Attachment,
    finalizer: &str,
    node_id: &str,
    note: Option<&Note>,
) -> bool {
    !attachment.meta.has_finalizer(finalizer)
        || attachment.node_id.as_deref() != Some(node_id)
        || note.is_some_and(|note| Note::read(attachment).as_ref() != Some(note))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{DRIVER, FINALIZER, attachment};
    use kubernetes::object::annotation::{NODE_ID, PUBLISH_SECRET, VOLUME_HANDLE};
    use serde_json::{Value, json};

    fn noted(annotations: Value) -> Attachment {
        attachment(json!({"metadata": {"annotations": annotations, "finalizers": [FINALIZER]}}))
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
