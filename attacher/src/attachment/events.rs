//! Decides which events about an attachment end its back-off (docs/upstream/attacher.md, "Event intake").
//!
//! The error that an attacher writes to an attachment must not end that attachment's back-off. We recognise
//! our own writes exactly ([`kubernetes::own_writes`]), and another attacher's error writes by the fields that they change.

use std::sync::Arc;

use base::queue::WorkQueue;
use kubernetes::object::{Attachment, Key};
use kubernetes::own_writes::OwnWrites;
use kubernetes::store::{Change, Store};

use super::decide::{Step, decide, place};
use crate::config::Config;

/// Whether an update ends the back-off: not if only the errors in the status have changed.
///
/// A change to a field that we do not keep (labels, other annotations) ends it too, unless an error changed
/// with it.
pub(crate) fn is_news(old: &Attachment, new: &Attachment) -> bool {
    let same_errors = old.attach_error == new.attach_error && old.detach_error == new.detach_error;
    same_errors
        || old.meta.uid != new.meta.uid
        || old.meta.deleting != new.meta.deleting
        || old.meta.finalizers != new.meta.finalizers
        || old.meta.annotations != new.meta.annotations
        || old.attached != new.attached
        || old.metadata != new.metadata
        || old.ours != new.ours
        || old.node != new.node
        || old.volume() != new.volume()
}

/// Adds attachments to the queue when an event leaves something to do about them.
pub(super) fn follow(
    queue: &WorkQueue<Key>,
    attachments: &Store<Attachment>,
    config: &Arc<Config>,
    own: &Arc<OwnWrites>,
) {
    let (queue, config, own) = (queue.clone(), config.clone(), own.clone());
    attachments.subscribe(move |change| {
        let new = match change {
            Change::Added(new) => new,
            Change::Updated { old, new } if is_news(old, new) => new,
            Change::Updated { .. } | Change::Removed(_) | Change::Left(_) => return,
        };
        let wanted = decide(new, config.role(), false) != Step::Ignore;
        if wanted && !own.holds_back(&new.meta.key, new.meta.version) {
            queue.add(new.meta.key.clone(), place(new));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::attachment;
    use serde_json::{Value, json};

    #[test]
    fn errors_alone_are_no_news() {
        let error = |message: &str| json!({"message": message, "time": "2026-01-01T00:00:00Z"});
        let status =
            |attach: Value, detach: Value| json!({"status": {"attachError": attach, "detachError": detach}});
        let none = || status(Value::Null, Value::Null);
        let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"attachError": error("b")}});
        for (name, old, new, expected) in [
            ("nothing kept here has changed", none(), none(), true),
            (
                "same error, something else",
                status(error("a"), Value::Null),
                status(error("a"), Value::Null),
                true,
            ),
            ("attach error added", none(), status(error("a"), Value::Null), false),
            ("attach error changed", status(error("a"), Value::Null), status(error("b"), Value::Null), false),
            ("attach error removed", status(error("a"), Value::Null), none(), false),
            ("detach error added", none(), status(Value::Null, error("a")), false),
            ("detach error changed", status(Value::Null, error("a")), status(Value::Null, error("b")), false),
            ("error changed and deleted", status(error("a"), Value::Null), deleted, true),
            (
                "error removed and attached",
                status(error("a"), Value::Null),
                json!({"status": {"attached": true}}),
                true,
            ),
            (
                "finalizer added",
                none(),
                json!({"metadata": {"finalizers": ["external-attacher/x"]}, "status": {"attachError": error("a")}}),
                true,
            ),
            (
                "recreated",
                none(),
                json!({"metadata": {"uid": "other"}, "status": {"attachError": error("a")}}),
                true,
            ),
        ] {
            assert_eq!(is_news(&attachment(old), &attachment(new)), expected, "{name}");
        }
    }
}
