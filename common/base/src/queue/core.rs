//! The queue as a state machine without clock or tasks.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::lane::Lane;
use super::memory::{FEW, shrink};
use super::place::{Limits, Place};
use crate::noted::Failure;

mod view;

/// What became of a key that was worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing left to do: the key and its failures are forgotten.
    Done,
    /// Failed: again after the back-off.
    Retry,
    /// Failed: again after the back-off or after this delay, whichever is shorter.
    RetryWithin(Duration),
    /// Not ready: again after this delay. The count of failures stays as it is.
    After(Duration),
}

/// A key handed out by [`Core::pop`]; it comes back through [`Core::finish`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket<K> {
    /// What to work on.
    pub key: K,
    /// The lane it was taken from.
    pub lane: usize,
    /// How long it had been ready.
    pub waited: Duration,
}

#[derive(Debug)]
enum State {
    /// Not before the heap's entry with this number.
    Delayed {
        number: u64,
    },
    Ready {
        since: Instant,
    },
    Running {
        lane: usize,
        group: Option<Arc<str>>,
        again: bool,
    },
}

#[derive(Debug)]
struct Item {
    place: Place,
    state: State,
    past: Past,
}

/// What is remembered of a key until it is done.
#[derive(Debug)]
struct Past {
    /// When it came, in seconds since the queue was made.
    came: u32,
    /// How often it has failed in a row in this lane. The pauses go by [`Core::failures`] of all lanes, as in client-go.
    failed: u32,
    /// Its last failure, if somebody wants to see it.
    failure: Option<Box<(Failure, Instant)>>,
}

impl Past {
    fn take(&mut self) -> Self {
        Self { came: self.came, failed: self.failed, failure: self.failure.take() }
    }
}

/// The queue's state. Each operation on a key takes O(log n) or better, however many groups there are. One
/// exception: a ready key that moves to another place is searched for in its group. Metrics take O(groups).
#[derive(Debug)]
pub struct Core<K> {
    backoff: Backoff,
    limits: Limits,
    items: HashMap<K, Item>,
    failures: HashMap<K, u32>,
    delayed: BinaryHeap<Reverse<(Instant, u64)>>,
    delayed_keys: HashMap<u64, K>,
    lanes: Vec<Lane<K>>,
    /// Keys of each lane whose pause ended since [`Core::take_woken`].
    woken: Vec<u64>,
    next_lane: usize,
    next_number: u64,
    /// When the queue was made: at the first key.
    made: Option<Instant>,
}

impl<K: Clone + Eq + Hash> Core<K> {
    /// An empty queue.
    pub fn new(backoff: Backoff, limits: Limits) -> Self {
        Self {
            backoff,
            limits,
            items: HashMap::new(),
            failures: HashMap::new(),
            delayed: BinaryHeap::new(),
            delayed_keys: HashMap::new(),
            lanes: (0..limits.lanes.max(1)).map(|_| Lane::default()).collect(),
            woken: vec![0; limits.lanes.max(1)],
            next_lane: 0,
            next_number: 0,
            made: None,
        }
    }

    /// Makes `key` ready now, ending a back-off it may be in. Returns whether it was not ready before.
    ///
    /// While the key is worked on, it becomes ready again as soon as that ends. If the key is
    /// ready in another lane or group, it moves to the end of the new one and its age starts at zero. So a group stays sorted by age.
    pub fn add(&mut self, key: K, place: Place, now: Instant) -> bool {
        // First move the keys whose pause is over into their groups: they have been ready longer than this key.
        self.wake(now);
        let fresh = self.came_now(now);
        let Some(item) = self.items.get_mut(&key) else {
            self.make_ready(key, place, fresh, now);
            return true;
        };
        let past = if item.place.lane == place.lane { item.past.take() } else { fresh };
        match &mut item.state {
            State::Running { again, .. } => {
                (item.place, item.past) = (place, past);
                !std::mem::replace(again, true)
            }
            State::Ready { .. } if item.place == place => {
                item.past = past;
                false
            }
            State::Ready { .. } => {
                let old = item.place.clone();
                if let Some(lane) = self.lanes.get_mut(old.lane) {
                    lane.withdraw(&key, &old.group);
                }
                self.make_ready(key, place, past, now);
                false
            }
            State::Delayed { number } => {
                let number = *number;
                self.delayed_keys.remove(&number);
                self.make_ready(key, place, past, now);
                true
            }
        }
    }

    /// The past of a key that comes now.
    fn came_now(&mut self, now: Instant) -> Past {
        let made = *self.made.get_or_insert(now);
        let seconds = now.saturating_duration_since(made).as_secs();
        Past { came: u32::try_from(seconds).unwrap_or(u32::MAX), failed: 0, failure: None }
    }

    /// Takes the next key that may be worked on. Lanes are served in turn, groups of a lane in turn, keys of
    /// a group in the order in which they came.
    pub fn pop(&mut self, now: Instant) -> Option<Ticket<K>> {
        self.wake(now);
        let (count, limits) = (self.lanes.len(), self.limits);
        for step in 0..count {
            let index = (self.next_lane + step) % count;
            if let Some((key, group)) = self.lanes.get_mut(index).and_then(|lane| lane.take(limits)) {
                self.next_lane = index + 1;
                let waited = self.start(&key, index, group, now);
                return Some(Ticket { key, lane: index, waited });
            }
        }
        None
    }

    /// Ends the work on `key`. Returns the delay after which it comes back, if it does.
    pub fn finish(&mut self, key: &K, outcome: Outcome, now: Instant) -> Option<Duration> {
        self.finish_noting(key, outcome, None, now)
    }

    /// As [`Core::finish`], and remembers what went wrong until the key is done, or something else goes wrong.
    pub fn finish_noting(
        &mut self,
        key: &K,
        outcome: Outcome,
        failure: Option<Failure>,
        now: Instant,
    ) -> Option<Duration> {
        // As in `add`.
        self.wake(now);
        let Some(Item { place, state: State::Running { lane, group, again }, mut past }) =
            self.items.remove(key)
        else {
            return None;
        };
        match (outcome, failure) {
            (Outcome::Done, _) => past = self.came_now(now),
            // What failed in another lane was another operation.
            (_, Some(failure)) if place.lane == lane => past.failure = Some(Box::new((failure, now))),
            (_, Some(_) | None) => {}
        }
        if place.lane == lane && matches!(outcome, Outcome::Retry | Outcome::RetryWithin(_)) {
            past.failed = past.failed.saturating_add(1);
        }
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.release(&group);
        }
        let delay = match outcome {
            Outcome::Done => {
                self.failures.remove(key);
                None
            }
            Outcome::Retry => Some(self.fail(key)),
            Outcome::RetryWithin(longest) => Some(self.fail(key).min(longest)),
            Outcome::After(delay) => Some(delay),
        };
        if again {
            self.make_ready(key.clone(), place, past, now);
            return Some(Duration::ZERO);
        }
        if let Some(delay) = delay {
            self.delay(key.clone(), place, past, now + delay);
        }
        self.give_back();
        delay
    }

    /// Frees the memory that a burst needed and nobody needs now.
    fn give_back(&mut self) {
        if self.delayed.len() > FEW + 2 * self.delayed_keys.len() {
            self.delayed.retain(|Reverse((_, number))| self.delayed_keys.contains_key(number));
            self.delayed.shrink_to(FEW + self.delayed.len());
        }
        shrink(&mut self.items);
        shrink(&mut self.failures);
        shrink(&mut self.delayed_keys);
        self.lanes.iter_mut().for_each(Lane::shrink);
    }

    /// Counts a failure and returns the back-off.
    fn fail(&mut self, key: &K) -> Duration {
        let failures = self.failures.entry(key.clone()).or_insert(0);
        *failures = failures.saturating_add(1);
        self.backoff.delay(*failures)
    }

    /// When the next delayed key becomes ready.
    pub fn next_due(&mut self) -> Option<Instant> {
        while let Some(Reverse((due, number))) = self.delayed.peek() {
            if self.delayed_keys.contains_key(number) {
                return Some(*due);
            }
            self.delayed.pop();
        }
        None
    }

    /// Ready keys of a lane that nobody works on yet.
    pub fn depth(&self, lane: usize) -> usize {
        self.lanes.get(lane).map_or(0, Lane::depth)
    }

    /// Keys of a lane that are worked on.
    pub fn running(&self, lane: usize) -> usize {
        self.lanes.get(lane).map_or(0, Lane::running)
    }

    /// How often `key` has failed in a row.
    pub fn failures(&self, key: &K) -> u32 {
        self.failures.get(key).copied().unwrap_or(0)
    }

    /// Since when the oldest ready key of a lane has been ready.
    ///
    /// The first key of a group is its oldest, so only first keys are compared.
    pub fn oldest_since(&self, lane: usize) -> Option<Instant> {
        self.lanes.get(lane)?.heads().filter_map(|(_, first, _)| self.ready_since(first)).min()
    }

    /// For each group of a lane that has ready keys: its name, their number, and the oldest one's age.
    pub fn by_group(
        &self,
        lane: usize,
        now: Instant,
    ) -> impl Iterator<Item = (Option<&Arc<str>>, usize, Duration)> {
        let heads = self.lanes.get(lane).into_iter().flat_map(Lane::heads);
        heads.map(move |(name, first, length)| {
            let since = self.ready_since(first);
            (name, length, since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)))
        })
    }

    fn ready_since(&self, key: &K) -> Option<Instant> {
        match self.items.get(key)?.state {
            State::Ready { since } => Some(since),
            State::Delayed { .. } | State::Running { .. } => None,
        }
    }

    fn make_ready(&mut self, key: K, place: Place, past: Past, now: Instant) {
        let lane = place.lane.min(self.lanes.len() - 1);
        if let Some(queue) = self.lanes.get_mut(lane) {
            queue.push(place.group.clone(), key.clone());
        }
        let place = Place { lane, group: place.group };
        self.items.insert(key, Item { place, state: State::Ready { since: now }, past });
    }

    fn delay(&mut self, key: K, place: Place, past: Past, due: Instant) {
        let number = self.next_number;
        self.next_number += 1;
        self.delayed.push(Reverse((due, number)));
        self.delayed_keys.insert(number, key.clone());
        self.items.insert(key, Item { place, state: State::Delayed { number }, past });
    }

    /// How many keys of a lane have become ready because their pause ended, since this was asked last.
    pub fn take_woken(&mut self, lane: usize) -> u64 {
        self.woken.get_mut(lane).map_or(0, std::mem::take)
    }

    /// Makes the keys ready whose pause is over.
    pub fn wake(&mut self, now: Instant) {
        while let Some(Reverse((due, number))) = self.delayed.peek().copied() {
            if due > now {
                break;
            }
            self.delayed.pop();
            if let Some(key) = self.delayed_keys.remove(&number)
                && let Some(item) = self.items.remove(&key)
            {
                if let Some(woken) = self.woken.get_mut(item.place.lane) {
                    *woken += 1;
                }
                // It has been ready since its pause ended, whoever notices.
                self.make_ready(key, item.place, item.past, due);
            }
        }
    }

    fn start(&mut self, key: &K, lane: usize, group: Option<Arc<str>>, now: Instant) -> Duration {
        let Some(item) = self.items.get_mut(key) else { return Duration::ZERO };
        let running = State::Running { lane, group, again: false };
        match std::mem::replace(&mut item.state, running) {
            State::Ready { since } => now.saturating_duration_since(since),
            State::Delayed { .. } | State::Running { .. } => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests;
