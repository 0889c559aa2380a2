//! The bodies of our writes: only `patch` is ever needed.
//!
//! `Differs:` see [`kubernetes::patch`] for the finalizers. Upstream replaces the attachment's whole list, which can
//! undo another's change, and tests the volume's list first, which fails when it has changed. And what the status says
//! already is not written: upstream sends a patch that changes nothing.

use std::collections::BTreeMap;

use kubernetes::object::annotation::{NODE_ID, PUBLISH_SECRET, VOLUME_HANDLE};
use kubernetes::object::{Attachment, Pairs};
pub(super) use kubernetes::patch::remove_finalizer;
use kubernetes::report::Report;
use serde_json::{Map, Value, json};

use super::note::Note;

/// Sets finalizer, node id and note of an attachment in one strategic merge patch.
pub(crate) fn save(finalizer: &str, node_id: &str, note: Option<&Note>) -> Value {
    let annotations = match note {
        Some(Note { handle, secret }) => {
            let place = secret.as_ref().map(ToString::to_string);
            json!({NODE_ID: node_id, VOLUME_HANDLE: handle, PUBLISH_SECRET: place})
        }
        None => json!({NODE_ID: node_id}),
    };
    json!({"metadata": {"finalizers": [finalizer], "annotations": annotations}})
}

/// Marks as attached, with what the driver returned (merge patch of the status); `None` if the status says so
/// already.
pub(crate) fn attached(attachment: &Attachment, context: &BTreeMap<String, String>) -> Option<Value> {
    let empty = Pairs::default();
    let known = attachment.metadata.as_ref().unwrap_or(&empty);
    let same = known.len() == context.len()
        && known.iter().all(|(key, value)| context.get(key).map(String::as_str) == Some(value));
    if same && attachment.attached && attachment.attach_error.is_none() {
        return None;
    }
    if same {
        return Some(json!({"status": {"attached": true, "attachError": null}}));
    }
    let gone = known.iter().map(|(key, _)| (key.to_owned(), Value::Null));
    let now = context.iter().map(|(key, value)| (key.clone(), json!(value)));
    let metadata: Map<String, Value> = gone.chain(now).collect();
    Some(json!({"status": {"attached": true, "attachError": null, "attachmentMetadata": metadata}}))
}

/// Removes the attach error (merge patch of the status).
pub(crate) fn no_error() -> Value {
    json!({"status": {"attachError": null}})
}

/// Marks as attached, for a driver that cannot attach (merge patch of the status).
pub(crate) fn marked() -> Value {
    json!({"status": {"attached": true}})
}

/// Marks as detached (merge patch of the status); `None` if the status says so already.
pub(crate) fn detached(attachment: &Attachment) -> Option<Value> {
    let clean = !attachment.attached && attachment.metadata.is_none() && attachment.detach_error.is_none();
    (!clean).then(|| json!({"status": {"attached": false, "detachError": null, "attachmentMetadata": null}}))
}

/// Writes the attach error (merge patch of the status). An error without a code removes the old code.
pub(crate) fn attach_error(report: &Report, time: &str) -> Value {
    json!({"status": {"attachError": {"time": time, "message": report.message, "errorCode": report.code}}})
}

/// Writes the detach error (merge patch of the status).
pub(crate) fn detach_error(report: &Report, time: &str) -> Value {
    json!({"status": {"detachError": {"time": time, "message": report.message}}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::attachment;
    use kubernetes::secret::SecretRef;

    #[test]
    fn one_patch_saves_finalizer_node_id_and_note() {
        let secret = SecretRef { namespace: "ns".to_owned(), name: "s".to_owned() };
        let note = Note { handle: "h".into(), secret: Some(secret) };
        assert_eq!(
            save("f", "n", Some(&note)),
            json!({"metadata": {"finalizers": ["f"], "annotations": {
                "csi.alpha.kubernetes.io/node-id": "n",
                "mooring.dev/volume-handle": "h",
                "mooring.dev/publish-secret": "ns/s",
            }}})
        );
        let no_secret = Note { handle: "h".into(), secret: None };
        assert_eq!(
            save("f", "n", Some(&no_secret))["metadata"]["annotations"]["mooring.dev/publish-secret"],
            Value::Null
        );
        let annotations = json!({"csi.alpha.kubernetes.io/node-id": "n"});
        assert_eq!(
            save("f", "n", None),
            json!({"metadata": {"finalizers": ["f"], "annotations": annotations}})
        );
    }

    #[test]
    fn attaching_replaces_the_whole_metadata_and_clears_the_error() {
        let context = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let fresh = attachment(json!({}));
        assert_eq!(
            attached(&fresh, &context(&[])),
            Some(json!({"status": {"attached": true, "attachError": null}}))
        );
        let with =
            json!({"status": {"attached": true, "attachError": null, "attachmentMetadata": {"a": "1"}}});
        assert_eq!(attached(&fresh, &context(&[("a", "1")])), Some(with));
        let before =
            attachment(json!({"status": {"attached": true, "attachmentMetadata": {"old": "x", "a": "1"}}}));
        let replaced = json!({"status": {"attached": true, "attachError": null, "attachmentMetadata": {"old": null, "a": "2"}}});
        assert_eq!(attached(&before, &context(&[("a", "2")])), Some(replaced));
    }

    #[test]
    fn what_the_status_says_already_is_not_written() {
        let said = attachment(json!({"status": {"attached": true, "attachmentMetadata": {"a": "1"}}}));
        let context = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        assert_eq!(attached(&said, &context), None);
        let failed = attachment(
            json!({"status": {"attached": true, "attachmentMetadata": {"a": "1"}, "attachError": {"message": "m"}}}),
        );
        assert!(attached(&failed, &context).is_some());
        assert_eq!(detached(&attachment(json!({}))), None);
        let all = json!({"status": {"attached": false, "detachError": null, "attachmentMetadata": null}});
        assert_eq!(detached(&said), Some(all.clone()));
        let failed = attachment(json!({"status": {"detachError": {"message": "m"}}}));
        assert_eq!(detached(&failed), Some(all));
    }

    #[test]
    fn attach_error_sets_or_removes_the_code_detach_has_none() {
        let report = |code| Report { message: "m".to_owned(), code };
        let with = json!({"status": {"attachError": {"time": "t", "message": "m", "errorCode": 8}}});
        assert_eq!(attach_error(&report(Some(8)), "t"), with);
        let without = json!({"status": {"attachError": {"time": "t", "message": "m", "errorCode": null}}});
        assert_eq!(attach_error(&report(None), "t"), without);
        assert_eq!(
            detach_error(&report(None), "t"),
            json!({"status": {"detachError": {"time": "t", "message": "m"}}})
        );
    }
}
