//! Topology segments as text, so that one segment is one text wherever it is named.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, VolumeNodeAffinity};

use super::word::{Words, word, words};

/// `key=value,key=value`, sorted by key. Neither keys nor values of labels contain these signs.
pub(super) fn of_labels(labels: &BTreeMap<String, String>) -> Arc<str> {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    word(&pairs.join(","))
}

/// Most segments that one term is kept as.
const MOST: usize = 64;

/// The segments of a volume's node affinity, `None` if it requires nothing. A term with several values for a key is several
/// segments. Beside `key=value`, a segment may ask for `key`, `!key` or `key!=value`; no segment of a node looks like that. A
/// term that cannot be kept so is left out: no node fits it.
pub(super) fn of_affinity(affinity: &VolumeNodeAffinity) -> Option<Words> {
    let terms = &affinity.required.as_ref()?.node_selector_terms;
    let texts: Vec<String> = terms.iter().flat_map(|term| of_term(term).unwrap_or_default()).collect();
    Some(words(texts.iter().map(String::as_str)))
}

/// Whether a node with these segments is in the place that a text of [`of_affinity`] means. Nothing is in an empty one.
pub fn is_in(place: &str, segments: &BTreeMap<String, String>) -> bool {
    let holds = |part: &str| match (part.split_once("!="), part.split_once('='), part.strip_prefix('!')) {
        (Some((key, value)), ..) => segments.get(key).is_none_or(|own| own != value),
        (None, Some((key, value)), _) => segments.get(key).is_some_and(|own| own == value),
        (None, None, Some(key)) => !segments.contains_key(key),
        (None, None, None) => segments.contains_key(part),
    };
    !place.is_empty() && place.split(',').all(holds)
}

/// Whether a text of [`of_affinity`] names a value for each key, as a node's segment does.
pub fn is_exact(place: &str) -> bool {
    place.split(',').all(|part| part.contains('=') && !part.contains("!="))
}

/// The segments that fit the term. `None` if there is none, if there are too many, or if it asks for what segments do not
/// say.
fn of_term(term: &NodeSelectorTerm) -> Option<Vec<String>> {
    if term.match_fields.as_ref().is_some_and(|fields| !fields.is_empty()) {
        return None;
    }
    let mut found: Vec<Vec<String>> = vec![Vec::new()];
    for requirement in term.match_expressions.iter().flatten() {
        let parts = of_requirement(requirement)?;
        if parts.is_empty() || found.len().saturating_mul(parts.len()) > MOST {
            return None;
        }
        let with = |have: &Vec<String>| {
            let have = have.clone();
            parts.clone().into_iter().map(move |part| have.iter().cloned().chain([part]).collect())
        };
        found = found.iter().flat_map(with).collect();
    }
    let text = |mut parts: Vec<String>| {
        parts.sort();
        parts.join(",")
    };
    Some(found.into_iter().map(text).collect())
}

/// What the requirement asks for; one of it is enough.
fn of_requirement(requirement: &NodeSelectorRequirement) -> Option<Vec<String>> {
    let key = &requirement.key;
    let values = requirement.values.as_deref().unwrap_or_default();
    Some(match &*requirement.operator {
        "In" => values.iter().map(|value| format!("{key}={value}")).collect(),
        "NotIn" if !values.is_empty() => {
            let parts: Vec<String> = values.iter().map(|value| format!("{key}!={value}")).collect();
            vec![parts.join(",")]
        }
        "Exists" => vec![key.clone()],
        "DoesNotExist" => vec![format!("!{key}")],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Upstream's TestTermToSegment, and what a node's segments can be compared with.
    #[test]
    fn a_term_is_the_segments_that_fit_it() {
        let asks = |key: &str, operator: &str, values: &[&str]| json!({"key": key, "operator": operator, "values": values});
        let is = |key: &str, value: &str| asks(key, "In", &[value]);
        let all = |requirements: &[Value]| json!({"matchExpressions": requirements});
        let many: Vec<String> = (0..65).map(|number| number.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (name, term, expected) in [
            ("simple", all(&[is("a", "1")]), Some(&["a=1"][..])),
            ("multi", all(&[is("a", "1"), is("b", "2")]), Some(&["a=1,b=2"])),
            ("unsorted", all(&[is("b", "2"), is("a", "1")]), Some(&["a=1,b=2"])),
            ("fields", json!({"matchExpressions": [is("a", "1")], "matchFields": [is("f", "1")]}), None),
            ("not in", all(&[asks("a", "NotIn", &["1", "2"])]), Some(&["a!=1,a!=2"])),
            ("exists", all(&[asks("a", "Exists", &[]), is("b", "1")]), Some(&["a,b=1"])),
            ("does not exist", all(&[asks("a", "DoesNotExist", &[])]), Some(&["!a"])),
            ("another operator", all(&[asks("a", "Gt", &["1"])]), None),
            ("no value", all(&[asks("a", "In", &[])]), None),
            ("two values", all(&[asks("a", "In", &["1", "2"]), is("b", "3")]), Some(&["a=1,b=3", "a=2,b=3"])),
            ("too many values", all(&[asks("a", "In", &many)]), None),
        ] {
            let term: NodeSelectorTerm = serde_json::from_value(term).unwrap();
            let expected = expected.map(|texts| texts.iter().map(|text| (*text).to_owned()).collect());
            assert_eq!(of_term(&term), expected, "{name}");
        }
    }

    #[test]
    fn a_node_is_in_a_place_if_all_parts_of_it_hold() {
        let node = [("a", "1"), ("b", "2")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        for place in ["a=1", "a=1,b=2", "a", "!c", "a!=2", "c!=1", "a!=2,a!=3,b"] {
            assert!(is_in(place, &node), "{place}");
            assert_eq!(is_exact(place), ["a=1", "a=1,b=2"].contains(&place), "{place}");
        }
        for place in ["", "a=2", "a=1,c=3", "c", "!a", "a!=1", "a!=1,a!=2"] {
            assert!(!is_in(place, &node), "{place}");
        }
    }

    #[test]
    fn affinities_and_labels_give_the_same_text() {
        let is = |key: &str, value: &str| json!({"key": key, "operator": "In", "values": [value]});
        let term = |expressions: Value| json!({"matchExpressions": expressions});
        let terms = json!([term(json!([is("z", "1"), is("a", "2")])), term(json!([is("z", "3")]))]);
        let affinity = serde_json::from_value(json!({"required": {"nodeSelectorTerms": terms}})).unwrap();
        let texts = of_affinity(&affinity).unwrap();
        let labels = [("z", "1"), ("a", "2")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(
            texts.iter().map(|text| &**text).collect::<Vec<_>>(),
            [&*of_labels(&labels.into()), "z=3"]
        );
    }
}
