//! What is to be done about the object.

use k8s_openapi::api::storage::v1::CSIDriverSpec;
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

    /// The spec of a new object.
    pub(crate) fn spec(&self) -> Value {
        Value::Object(self.0.clone())
    }
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
pub(crate) fn decide(present: Option<&CSIDriverSpec>, wanted: &Wanted) -> Step {
    let Some(present) = present else { return Step::Create };
    let present = json!(present);
    let differs = |field: &String, value: &Value| match (present.get(field), value) {
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
        let spec: CSIDriverSpec = serde_json::from_value(json!({
            "attachRequired": true, "podInfoOnMount": false, "fsGroupPolicy": "File",
            "volumeLifecycleModes": ["Persistent", "Ephemeral"],
        }))
        .unwrap();
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
            assert_eq!(decide(Some(&spec), &wanted(fields.clone())), expected, "{fields}");
        }
        assert_eq!(decide(None, &wanted(json!({ "attachRequired": true }))), Step::Create);
    }
}
