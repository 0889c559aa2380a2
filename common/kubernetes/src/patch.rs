//! Bodies of patches that any kind of object can get.
//!
//! `Differs:` finalizers go in strategic merge patches, in which the server adds or removes our own element of whatever
//! list it has by then: two writers who each care for their own never conflict. Upstream replaces or tests whole lists.

use serde_json::{Value, json};

use super::object::Uid;

/// The same for the object with this uid only: the server refuses it (422) when another has the name by then.
pub fn only(uid: &Uid, mut body: Value) -> Value {
    if let Some(body) = body.as_object_mut() {
        let metadata = body.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("uid".to_owned(), json!(uid));
        }
    }
    body
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
}
