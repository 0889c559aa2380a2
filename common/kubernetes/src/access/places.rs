//! The questions that may be open at once, and each peer's share of them.
//!
//! A peer may have one more open while it has fewer than there are free places. So one peer alone gets half of them, a second one
//! half of the rest, and somebody who asks nothing yet finds a place however much a few others ask.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Questions that may be open at once.
pub(super) const MOST_QUESTIONS: usize = 8;
/// Further ones about tokens that were good before.
const RESERVED: usize = 2;

/// The places of the questions that are open.
#[derive(Default)]
pub(super) struct Places(Mutex<Open>);

#[derive(Default)]
struct Open {
    /// No peer has none.
    by_peer: HashMap<IpAddr, usize>,
    reserved: usize,
}

/// A place; dropping it frees it.
pub(super) struct Place {
    places: Arc<Places>,
    /// Whose share it is of; none for a reserved one.
    peer: Option<IpAddr>,
}

impl Places {
    /// A place for a question of this peer, if there is one. `was_good`: about a token that was good before.
    pub(super) fn take(self: &Arc<Self>, peer: IpAddr, was_good: bool) -> Option<Place> {
        let mut open = self.open();
        let place = |peer| Place { places: self.clone(), peer };
        if has_share(open.by_peer.get(&peer).copied().unwrap_or(0), open.by_peer.values().sum()) {
            *open.by_peer.entry(peer).or_insert(0) += 1;
            return Some(place(Some(peer)));
        }
        if was_good && open.reserved < RESERVED {
            open.reserved += 1;
            return Some(place(None));
        }
        None
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.places.open();
        let Some(peer) = self.peer else {
            open.reserved = open.reserved.saturating_sub(1);
            return;
        };
        let left = open.by_peer.get(&peer).map_or(0, |count| count.saturating_sub(1));
        match left {
            0 => drop(open.by_peer.remove(&peer)),
            left => drop(open.by_peer.insert(peer, left)),
        }
    }
}

/// Whether a peer with so many open questions, of so many in all, may have one more.
fn has_share(of_peer: usize, of_all: usize) -> bool {
    of_peer < MOST_QUESTIONS.saturating_sub(of_all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many places this peer gets when it takes what it can.
    fn take_all(places: &Arc<Places>, peer: u8, was_good: bool) -> Vec<Place> {
        std::iter::from_fn(|| places.take([10, 0, 0, peer].into(), was_good)).collect()
    }

    #[test]
    fn peers_that_take_all_they_can_leave_some_to_others() {
        let places = Arc::new(Places::default());
        let taken: Vec<Vec<Place>> = (0..6).map(|peer| take_all(&places, peer, false)).collect();
        let counts: Vec<usize> = taken.iter().map(Vec::len).collect();
        assert_eq!(counts, [4, 2, 1, 1, 0, 0]);
        assert_eq!(take_all(&places, 9, true).len(), RESERVED);
    }

    #[test]
    fn place_that_is_given_back_is_free() {
        let places = Arc::new(Places::default());
        for was_good in [false, true] {
            for _ in 0..3 {
                let taken = take_all(&places, 1, was_good);
                assert_eq!(taken.len(), if was_good { 4 + RESERVED } else { 4 });
            }
        }
        assert!(places.open().by_peer.is_empty() && places.open().reserved == 0);
    }
}
