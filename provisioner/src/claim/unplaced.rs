//! Claims that could not be placed: they go on when the topology that they lack appears.
//!
//! However often it changes, a claim is not tried without pause ([`Floor`]).
//!
//! `Differs:` upstream tries such a claim again at the end of its back-off.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kubernetes::waiting::{Floor, passed};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::queue::ClaimId;

#[derive(Debug, Default)]
struct State {
    /// Each with its selected node, if it has one.
    claims: HashMap<ClaimId, Option<Box<str>>>,
    floor: Floor<ClaimId>,
}

/// The claims. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Unplaced {
    state: Arc<Mutex<State>>,
    /// Notified when a claim is to be woken later.
    postponed: Arc<Notify>,
}

impl Unplaced {
    /// The claim waits for a change of this node, or of any.
    pub(super) fn wait(&self, claim: ClaimId, node: Option<&str>) {
        let mut state = self.state();
        state.floor.looked(&claim);
        state.claims.insert(claim, node.map(Into::into));
    }

    /// The claim no longer waits.
    pub(super) fn forget(&self, claim: &ClaimId) {
        let mut state = self.state();
        state.floor.looked(claim);
        state.claims.remove(claim);
    }

    /// A pass over the claim has ended.
    pub(super) fn settle(&self, claim: &ClaimId) {
        let mut state = self.state();
        if !state.claims.contains_key(claim) {
            state.floor.settle(claim);
        }
    }

    /// The claims that waited for a change of this node and may be tried now. The others are left for
    /// [`Unplaced::take_late`].
    pub(super) fn take(&self, node: &str) -> Vec<ClaimId> {
        let (mut state, now) = (self.state(), Instant::now());
        let State { claims, floor } = &mut *state;
        let mut postponed = false;
        let may_go = |claim: &ClaimId, waits: &mut Option<Box<str>>| {
            let concerns = waits.as_deref().is_none_or(|name| name == node);
            let may = concerns && floor.may_wake(claim, now);
            postponed |= concerns && !may;
            may
        };
        let woken = claims.extract_if(may_go).map(|(claim, _)| claim).collect();
        if postponed {
            self.postponed.notify_one();
        }
        woken
    }

    /// Resolves when claims may be tried for which something has changed before.
    pub(super) async fn take_late(&self) -> Vec<ClaimId> {
        loop {
            let due = self.state().floor.next_due();
            tokio::select! {
                () = passed(due) => {}
                () = self.postponed.notified() => continue,
            }
            let mut state = self.state();
            let woken = state.floor.take_due(Instant::now());
            return woken.into_iter().filter(|claim| state.claims.remove(claim).is_some()).collect();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[tokio::test(start_paused = true)]
    async fn claim_is_woken_again_after_a_pause() {
        let claim = ClaimId { key: Key::new("ns", "a"), uid: "a".into() };
        let (unplaced, start) = (Unplaced::default(), Instant::now());
        for second in [0, 1, 3, 7] {
            unplaced.wait(claim.clone(), Some("node-1"));
            unplaced.settle(&claim);
            let woken = match unplaced.take("node-1") {
                woken if woken.is_empty() => unplaced.take_late().await,
                woken => woken,
            };
            assert_eq!((woken, start.elapsed().as_secs()), (vec![claim.clone()], second));
        }
        unplaced.wait(claim.clone(), Some("node-1"));
        assert!(unplaced.take("node-1").is_empty());
        unplaced.forget(&claim);
        unplaced.settle(&claim);
        unplaced.settle(&claim);
        unplaced.wait(claim.clone(), Some("node-1"));
        assert_eq!(unplaced.take("node-1"), [claim], "what is gone is forgotten");
    }
}
