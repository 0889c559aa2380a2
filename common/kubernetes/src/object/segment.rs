//! Topology segments as text, so that one segment is one text wherever it is named.

use std::cmp::Ordering;
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

/// Stands for the node's name among its segments, where a term asks for the node by name. No label is called so.
pub const NODE_NAME: &str = "@metadata.name";

/// The segments of a volume's node affinity, `None` if it requires nothing. A term with several values for a key is several
/// segments. Beside `key=value`, a segment may ask for `key`, `!key`, `key!=value`, `key>number`, `key<number` or the node's
/// name ([`NODE_NAME`]); no segment of a node looks like that. A term that cannot be kept so is left out: no node fits it.
pub(super) fn of_affinity(affinity: &VolumeNodeAffinity) -> Option<Words> {
    let terms = &affinity.required.as_ref()?.node_selector_terms;
    let texts: Vec<String> = terms.iter().flat_map(|term| of_term(term).unwrap_or_default()).collect();
    Some(words(texts.iter().map(String::as_str)))
}

/// Whether a node with these segments, its name among them, is in the place that a text of [`of_affinity`] means. Nothing is in
/// an empty one.
pub fn is_in(place: &str, segments: &BTreeMap<String, String>) -> bool {
    let number = |text: &str| text.parse::<i64>().ok();
    let compares = |key: &str, than: &str, order: Ordering| {
        let own = segments.get(key).and_then(|own| number(own));
        own.zip(number(than)).is_some_and(|(own, than)| own.cmp(&than) == order)
    };
    let holds = |part: &str| {
        if let Some((key, value)) = part.split_once("!=") {
            segments.get(key).is_none_or(|own| own != value)
        } else if let Some((key, value)) = part.split_once('=') {
            segments.get(key).is_some_and(|own| own == value)
        } else if let Some((key, than)) = part.split_once('>') {
            compares(key, than, Ordering::Greater)
        } else if let Some((key, than)) = part.split_once('<') {
            compares(key, than, Ordering::Less)
        } else if let Some(key) = part.strip_prefix('!') {
            !segments.contains_key(key)
        } else {
            segments.contains_key(part)
        }
    };
    !place.is_empty() && place.split(',').all(holds)
}

/// Whether a text of [`of_affinity`] names a value for each key, as a node's segment does.
pub fn is_exact(place: &str) -> bool {
    let is_label = |part: &str| part.contains('=') && !part.contains("!=") && !part.starts_with(NODE_NAME);
    place.split(',').all(is_label)
}

/// The segments that fit the term. `None` if there is none, if there are too many, or if it asks for what segments do not
/// say.
fn of_term(term: &NodeSelectorTerm) -> Option<Vec<String>> {
    let labels = term.match_expressions.iter().flatten().map(|one| of_requirement(&one.key, one));
    // Kubernetes knows no other field of a node.
    let fields = term.match_fields.iter().flatten();
    let fields = fields.map(|one| of_requirement((one.key == "metadata.name").then_some(NODE_NAME)?, one));
    let mut found: Vec<Vec<String>> = vec![Vec::new()];
    for parts in labels.chain(fields) {
        let parts = parts?;
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

/// What the requirement asks of `key`; one of it is enough.
fn of_requirement(key: &str, requirement: &NodeSelectorRequirement) -> Option<Vec<String>> {
    let values = requirement.values.as_deref().unwrap_or_default();
    Some(match &*requirement.operator {
        "In" => values.iter().map(|value| format!("{key}={value}")).collect(),
        "NotIn" if !values.is_empty() => {
            let parts: Vec<String> = values.iter().map(|value| format!("{key}!={value}")).collect();
            vec![parts.join(",")]
        }
        "Exists" => vec![key.to_owned()],
        operator @ ("Gt" | "Lt") => {
            let [than] = values else { return None };
            than.parse::<i64>().ok()?;
            vec![format!("{key}{}{than}", if operator == "Gt" { '>' } else { '<' })]
        }
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
            ("a field", json!({"matchExpressions": [is("a", "1")], "matchFields": [is("f", "1")]}), None),
            (
                "the node's name",
                json!({"matchExpressions": [is("a", "1")], "matchFields": [is("metadata.name", "n")]}),
                Some(&["@metadata.name=n,a=1"]),
            ),
            (
                "not the node's name",
                json!({"matchFields": [asks("metadata.name", "NotIn", &["n"])]}),
                Some(&["@metadata.name!=n"]),
            ),
            ("not in", all(&[asks("a", "NotIn", &["1", "2"])]), Some(&["a!=1,a!=2"])),
            ("exists", all(&[asks("a", "Exists", &[]), is("b", "1")]), Some(&["a,b=1"])),
            ("does not exist", all(&[asks("a", "DoesNotExist", &[])]), Some(&["!a"])),
            ("greater", all(&[asks("a", "Gt", &["1"])]), Some(&["a>1"])),
            ("less", all(&[asks("a", "Lt", &["-1"])]), Some(&["a<-1"])),
            ("greater than no number", all(&[asks("a", "Gt", &["x"])]), None),
            ("greater than two", all(&[asks("a", "Gt", &["1", "2"])]), None),
            ("another operator", all(&[asks("a", "Near", &["1"])]), None),
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
        let node = [("a", "1"), ("b", "x"), (NODE_NAME, "n")];
        let node = node.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let more =
            ["a>0", "a<2", "a>-5,a<5", "@metadata.name=n", "@metadata.name!=m", "@metadata.name=n,a=1"];
        for place in ["a=1", "a=1,b=x", "a", "!c", "a!=2", "c!=1", "a!=2,a!=3,b"].into_iter().chain(more) {
            assert!(is_in(place, &node), "{place}");
            assert_eq!(is_exact(place), ["a=1", "a=1,b=x"].contains(&place), "{place}");
        }
        let more = ["a>1", "a<1", "b>0", "b<0", "c>0", "c<0", "@metadata.name=m", "@metadata.name!=n"];
        for place in ["", "a=2", "a=1,c=3", "c", "!a", "a!=1", "a!=1,a!=2"].into_iter().chain(more) {
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
