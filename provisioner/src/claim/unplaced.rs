//! Claims that could not be placed: they go on when the topology that they lack appears.
//!
//! `Differs:` upstream tries such a claim again at the end of its back-off.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::queue::ClaimId;

/// The claims, each with its selected node, if it has one. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Unplaced(Arc<Mutex<HashMap<ClaimId, Option<Box<str>>>>>);

impl Unplaced {
    /// The claim waits for a change of this node, or of any.
    pub(super) fn wait(&self, claim: ClaimId, node: Option<&str>) {
        self.claims().insert(claim, node.map(Into::into));
    }

    /// The claim no longer waits.
    pub(super) fn forget(&self, claim: &ClaimId) {
        self.claims().remove(claim);
    }

    /// The claims that waited for a change of this node.
    pub(super) fn take(&self, node: &str) -> Vec<ClaimId> {
        let waits =
            |_: &ClaimId, waits: &mut Option<Box<str>>| waits.as_deref().is_none_or(|name| name == node);
        self.claims().extract_if(waits).map(|(claim, _)| claim).collect()
    }

    fn claims(&self) -> MutexGuard<'_, HashMap<ClaimId, Option<Box<str>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubernetes::object::Key;

    #[test]
    fn change_of_a_node_wakes_its_own_claims_and_those_of_any_node() {
        let id = |name: &str| ClaimId { key: Key::new("ns", name), uid: name.into() };
        let unplaced = Unplaced::default();
        for (name, node) in [("a", Some("node-1")), ("b", Some("node-2")), ("c", None), ("d", Some("node-1"))]
        {
            unplaced.wait(id(name), node);
        }
        unplaced.forget(&id("d"));
        let mut woken = unplaced.take("node-1");
        woken.sort_by_key(ToString::to_string);
        assert_eq!(woken, [id("a"), id("c")]);
        assert!(unplaced.take("node-1").is_empty(), "each is woken once");
        assert_eq!(unplaced.take("node-2"), [id("b")]);
    }
}
