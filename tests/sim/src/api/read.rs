//! Get and list.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::path::{Query, Target};
use super::refusal::Refusal;
use super::selector::Selector;
use super::store::{Key, Store};

/// How the client wants objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// As they are.
    Whole,
    /// Only metadata, as `PartialObjectMetadata`.
    Metadata,
}

impl Shape {
    /// Reads the `Accept` header.
    pub(crate) fn of(accept: &str) -> Shape {
        if accept.contains("as=PartialObjectMetadata") { Shape::Metadata } else { Shape::Whole }
    }

    /// The object in this shape.
    pub(crate) fn cut(self, object: &Arc<Value>) -> Arc<Value> {
        match self {
            Shape::Whole => object.clone(),
            Shape::Metadata => Arc::new(json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": object.get("metadata"),
            })),
        }
    }
}

/// Lists that were begun and not yet read to the end, by token: what is left, as it was at the first page.
pub(crate) type Unread = BTreeMap<u64, Page>;

/// The rest of a list.
#[derive(Debug)]
pub(crate) struct Page {
    version: u64,
    left: Vec<Arc<Value>>,
}

/// `GET` of one object.
pub(crate) fn get(store: &Store, target: &Target) -> Result<Arc<Value>, Refusal> {
    let key =
        Key { index: target.index, namespace: target.namespace.clone(), name: target.name().to_owned() };
    store.objects.get(&key).cloned().ok_or_else(|| Refusal::not_found(target.resource, target.name()))
}

/// `GET` of a collection.
pub(crate) fn list(
    store: &Store,
    unread: &mut Unread,
    target: &Target,
    query: &Query,
    shape: Shape,
) -> Result<Value, Refusal> {
    let selector = Selector::parse(query.get("labelSelector"), query.get("fieldSelector"))?;
    let limit: usize = query.get("limit").and_then(|text| text.parse().ok()).unwrap_or(0);
    let wanted = query.get("resourceVersion").unwrap_or_default();
    let Page { version, mut left } = match query.get("continue") {
        Some(_) if !wanted.is_empty() && wanted != "0" => {
            return Err(Refusal::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        Some(token) => {
            let page = token.parse().ok().and_then(|token: u64| unread.remove(&token));
            page.ok_or_else(|| {
                let message =
                    "The provided continue parameter is too old to display a consistent list result.";
                Refusal::new(410, "Expired", message)
            })?
        }
        None => {
            check_version(store, wanted, query.get("resourceVersionMatch"))?;
            let all = store.listed(target.index, &target.namespace).filter(|object| selector.matches(object));
            Page { version: store.version, left: all.cloned().collect() }
        }
    };
    let mut metadata = json!({ "resourceVersion": version.to_string() });
    // From the watch cache (version 0) everything comes at once, whatever the limit.
    let rest =
        if limit > 0 && left.len() > limit && wanted != "0" { left.split_off(limit) } else { Vec::new() };
    if !rest.is_empty() {
        let token = unread.keys().next_back().copied().unwrap_or(store.version) + 1;
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("continue".to_owned(), json!(token.to_string()));
            if selector.is_everything() {
                metadata.insert("remainingItemCount".to_owned(), json!(rest.len()));
            }
        }
        unread.insert(token, Page { version, left: rest });
    }
    let (kind, api_version) = match shape {
        Shape::Whole => (format!("{}List", target.resource.kind), target.resource.api_version()),
        Shape::Metadata => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
    };
    let items: Vec<Value> = left.iter().map(|object| item(&shape.cut(object), shape, target)).collect();
    Ok(json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items }))
}

/// Items of built-in lists do not repeat their kind.
fn item(object: &Value, shape: Shape, target: &Target) -> Value {
    let mut object = object.clone();
    if let (Shape::Whole, false, Some(map)) = (shape, target.resource.custom, object.as_object_mut()) {
        map.remove("kind");
        map.remove("apiVersion");
    }
    object
}

/// Refuses resourceVersions that cannot be served.
fn check_version(store: &Store, wanted: &str, rule: Option<&str>) -> Result<(), Refusal> {
    if wanted.is_empty() {
        return Ok(());
    }
    let Ok(version) = wanted.parse::<u64>() else {
        return Err(Refusal::bad_request(format!("Invalid resource version: {wanted}")));
    };
    if version > store.version {
        let message = format!("Too large resource version: {version}, current: {}", store.version);
        return Err(Refusal::new(504, "Timeout", message));
    }
    if rule == Some("Exact") && version != store.version {
        return Err(Refusal::new(410, "Expired", "The provided resource version is too old."));
    }
    Ok(())
}
