//! What is to be done about the object.

use serde_json::{Map, Value, json};

/// Fields that the API server lets nobody change (`ValidateCSIDriverUpdate`).
const IMMUTABLE: [&str; 2] = ["attachRequired", "volumeLifecycleModes"];

/// Fields of the object's spec as they are to be; those that are not named may be anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted(Map<String, Value>);

impl Wanted {
    /// The field is to have this value.
    pub(crate) fn set(&mut self, field: &str, value: Value) {
        self.0.insert(field.to_owned(), value);
    }

    /// Whether there is a value for the field.
    pub(crate) fn has(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }

    /// A new object of this name.
    pub(crate) fn object(&self, name: &str) -> Value {
        typed(json!({ "name": name }), &self.0)
    }

    /// The object that takes the place of `present`: all that people and tools wrote into it stays, but for the wanted fields.
    pub(crate) fn over(&self, present: &Value) -> Value {
        let mut metadata = Map::new();
        for field in ["name", "labels", "annotations", "ownerReferences"] {
            let value = present.get("metadata").and_then(|metadata| metadata.get(field));
            metadata.extend(value.map(|value| (field.to_owned(), value.clone())));
        }
        let mut spec = present.get("spec").and_then(Value::as_object).cloned().unwrap_or_default();
        spec.extend(self.0.clone());
        typed(Value::Object(metadata), &spec)
    }
}

fn typed(metadata: Value, spec: &Map<String, Value>) -> Value {
    json!({ "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": metadata, "spec": spec })
}

/// The next step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is no object.
    Create,
    /// It is right.
    Nothing,
    /// A merge patch with the fields that differ.
    Patch(Value),
    /// These fields differ, and cannot be changed.
    Replace(Vec<String>),
}

/// Compares the object that there is with what it is to be.
pub(crate) fn decide(present: Option<&Value>, wanted: &Wanted) -> Step {
    let Some(present) = present else { return Step::Create };
    let spec = present.get("spec");
    let differs = |field: &String, value: &Value| match (spec.and_then(|spec| spec.get(field)), value) {
        // The order of modes means nothing.
        (Some(Value::Array(is)), Value::Array(wanted)) => {
            is.len() != wanted.len() || !wanted.iter().all(|mode| is.contains(mode))
        }
        (is, value) => is != Some(value),
    };
    let different: Map<String, Value> = wanted
        .0
        .iter()
        .filter(|(field, value)| differs(field, value))
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect();
    let fixed: Vec<String> =
        different.keys().filter(|field| IMMUTABLE.contains(&field.as_str())).cloned().collect();
    match (different.is_empty(), fixed.is_empty()) {
        (true, _) => Step::Nothing,
        (false, true) => Step::Patch(json!({ "spec": different })),
        (false, false) => Step::Replace(fixed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(fields: Value) -> Wanted {
        let Value::Object(fields) = fields else { panic!("fields") };
        Wanted(fields)
    }

    #[test]
    fn only_what_is_wanted_and_differs_is_changed() {
        let present = json!({ "spec": {
            "attachRequired": true, "podInfoOnMount": false, "fsGroupPolicy": "File",
            "volumeLifecycleModes": ["Persistent", "Ephemeral"],
        } });
        for (fields, expected) in [
            (json!({ "attachRequired": true }), Step::Nothing),
            (
                json!({ "attachRequired": true, "volumeLifecycleModes": ["Ephemeral", "Persistent"] }),
                Step::Nothing,
            ),
            (
                json!({ "attachRequired": true, "podInfoOnMount": true, "fsGroupPolicy": "File" }),
                Step::Patch(json!({ "spec": { "podInfoOnMount": true } })),
            ),
            (json!({ "storageCapacity": true }), Step::Patch(json!({ "spec": { "storageCapacity": true } }))),
            (
                json!({ "attachRequired": false, "podInfoOnMount": true }),
                Step::Replace(vec!["attachRequired".to_owned()]),
            ),
            (
                json!({ "volumeLifecycleModes": ["Persistent"] }),
                Step::Replace(vec!["volumeLifecycleModes".to_owned()]),
            ),
        ] {
            assert_eq!(decide(Some(&present), &wanted(fields.clone())), expected, "{fields}");
        }
        assert_eq!(decide(None, &wanted(json!({ "attachRequired": true }))), Step::Create);
    }

    #[test]
    fn replacement_keeps_what_nobody_wants_otherwise() {
        let present = json!({
            "metadata": {
                "name": "d", "uid": "1", "resourceVersion": "2", "labels": { "a": "b" },
                "ownerReferences": [{ "name": "o" }],
            },
            "spec": { "attachRequired": false, "fsGroupPolicy": "File", "fieldOfLater": 7 },
        });
        let replacement = wanted(json!({ "attachRequired": true })).over(&present);
        assert_eq!(
            replacement,
            json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver",
                "metadata": { "name": "d", "labels": { "a": "b" }, "ownerReferences": [{ "name": "o" }] },
                "spec": { "attachRequired": true, "fsGroupPolicy": "File", "fieldOfLater": 7 },
            })
        );
    }
}
