//! Topology segments as text, so that one segment is one text wherever it is named.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{NodeSelectorTerm, VolumeNodeAffinity};

use super::word::{Words, word, words};

/// `key=value,key=value`, sorted by key. Neither keys nor values of labels contain these signs.
pub(super) fn of_labels(labels: &BTreeMap<String, String>) -> Arc<str> {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    word(&pairs.join(","))
}

/// The segments of a volume's node affinity; those that are none are left out.
pub(super) fn of_affinity(affinity: &VolumeNodeAffinity) -> Words {
    let terms = affinity.required.iter().flat_map(|required| &required.node_selector_terms);
    let texts: Vec<String> = terms.filter_map(of_term).collect();
    words(texts.iter().map(String::as_str))
}

/// The segment, if the term is one: each key is in one value, and nothing else is asked for.
fn of_term(term: &NodeSelectorTerm) -> Option<String> {
    if term.match_fields.as_ref().is_some_and(|fields| !fields.is_empty()) {
        return None;
    }
    let pair = |expression: &k8s_openapi::api::core::v1::NodeSelectorRequirement| {
        let values = expression.values.as_deref().unwrap_or_default();
        match values {
            [value] if expression.operator == "In" => Some((expression.key.clone(), value.clone())),
            _ => None,
        }
    };
    let mut pairs: Vec<_> = term.match_expressions.iter().flatten().map(pair).collect::<Option<_>>()?;
    pairs.sort();
    let texts: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    Some(texts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Upstream's TestTermToSegment.
    #[test]
    fn a_term_is_a_segment_if_each_key_has_one_value() {
        let is = |key: &str, value: &str| json!({"key": key, "operator": "In", "values": [value]});
        for (name, term, expected) in [
            ("simple", json!({"matchExpressions": [is("a", "1")]}), Some("a=1")),
            ("multi", json!({"matchExpressions": [is("a", "1"), is("b", "2")]}), Some("a=1,b=2")),
            ("unsorted", json!({"matchExpressions": [is("b", "2"), is("a", "1")]}), Some("a=1,b=2")),
            ("fields", json!({"matchExpressions": [is("a", "1")], "matchFields": [is("f", "1")]}), None),
            (
                "operator",
                json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}),
                None,
            ),
            ("no value", json!({"matchExpressions": [{"key": "a", "operator": "In", "values": []}]}), None),
            (
                "two values",
                json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}),
                None,
            ),
        ] {
            let term: NodeSelectorTerm = serde_json::from_value(term).unwrap();
            assert_eq!(of_term(&term).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn affinities_and_labels_give_the_same_text() {
        let is = |key: &str, value: &str| json!({"key": key, "operator": "In", "values": [value]});
        let term = |expressions: Value| json!({"matchExpressions": expressions});
        let terms = json!([term(json!([is("z", "1"), is("a", "2")])), term(json!([is("z", "3")]))]);
        let affinity = serde_json::from_value(json!({"required": {"nodeSelectorTerms": terms}})).unwrap();
        let texts = of_affinity(&affinity);
        let labels = [("z", "1"), ("a", "2")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(
            texts.iter().map(|text| &**text).collect::<Vec<_>>(),
            [&*of_labels(&labels.into()), "z=3"]
        );
    }
}
