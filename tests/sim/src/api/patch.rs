//! The three patch types, as the API server applies them.

use serde_json::{Map, Value};

use super::refusal::Refusal;
use super::resource::Resource;

/// Applies the patch `body` of the given content type to `object`.
pub(crate) fn apply(
    resource: &Resource,
    content_type: &str,
    object: &Value,
    body: &Value,
) -> Result<Value, Refusal> {
    let mut object = object.clone();
    match content_type {
        "application/merge-patch+json" => merge(&mut object, body),
        "application/json-patch+json" => json_patch(&mut object, body)?,
        "application/strategic-merge-patch+json" if !resource.custom => strategic(&mut object, body, "")?,
        other => {
            let message = format!("the body of the request was in an unknown format ({other})");
            return Err(Refusal::new(415, "UnsupportedMediaType", message));
        }
    }
    Ok(object)
}

/// Applies a merge patch (RFC 7386).
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Value::Object(target) = target {
        for (key, value) in patch {
            if value.is_null() {
                target.remove(key);
            } else {
                merge(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

/// RFC 6902 with two loosenesses of the API server's library: `test` for null holds where nothing is, and `replace` of an
/// absent key of a map adds it.
fn json_patch(object: &mut Value, patch: &Value) -> Result<(), Refusal> {
    let refused =
        |why: String| Refusal::new(422, "Invalid", format!("the server rejected our request: {why}"));
    let operations = patch.as_array().ok_or_else(|| Refusal::bad_request("a JSON patch is a list"))?;
    for operation in operations {
        let text = |key: &str| operation.get(key).and_then(Value::as_str).unwrap_or_default();
        let (verb, path) = (text("op"), text("path"));
        let value = || operation.get("value").cloned().unwrap_or(Value::Null);
        match verb {
            "add" => add(object, path, value()),
            "remove" => remove(object, path).map(|_| ()),
            // The API server's library replaces what is not there, too, unless it is in a list.
            // The API server's library replaces what is not there, too, unless it is in a list.
            "replace" if is_in_map(object, path) => add(object, path, value()),
            "replace" => object.pointer_mut(path).map(|place| *place = value()),
            "test" => {
                let found = object.pointer(path).unwrap_or(&Value::Null);
                (*found == value()).then_some(())
            }
            "move" => remove(object, text("from")).and_then(|moved| add(object, path, moved)),
            "copy" => object.pointer(text("from")).cloned().and_then(|copy| add(object, path, copy)),
            _ => None,
        }
        .ok_or_else(|| refused(format!("{verb} operation does not apply: {path}")))?;
    }
    Ok(())
}

/// The parent of what `path` names, and the last token.
fn parent<'a>(object: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (parent, last) = path.rsplit_once('/')?;
    Some((object.pointer_mut(parent)?, last.replace("~1", "/").replace("~0", "~")))
}

fn is_in_map(object: &Value, path: &str) -> bool {
    path.rsplit_once('/').and_then(|(parent, _)| object.pointer(parent)).is_some_and(Value::is_object)
}

fn add(object: &mut Value, path: &str, value: Value) -> Option<()> {
    let (parent, last) = parent(object, path)?;
    match parent {
        Value::Object(map) => {
            map.insert(last, value);
        }
        Value::Array(list) if last == "-" => list.push(value),
        Value::Array(list) => {
            let index: usize = last.parse().ok().filter(|&index| index <= list.len())?;
            list.insert(index, value);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    }
    Some(())
}

fn remove(object: &mut Value, path: &str) -> Option<Value> {
    let (parent, last) = parent(object, path)?;
    match parent {
        Value::Object(map) => map.remove(&last),
        Value::Array(list) => {
            let index: usize = last.parse().ok().filter(|&index| index < list.len())?;
            Some(list.remove(index))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// How a list is merged.
enum ListRule {
    /// The patch's list replaces it.
    Replace,
    /// A set of plain values.
    Set,
    /// Objects, told apart by this key.
    ByKey(&'static str),
}

/// The lists of the resources here that are merged, by their path.
fn list_rule(path: &str) -> ListRule {
    match path {
        "/metadata/finalizers" => ListRule::Set,
        "/metadata/ownerReferences" => ListRule::ByKey("uid"),
        "/status/conditions" => ListRule::ByKey("type"),
        "/status/addresses" => ListRule::ByKey("type"),
        "/status/volumesAttached" | "/spec/taints" => ListRule::Replace,
        "/spec/drivers" | "/spec/volumes" | "/spec/containers" => ListRule::ByKey("name"),
        _ => ListRule::Replace,
    }
}

/// Strategic merge. Directives: `$patch: replace|delete`, `$deleteFromPrimitiveList/x`, `$setElementOrder/x`, `$retainKeys`.
fn strategic(target: &mut Value, patch: &Value, path: &str) -> Result<(), Refusal> {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return Ok(());
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return Ok(()) };
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            *target = patch
                .iter()
                .filter(|(key, _)| *key != "$patch")
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            return Ok(());
        }
        Some("delete") => {
            target.clear();
            return Ok(());
        }
        Some(_) | None => {}
    }
    if let Some(Value::Array(kept)) = patch.get("$retainKeys") {
        target.retain(|key, _| kept.iter().any(|one| one == key));
    }
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = value.as_array().cloned().unwrap_or_default();
            if let Some(Value::Array(present)) = target.get_mut(list) {
                present.retain(|one| !gone.contains(one));
                if present.is_empty() {
                    target.remove(list);
                }
            }
        } else if key.starts_with('$') {
            // Order directives carry no content.
        } else if value.is_null() {
            target.remove(key);
        } else if let (Value::Array(added), Some(Value::Array(present))) = (value, target.get_mut(key)) {
            let order = patch.get(&format!("$setElementOrder/{key}")).and_then(Value::as_array);
            merge_lists(present, added, order.unwrap_or(added), &format!("{path}/{key}"))?;
        } else {
            strategic(target.entry(key.clone()).or_insert(Value::Null), value, &format!("{path}/{key}"))?;
        }
    }
    Ok(())
}

/// Merges `added` into `present`; `order` says how the elements that it names follow each other.
fn merge_lists(
    present: &mut Vec<Value>,
    added: &[Value],
    order: &[Value],
    path: &str,
) -> Result<(), Refusal> {
    let key = match list_rule(path) {
        ListRule::Replace => {
            *present = added.to_vec();
            return Ok(());
        }
        ListRule::Set => None,
        ListRule::ByKey(key) => Some(key),
    };
    let id = |value: &Value| key.map_or_else(|| Some(value.clone()), |key| value.get(key).cloned());
    let before: Vec<Option<Value>> = present.iter().map(id).collect();
    for value in added {
        let wanted = id(value).ok_or_else(|| {
            let key = key.unwrap_or_default();
            Refusal::bad_request(format!("map: {value} does not contain declared merge key: {key}"))
        })?;
        let found = present.iter().position(|one| id(one).as_ref() == Some(&wanted));
        let deleted = value.get("$patch").and_then(Value::as_str) == Some("delete");
        match found.and_then(|index| present.get_mut(index)) {
            Some(_) if deleted => present.retain(|one| id(one).as_ref() != Some(&wanted)),
            Some(one) => strategic(one, value, &format!("{path}/*"))?,
            None if deleted => {}
            None => present.push(value.clone()),
        }
    }
    let order: Vec<Option<Value>> = order.iter().map(id).collect();
    let place = |value: &Value| before.iter().position(|one| *one == id(value));
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        std::mem::take(present).into_iter().partition(|one| order.contains(&id(one)));
    named.sort_by_key(|one| order.iter().position(|wanted| *wanted == id(one)));
    others.sort_by_key(&place);
    // What the patch names keeps its order; the rest goes in by its old place. What is new has none and goes first.
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let next = match (named.peek(), others.peek()) {
            (Some(one), Some(other)) if place(other) < place(one) => others.next(),
            (Some(_), _) => named.next(),
            (None, _) => others.next(),
        };
        match next {
            Some(value) => present.push(value),
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::resource::by_plural;
    use serde_json::json;

    fn patched(content_type: &str, object: Value, patch: Value) -> Result<Value, u16> {
        let (_, resource) = by_plural("persistentvolumes").expect("served");
        let content_type = format!("application/{content_type}+json");
        apply(resource, &content_type, &object, &patch).map_err(|refusal| refusal.code)
    }

    #[test]
    fn merges_maps_and_replaces_lists() {
        let object = json!({ "a": { "b": 1, "c": 2 }, "l": [1, 2] });
        let result =
            patched("merge-patch", object, json!({ "a": { "b": null, "d": { "e": null } }, "l": [3] }));
        assert_eq!(result, Ok(json!({ "a": { "c": 2, "d": {} }, "l": [3] })));
    }

    #[test]
    fn applies_all_or_nothing_of_a_json_patch() {
        let object = json!({ "metadata": { "finalizers": ["a", "b"] } });
        let at = "/metadata/finalizers/1";
        let remove = json!([{ "op": "test", "path": at, "value": "b" }, { "op": "remove", "path": at }]);
        let gone = patched("json-patch", object.clone(), remove.clone());
        assert_eq!(gone, Ok(json!({ "metadata": { "finalizers": ["a"] } })));
        let other = json!({ "metadata": { "finalizers": ["b", "c"] } });
        assert_eq!(patched("json-patch", other, remove), Err(422));
        let add = json!([{ "op": "add", "path": "/metadata/finalizers/-", "value": "c" }]);
        assert_eq!(
            patched("json-patch", object, add),
            Ok(json!({ "metadata": { "finalizers": ["a", "b", "c"] } }))
        );
    }

    #[test]
    fn tests_for_null_where_nothing_is() {
        let patch = json!([
            { "op": "test", "path": "/metadata/finalizers", "value": null },
            { "op": "add", "path": "/metadata/finalizers", "value": ["a"] },
        ]);
        assert_eq!(
            patched("json-patch", json!({ "metadata": {} }), patch.clone()),
            Ok(json!({ "metadata": { "finalizers": ["a"] } }))
        );
        assert_eq!(patched("json-patch", json!({ "metadata": { "finalizers": ["x"] } }), patch), Err(422));
    }

    #[test]
    fn merges_finalizers_strategically() {
        let object = json!({ "metadata": { "finalizers": ["a", "b"], "labels": { "x": "1" } } });
        let patch = json!({ "metadata": {
            "$setElementOrder/finalizers": ["b", "c"],
            "$deleteFromPrimitiveList/finalizers": ["a"],
            "finalizers": ["c"],
            "labels": { "x": null, "y": "2" },
        } });
        let result = patched("strategic-merge-patch", object.clone(), patch).expect("applies");
        assert_eq!(result, json!({ "metadata": { "finalizers": ["b", "c"], "labels": { "y": "2" } } }));
        let last = json!({ "metadata": { "$deleteFromPrimitiveList/finalizers": ["a", "b"] } });
        let result = patched("strategic-merge-patch", object, last).expect("applies");
        assert_eq!(result.pointer("/metadata/finalizers"), None);
    }

    #[test]
    fn refuses_strategic_patches_of_custom_resources() {
        let (_, resource) = by_plural("volumesnapshots").expect("served");
        let refused = apply(resource, "application/strategic-merge-patch+json", &json!({}), &json!({}));
        assert_eq!(refused.expect_err("a CRD").code, 415);
    }
}
