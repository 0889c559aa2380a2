//! Decides whether to unpublish a volume whose attachment is gone.

use std::sync::Arc;

use csi::{ErrorClass, attach_class, was_sent};
use kubernetes::object::Attachment;
use tonic::Status;

use super::registry::Publication;
use crate::attachment::decide::awaits_detach;

/// The next step for a publication whose attachment is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Withdraw it, if the API server confirms that the attachment is gone.
    Withdraw,
    /// Keep it: the attachment still exists. Its own attach or detach settles the publication.
    Keep,
    /// Wait: another attachment will cover it, but does not yet have our finalizer.
    Wait,
    /// Another attachment covers it: the detach of that one will unpublish it.
    Leave,
}

/// An attachment of this driver that may be for the same volume and node.
#[derive(Debug, Clone)]
pub(crate) struct Rival {
    /// The attachment.
    pub(crate) attachment: Arc<Attachment>,
    /// Its volume's id at the driver, if that is known.
    pub(crate) handle: Option<Box<str>>,
    /// Its node's id at the driver, if that is known.
    pub(crate) node_id: Option<Arc<str>>,
}

/// Whether an answer to ControllerPublishVolume leaves the volume published, or may do so.
pub(crate) fn may_be_published<T>(reply: &Result<T, Status>) -> bool {
    match reply {
        Ok(_) => true,
        Err(status) => was_sent(status) && attach_class(status) == ErrorClass::InProgress,
    }
}

/// Decides about a publication, given our attachments as they are now.
///
/// A live attachment without our finalizer will publish the volume again. Until it has the finalizer,
/// deleting it would not unpublish the volume, so we go on remembering the publication.
pub(crate) fn decide(
    publication: &Publication,
    rivals: impl Iterator<Item = Rival>,
    finalizer: &str,
) -> Step {
    let mut step = Step::Withdraw;
    for rival in rivals {
        let meta = &rival.attachment.meta;
        if meta.uid == publication.attachment.uid {
            if awaits_detach(meta, finalizer) {
                return Step::Keep;
            }
        } else if is_for(publication, &rival) {
            if meta.has_finalizer(finalizer) {
                return Step::Leave;
            }
            step = Step::Wait;
        }
    }
    step
}

/// Whether an attachment covers the publication, or will.
fn is_for(publication: &Publication, rival: &Rival) -> bool {
    let Rival { attachment, handle, node_id } = rival;
    let same_node =
        attachment.node == publication.node || node_id.as_ref() == Some(&publication.pair.node_id);
    let same_volume = match handle {
        Some(handle) => *handle == publication.pair.handle,
        None => publication.volume.is_some() && attachment.volume() == publication.volume.as_ref(),
    };
    attachment.ours && !attachment.meta.deleting && same_node && same_volume
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{FINALIZER, attachment, publication};
    use serde_json::{Value, json};
    use tonic::Code;

    /// Another attachment of the same volume and node, changed.
    fn rival(change: Value) -> Rival {
        let mut object = json!({"metadata": {"uid": "another"}});
        crate::fixture::merge(&mut object, change);
        let (handle, node_id) = (Some("handle1".into()), Some("node1-id".into()));
        Rival { attachment: Arc::new(attachment(object)), handle, node_id }
    }

    fn bound() -> Value {
        json!({"metadata": {"finalizers": [FINALIZER]}})
    }

    fn step(rivals: &[Rival]) -> Step {
        decide(&publication(), rivals.iter().cloned(), FINALIZER)
    }

    #[test]
    fn publication_is_withdrawn_unless_another_attachment_has_it() {
        use Step::*;
        let merged = |mut one: Value, other: Value| {
            crate::fixture::merge(&mut one, other);
            rival(one)
        };
        let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let itself = || json!({"metadata": {"uid": "uid-1", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        for (name, other, expected) in [
            ("with our finalizer", rival(bound()), Leave),
            ("without", rival(json!({})), Wait),
            ("attached by whom ever, without", rival(json!({"status": {"attached": true}})), Wait),
            ("deleted, with", merged(bound(), deleted.clone()), Withdraw),
            ("deleted, without", rival(deleted), Withdraw),
            ("the attachment itself", rival(json!({"metadata": {"uid": "uid-1"}})), Keep),
            ("itself, deleted, with", merged(itself(), bound()), Keep),
            ("itself, deleted, without", rival(itself()), Withdraw),
            ("another driver's", merged(bound(), json!({"spec": {"attacher": "other"}})), Withdraw),
        ] {
            assert_eq!(step(&[other]), expected, "{name}");
        }
        assert_eq!(step(&[]), Withdraw);
        assert_eq!(step(&[rival(json!({})), rival(bound())]), Leave);
    }

    #[test]
    fn only_attachments_of_the_volume_on_the_node_count() {
        use Step::*;
        let elsewhere = json!({"spec": {"nodeName": "node2"}});
        let named = |volume: Value| {
            let other = rival(json!({"spec": {"source": {"persistentVolumeName": volume}}}));
            Rival { handle: None, ..other }
        };
        for (name, other, expected) in [
            (
                "another node",
                Rival { node_id: Some("node2-id".into()), ..rival(elsewhere.clone()) },
                Withdraw,
            ),
            ("another node, not known", Rival { node_id: None, ..rival(elsewhere.clone()) }, Withdraw),
            ("another name of the node", rival(elsewhere), Wait),
            ("the node, its id not known", Rival { node_id: None, ..rival(json!({})) }, Wait),
            ("another volume", Rival { handle: Some("handle2".into()), ..rival(json!({})) }, Withdraw),
            ("the volume's name, its id not known", named(json!("pv1")), Wait),
            ("another name, its id not known", named(json!("pv2")), Withdraw),
        ] {
            assert_eq!(step(&[other]), expected, "{name}");
        }
    }

    #[test]
    fn a_refusal_publishes_nothing() {
        assert!(may_be_published(&Ok(())));
        assert!(!may_be_published::<()>(&Err(csi::not_sent("connection refused"))), "nothing was sent");
        for number in 1..=16 {
            let code = Code::from_i32(number);
            let open = matches!(
                code,
                Code::Cancelled
                    | Code::DeadlineExceeded
                    | Code::Unavailable
                    | Code::Aborted
                    | Code::ResourceExhausted
            );
            assert_eq!(may_be_published::<()>(&Err(Status::new(code, ""))), open, "{code:?}");
        }
    }
}
