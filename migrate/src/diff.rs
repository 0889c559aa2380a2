//! The difference between two objects, one line a field.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// The fields that differ: `- path: value` for each that goes, `+ path: value` for each that comes, by path.
pub(crate) fn diff(before: &impl Serialize, after: &impl Serialize) -> serde_json::Result<Vec<String>> {
    let (before, after) = (fields(before)?, fields(after)?);
    let gone = before.iter().filter(|(path, value)| after.get(*path) != Some(value));
    let come = after.iter().filter(|(path, value)| before.get(*path) != Some(value));
    let mut lines: Vec<(&String, char, &Value)> = gone.map(|(path, value)| (path, '-', value)).collect();
    lines.extend(come.map(|(path, value)| (path, '+', value)));
    // A field that changes: first as it was.
    lines.sort_by(|(path, sign, _), (other, mark, _)| path.cmp(other).then(mark.cmp(sign)));
    Ok(lines.into_iter().map(|(path, sign, value)| format!("{sign} {path}: {}", shown(value))).collect())
}

/// Each value of the object by its path. Empty maps and lists are no values: the API server stores none.
fn fields(object: &impl Serialize) -> serde_json::Result<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    collect(String::new(), serde_json::to_value(object)?, &mut found);
    Ok(found)
}

fn collect(path: String, value: Value, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                // A key with dots, as most annotations have, is told from a path by quotes.
                let name = if name.contains('.') { format!("{name:?}") } else { name };
                let below = if path.is_empty() { name } else { format!("{path}.{name}") };
                collect(below, value, found);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.into_iter().enumerate() {
                collect(format!("{path}[{index}]"), value, found);
            }
        }
        Value::Null => {}
        value => drop(found.insert(path, value)),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_differs_is_told_and_what_was_comes_first() {
        let before = json!({"a": {"b": 1, "c": [1, 2], "same": true}, "x.y/z": "old", "empty": {}});
        let after = json!({"a": {"b": 2, "c": [1], "same": true}, "n": "", "empty": []});
        let lines = diff(&before, &after).unwrap();
        assert_eq!(lines, ["- \"x.y/z\": old", "- a.b: 1", "+ a.b: 2", "- a.c[1]: 2", "+ n: \"\""]);
        assert!(diff(&before, &before).unwrap().is_empty());
    }
}
