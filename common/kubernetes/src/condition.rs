//! Elements of `status.conditions` in a strategic merge patch of the status.
//!
//! The server merges the list by type: a patch names only what it changes, and conditions of others stay whoever writes
//! them meanwhile.
//!
//! `Differs:` upstream sends the whole list with the resourceVersion that it has seen, and fails if somebody else has
//! written to the object since.

use serde_json::{Value, json};

/// A condition that becomes True now.
pub fn set(kind: &str, message: &str, now: &str) -> Value {
    let mut condition = json!({"type": kind, "status": "True", "lastTransitionTime": now});
    if let (false, Some(map)) = (message.is_empty(), condition.as_object_mut()) {
        map.insert("message".to_owned(), json!(message));
    }
    condition
}

/// Removes a condition.
pub fn removed(kind: &str) -> Value {
    json!({"type": kind, "$patch": "delete"})
}
