//! What a conversion changes of an object: fields, each as it was and as it becomes. Applied backwards, it undoes itself.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One field. `None`: there is no such field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Change {
    /// `["spec", "csi"]`, `["metadata", "annotations", "a.b/c"]`.
    path: Vec<String>,
    from: Option<Value>,
    to: Option<Value>,
}

/// The parts of an object whose fields may change.
const PARTS: [&[&str]; 3] = [&["spec"], &["metadata", "annotations"], &["metadata", "labels"]];

/// Fields of a PersistentVolume's spec that a translation changes and that are not its source.
const BESIDE_THE_SOURCE: [&str; 2] = ["nodeAffinity", "accessModes"];

/// The fields in which the two differ.
pub(crate) fn changes(before: &Value, after: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    for part in PARTS {
        let none = Map::new();
        let before = at(before, part).and_then(Value::as_object).unwrap_or(&none);
        let after = at(after, part).and_then(Value::as_object).unwrap_or(&none);
        let added = after.keys().filter(|key| !before.contains_key(*key));
        for key in before.keys().chain(added) {
            let (from, to) = (before.get(key).cloned(), after.get(key).cloned());
            if essence(from.as_ref()) != essence(to.as_ref()) {
                let mut path: Vec<String> = part.iter().map(|&name| name.to_owned()).collect();
                path.push(key.clone());
                found.push(Change { path, from, to });
            }
        }
    }
    found
}

/// The same changes the other way.
pub(crate) fn reversed(changes: &[Change]) -> Vec<Change> {
    let turn = |change: &Change| Change {
        path: change.path.clone(),
        from: change.to.clone(),
        to: change.from.clone(),
    };
    changes.iter().map(turn).collect()
}

/// Changes the object. The source of a volume is changed in any case; another field only if nobody else has changed it.
pub(crate) fn apply(object: &mut Value, changes: &[Change]) {
    for change in changes {
        let path: Vec<&str> = change.path.iter().map(String::as_str).collect();
        let Some((name, part)) = path.split_last() else { continue };
        let is = at(object, &path);
        if !is_source(change) && essence(is) != essence(change.from.as_ref()) {
            continue;
        }
        match &change.to {
            Some(value) => drop(map_at(object, part).insert((*name).to_owned(), value.clone())),
            None if at(object, part).is_some() => drop(map_at(object, part).remove(*name)),
            None => {}
        }
    }
}

/// The merge patch that makes these changes of the object, but for those of fields that somebody else has changed.
pub(crate) fn merge_patch(object: &Value, changes: &[Change]) -> Value {
    let mut patch = Value::Object(Map::new());
    for change in changes.iter().filter(|change| is_there(object, change, change.from.as_ref())) {
        let path: Vec<&str> = change.path.iter().map(String::as_str).collect();
        put(&mut patch, &path, change.to.clone().unwrap_or_default());
    }
    patch
}

/// Puts a value into a patch.
pub(crate) fn put(patch: &mut Value, path: &[&str], value: Value) {
    if let Some((name, part)) = path.split_last() {
        map_at(patch, part).insert((*name).to_owned(), value);
    }
}

/// Whether the volume has the source from which these changes begin.
pub(crate) fn begins_at(volume: &Value, changes: &[Change]) -> bool {
    sources(changes).all(|change| is_there(volume, change, change.from.as_ref()))
}

/// Whether the volume has the source with which these changes end.
pub(crate) fn ends_at(volume: &Value, changes: &[Change]) -> bool {
    sources(changes).all(|change| is_there(volume, change, change.to.as_ref()))
}

/// The source from which these changes begin, by its name in a PersistentVolume's spec.
pub(crate) fn source_before(changes: &[Change]) -> Value {
    let named = |change: &Change| Some((change.path.last()?.clone(), change.from.clone()?));
    Value::Object(sources(changes).filter_map(named).collect())
}

fn sources(changes: &[Change]) -> impl Iterator<Item = &Change> {
    changes.iter().filter(|change| is_source(change))
}

fn is_source(change: &Change) -> bool {
    match change.path.as_slice() {
        [part, name] => part == "spec" && !BESIDE_THE_SOURCE.contains(&name.as_str()),
        _ => false,
    }
}

fn is_there(object: &Value, change: &Change, value: Option<&Value>) -> bool {
    let path: Vec<&str> = change.path.iter().map(String::as_str).collect();
    essence(at(object, &path)) == essence(value)
}

fn at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(object, |object, name| object.get(name))
}

/// The map at this path, which is made if there is none.
fn map_at<'a>(object: &'a mut Value, path: &[&str]) -> &'a mut Map<String, Value> {
    let mut map = as_map(object);
    for name in path {
        map = as_map(map.entry((*name).to_owned()).or_insert(Value::Null));
    }
    map
}

fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it was made one"),
    }
}

/// What two spellings of one value have in common: the API server stores no empty texts, lists and maps, no `false` and no 0
/// where they are what is meant by nothing.
pub(crate) fn essence(value: Option<&Value>) -> Option<Value> {
    match value? {
        Value::Object(map) => {
            let full: Map<String, Value> =
                map.iter().filter_map(|(key, value)| Some((key.clone(), essence(Some(value))?))).collect();
            (!full.is_empty()).then_some(Value::Object(full))
        }
        Value::Array(list) if list.is_empty() => None,
        Value::String(text) if text.is_empty() => None,
        Value::Number(number) if number.as_f64() == Some(0.0) => None,
        Value::Null | Value::Bool(false) => None,
        other => Some(other.clone()),
    }
}

#[cfg(test)]
mod tests;
