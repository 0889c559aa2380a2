//! The comparison as a plain state machine. It reads the list page by page and keeps only the matches.

use std::sync::Arc;

use kubernetes::object::Key;

/// What the driver's list should say if one attachment is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    /// The attachment.
    pub(crate) key: Key,
    /// Its volume's id at the driver.
    pub(crate) handle: Box<str>,
    /// Its node's id at the driver.
    pub(crate) node_id: Arc<str>,
    /// Whether its status says attached.
    pub(crate) attached: bool,
}

/// A comparison under way.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// By handle.
    pairs: Vec<Pair>,
}

#[derive(Debug)]
struct Pair {
    expected: Expected,
    listed: bool,
}

impl Comparison {
    /// A comparison of these attachments; nothing is listed yet.
    pub(crate) fn new(expected: impl Iterator<Item = Expected>) -> Self {
        let mut pairs: Vec<Pair> = expected.map(|expected| Pair { expected, listed: false }).collect();
        pairs.sort_unstable_by(|a, b| a.expected.handle.cmp(&b.expected.handle));
        Self { pairs }
    }

    /// The driver lists this volume as published to these nodes.
    pub(crate) fn see<S: AsRef<str>>(&mut self, handle: &str, nodes: &[S]) {
        let first = self.pairs.partition_point(|pair| *pair.expected.handle < *handle);
        let rest = self.pairs.get_mut(first..).unwrap_or_default();
        for pair in rest.iter_mut().take_while(|pair| *pair.expected.handle == *handle) {
            pair.listed |= nodes.iter().any(|node| node.as_ref() == &*pair.expected.node_id);
        }
    }

    /// After the last page: the attachments that the list contradicts.
    pub(crate) fn contradicted(self) -> Vec<Key> {
        let pairs = self.pairs.into_iter().filter(|pair| pair.expected.attached != pair.listed);
        pairs.map(|pair| pair.expected.key).collect()
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
