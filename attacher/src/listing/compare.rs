//! The comparison as a plain state machine: told the list page by page, it keeps nothing of it but the matches.

use std::collections::HashMap;
use std::sync::Arc;

use common::kube::object::Key;

/// What one attachment lets expect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The attachment.
    pub key: Key,
    /// Its volume's id at the driver.
    pub handle: Box<str>,
    /// Its node's id at the driver.
    pub node_id: Arc<str>,
    /// Whether its status says attached.
    pub attached: bool,
}

/// A comparison under way.
#[derive(Debug, Default)]
pub struct Comparison {
    by_handle: HashMap<Box<str>, Vec<Pair>>,
}

#[derive(Debug)]
struct Pair {
    key: Key,
    node_id: Arc<str>,
    attached: bool,
    listed: bool,
}

impl Comparison {
    /// A comparison of these attachments; nothing is listed yet.
    pub fn new(expected: impl Iterator<Item = Expected>) -> Self {
        let mut by_handle: HashMap<Box<str>, Vec<Pair>> = HashMap::new();
        for Expected { key, handle, node_id, attached } in expected {
            by_handle.entry(handle).or_default().push(Pair { key, node_id, attached, listed: false });
        }
        Self { by_handle }
    }

    /// The driver lists this volume as published to these nodes.
    pub fn see<S: AsRef<str>>(&mut self, handle: &str, nodes: &[S]) {
        for pair in self.by_handle.get_mut(handle).into_iter().flatten() {
            pair.listed |= nodes.iter().any(|node| node.as_ref() == &*pair.node_id);
        }
    }

    /// After the last page: the attachments that say otherwise than the list.
    pub fn contradicted(self) -> Vec<Key> {
        let pairs = self.by_handle.into_values().flatten();
        pairs.filter(|pair| pair.attached != pair.listed).map(|pair| pair.key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(key: &str, handle: &str, node_id: &str, attached: bool) -> Expected {
        Expected { key: Key::cluster(key), handle: handle.into(), node_id: node_id.into(), attached }
    }

    fn contradicted(expected: &[Expected], pages: &[(&str, &[&str])]) -> Vec<String> {
        let mut comparison = Comparison::new(expected.iter().cloned());
        pages.iter().for_each(|(handle, nodes)| comparison.see(handle, nodes));
        let mut keys: Vec<String> = comparison.contradicted().iter().map(Key::to_string).collect();
        keys.sort();
        keys
    }

    #[test]
    fn only_contradictions_are_found() {
        let (yes, no) = (expected("yes", "h", "n1", true), expected("no", "h", "n2", false));
        for (listed, found) in [
            (&[("h", &["n1"][..])][..], &[][..]),
            (&[], &["yes"]),
            (&[("h", &[])], &["yes"]),
            (&[("h", &["n2"])], &["no", "yes"]),
            (&[("h", &["n1", "n2"])], &["no"]),
            (&[("other", &["n1"]), ("h", &["n1", "n3"])], &[]),
        ] {
            assert_eq!(contradicted(&[yes.clone(), no.clone()], listed), found, "{listed:?}");
        }
    }

    #[test]
    fn volumes_without_attachments_are_nobodys_business() {
        assert!(contradicted(&[], &[("h", &["n1"])]).is_empty());
    }
}
