//! Translations of JSON, for tests. What the API server would not store (empty maps and lists) is left out.

use serde_json::{Map, Value, json};

use crate::{Plugin, Plugins, Translation, TranslationError};

pub(crate) const ALL: Plugins = Plugins { rbd: true };

/// What became of something, or the error's text.
pub(crate) type Outcome = Result<Value, String>;

/// A class with these parameters and allowed topologies, translated: its parameters and allowed topologies.
pub(crate) fn class(plugin: Plugin, parameters: Value, topologies: Value) -> Result<(Value, Value), String> {
    let class = json!({
        "metadata": {"name": "c"}, "provisioner": plugin.name(), "parameters": parameters, "allowedTopologies": topologies,
    });
    let class = serde_json::from_value(class).expect("a class");
    let translated = outcome(ALL.class(plugin, class))?;
    Ok((translated["parameters"].clone(), translated["allowedTopologies"].clone()))
}

/// The parameters of a class without topologies, translated.
pub(crate) fn parameters(plugin: Plugin, parameters: Value) -> Outcome {
    class(plugin, parameters, Value::Null).map(|(parameters, _)| parameters)
}

/// The volume of a pod in `namespace`.
pub(crate) fn inline(source: Value, namespace: &str) -> Outcome {
    let mut volume = source;
    volume["name"] = "vol".into();
    outcome(ALL.inline(&serde_json::from_value(volume).expect("a volume"), namespace))
}

/// A PersistentVolume.
pub(crate) fn to_csi(volume: Value) -> Outcome {
    outcome(ALL.to_csi(serde_json::from_value(volume).expect("a volume")))
}

/// A PersistentVolume, back.
pub(crate) fn to_in_tree(volume: Value) -> Outcome {
    outcome(ALL.to_in_tree(serde_json::from_value(volume).expect("a volume")))
}

/// A volume of this spec.
pub(crate) fn volume(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv"}, "spec": spec})
}

/// One term of allowed topologies.
pub(crate) fn topology(key: &str, values: &[&str]) -> Value {
    json!([{"matchLabelExpressions": [{"key": key, "values": values}]}])
}

/// A node affinity of one term for each list of keys and values.
pub(crate) fn affinity(terms: &[&[(&str, &[&str])]]) -> Value {
    let requirement =
        |(key, values): &(&str, &[&str])| json!({"key": key, "operator": "In", "values": values});
    let term = |term: &&[(&str, &[&str])]| json!({"matchExpressions": term.iter().map(requirement).collect::<Value>()});
    json!({"required": {"nodeSelectorTerms": terms.iter().map(term).collect::<Value>()}})
}

fn outcome(result: Result<impl serde::Serialize, TranslationError>) -> Outcome {
    let value = result.map_err(|error| error.to_string())?;
    Ok(pruned(serde_json::to_value(value).expect("JSON")))
}

/// Without empty maps and lists in its fields.
pub(crate) fn pruned(value: Value) -> Value {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    match value {
        Value::Object(map) => {
            let fields = map.into_iter().map(|(name, value)| (name, pruned(value)));
            Value::Object(fields.filter(|(_, value)| !is_empty(value)).collect::<Map<_, _>>())
        }
        Value::Array(list) => list.into_iter().map(pruned).collect(),
        other => other,
    }
}
