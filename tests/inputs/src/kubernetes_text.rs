//! Selectors, labels, and templates of Secrets.

use std::collections::BTreeMap;

use base::flag::{Labels, Value as _};
use csi::topology::Term;
use kubernetes::secret::{ClaimFacts, Facts, Stage, fs_type, reference, strip_reserved};
use serde_json::json;
use sim::selects;

use crate::random::texts;

pub(crate) fn selector_seeds() -> Vec<Vec<u8>> {
    texts(&[
        "a=b,c!=d",
        "a in (b,c),!d",
        "a notin (b)",
        "metadata.name=x",
        "a==b,c",
        "app.kubernetes.io/name=x",
    ])
}

/// A label selector, as the API model understands it; and the labels of a flag and of a node.
///
/// # Panics
/// When an empty selector does not select.
pub fn selectors(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let object =
        json!({"metadata": {"name": "x", "labels": {"a": "b", "c": "d"}}, "spec": {"nodeName": "n"}});
    let (labels, fields) = (selects(Some(text), None, &object), selects(None, Some(text), &object));
    if text.is_empty() {
        assert_eq!((labels, fields), (Some(true), Some(true)));
    }
    if let Ok(Labels(labels)) = Labels::parse(text) {
        let keys: Vec<&str> = labels.keys().map(String::as_str).collect();
        let term = Term::new(labels.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        assert_eq!(term.pairs().len(), keys.len());
        assert!(term.is_subset_of(&term));
    }
}

pub(crate) fn template_seeds() -> Vec<Vec<u8>> {
    texts(&[
        "${pv.name}\n${pvc.namespace}",
        "${pvc.name}-x\n${pvc.namespace}",
        "${pvc.annotations['a.b/c']}\nns",
        "$pv.name$$${pvc.annotations['']}\n$",
        "name\nns\nxfs",
    ])
}

/// The name, the namespace and the file system that a class asks for, one a line.
///
/// # Panics
/// When what was understood is no name of an object.
pub fn secret_templates(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let keys = [
        "csi.storage.k8s.io/secret-name",
        "csi.storage.k8s.io/secret-namespace",
        "csi.storage.k8s.io/fstype",
    ];
    let parameters: BTreeMap<String, String> =
        keys.into_iter().filter_map(|key| Some((key.to_owned(), lines.next()?.to_owned()))).collect();
    let annotations = BTreeMap::from([("a.b/c".to_owned(), "noted".to_owned())]);
    let claim = ClaimFacts { namespace: "ns", name: "claim", annotations: Some(&annotations) };
    for claim in [Some(claim), Some(ClaimFacts { annotations: None, ..claim }), None] {
        let facts = Facts { volume_name: "pvc-1", claim };
        for stage in Stage::ALL {
            if let Ok(Some(secret)) = reference(stage, &parameters, &facts) {
                let is_name = |text: &str| {
                    !text.is_empty()
                        && text.bytes().all(|byte| {
                            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte)
                        })
                };
                assert!(is_name(&secret.name) && is_name(&secret.namespace), "{text:?} names {secret:?}");
            }
        }
    }
    let _ = (strip_reserved(&parameters), fs_type(&parameters, "ext4"));
}
