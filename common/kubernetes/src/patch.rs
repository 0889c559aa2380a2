//! Patch bodies that fit any kind of object.
//!
//! `Differs:` upstream replaces or tests the whole list of finalizers. We send strategic merge patches, with
//! which the server adds or removes our own element of the list as it is then. Writers that change only their
//! own finalizer never conflict.
//! The server cannot merge the lists of custom resources: for those there are JSON patches, which fail when somebody
//! else was faster, and are made anew then.

use serde_json::{Value, json};

use super::object::{Meta, Uid};

/// The same, but only for the object with this uid. If another object has the name by then, the server
/// refuses it (422).
pub fn only(uid: &Uid, mut body: Value) -> Value {
    if let Some(body) = body.as_object_mut() {
        let metadata = body.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("uid".to_owned(), json!(uid));
        }
    }
    body
}

/// The same for JSON patches, which begin with a test then.
pub fn only_json(uid: &Uid, mut operations: Value) -> Value {
    if let Some(operations) = operations.as_array_mut() {
        operations.insert(0, json!({"op": "test", "path": "/metadata/uid", "value": uid}));
    }
    operations
}

/// Puts a finalizer on a custom resource (JSON); `None` if it is on.
pub fn add_finalizer_json(meta: &Meta, finalizer: &str) -> Option<Value> {
    if meta.has_finalizer(finalizer) {
        return None;
    }
    let add = if meta.finalizers.is_empty() {
        json!({"op": "add", "path": "/metadata/finalizers", "value": [finalizer]})
    } else {
        json!({"op": "add", "path": "/metadata/finalizers/-", "value": finalizer})
    };
    // Without the test, two writers who find an empty list would undo each other.
    let version =
        json!({"op": "test", "path": "/metadata/resourceVersion", "value": meta.version.to_string()});
    Some(json!([version, add]))
}

/// Takes a finalizer off a custom resource (JSON); `None` if it is off.
pub fn remove_finalizer_json(meta: &Meta, finalizer: &str) -> Option<Value> {
    let index = meta.finalizers.iter().position(|name| **name == *finalizer)?;
    let path = format!("/metadata/finalizers/{index}");
    Some(json!([{"op": "test", "path": path, "value": finalizer}, {"op": "remove", "path": path}]))
}

/// Puts a finalizer on (strategic).
pub fn add_finalizer(finalizer: &str) -> Value {
    json!({"metadata": {"finalizers": [finalizer]}})
}

/// Takes a finalizer off (strategic).
pub fn remove_finalizer(finalizer: &str) -> Value {
    json!({"metadata": {"$deleteFromPrimitiveList/finalizers": [finalizer]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_for_one_object_whatever_else_it_says() {
        let uid = Uid::from("u");
        assert_eq!(
            only(&uid, remove_finalizer("f")),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["f"], "uid": "u"}})
        );
        let status = json!({"status": {"attached": true}});
        assert_eq!(only(&uid, status), json!({"status": {"attached": true}, "metadata": {"uid": "u"}}));
    }

    #[test]
    fn finalizers_of_custom_resources_depend_on_what_is_there() {
        let meta = |finalizers: Value| {
            let metadata = json!({"name": "s", "uid": "u", "resourceVersion": "7", "finalizers": finalizers});
            Meta::new(serde_json::from_value(metadata).unwrap(), |_| false)
        };
        let version = json!({"op": "test", "path": "/metadata/resourceVersion", "value": "7"});
        let (none, two) = (meta(Value::Null), meta(json!(["other", "f"])));
        assert_eq!(
            add_finalizer_json(&none, "f"),
            Some(json!([version, {"op": "add", "path": "/metadata/finalizers", "value": ["f"]}]))
        );
        assert_eq!(
            add_finalizer_json(&two, "g"),
            Some(json!([version, {"op": "add", "path": "/metadata/finalizers/-", "value": "g"}]))
        );
        assert_eq!(add_finalizer_json(&two, "f"), None);
        assert_eq!(
            remove_finalizer_json(&two, "f").map(|patch| only_json(&"u".into(), patch)),
            Some(json!([
                {"op": "test", "path": "/metadata/uid", "value": "u"},
                {"op": "test", "path": "/metadata/finalizers/1", "value": "f"},
                {"op": "remove", "path": "/metadata/finalizers/1"},
            ]))
        );
        assert_eq!(remove_finalizer_json(&none, "f"), None);
    }
}
