//! The queue as a state machine without clock or tasks.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::Backoff;

/// Keys that an idle queue has room for without asking for memory.
const FEW: usize = 16;

/// Where a key waits: its operation and, within it, its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Index of the operation; lanes are served in turn.
    pub lane: usize,
    /// Keys that share a fate, such as those of one node; groups of a lane are served in turn.
    pub group: Option<Arc<str>>,
}

impl Place {
    /// A place in `lane` without a group.
    pub fn lane(lane: usize) -> Self {
        Self { lane, group: None }
    }
}

/// How much of the workers one lane or one group may hold at a time.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Number of lanes; at least 1.
    pub lanes: usize,
    /// Keys of one lane worked on at once.
    pub per_lane: usize,
    /// Keys of one group (in one lane) worked on at once. Keys without a group are not counted.
    pub per_group: usize,
}

impl Limits {
    /// One lane, no groups: a plain queue.
    pub fn plain() -> Self {
        Self { lanes: 1, per_lane: usize::MAX, per_group: usize::MAX }
    }
}

/// What became of a key that was worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing left to do: the key and its failures are forgotten.
    Done,
    /// Failed: again after the back-off.
    Retry,
    /// Failed: again after the back-off, but after this delay at the latest.
    RetryWithin(Duration),
    /// Not ready: again after this delay; failures neither grow nor are forgotten.
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
}

#[derive(Debug)]
struct GroupQueue<K> {
    keys: VecDeque<K>,
    running: usize,
    in_rotation: bool,
}

impl<K> Default for GroupQueue<K> {
    fn default() -> Self {
        Self { keys: VecDeque::new(), running: 0, in_rotation: false }
    }
}

#[derive(Debug)]
struct Lane<K> {
    groups: HashMap<Option<Arc<str>>, GroupQueue<K>>,
    rotation: VecDeque<Option<Arc<str>>>,
    depth: usize,
    running: usize,
}

impl<K> Default for Lane<K> {
    fn default() -> Self {
        Self { groups: HashMap::new(), rotation: VecDeque::new(), depth: 0, running: 0 }
    }
}

/// The queue's state. All methods are O(log n) or better.
#[derive(Debug)]
pub struct Core<K> {
    backoff: Backoff,
    limits: Limits,
    items: HashMap<K, Item>,
    failures: HashMap<K, u32>,
    delayed: BinaryHeap<Reverse<(Instant, u64)>>,
    delayed_keys: HashMap<u64, K>,
    lanes: Vec<Lane<K>>,
    next_lane: usize,
    next_number: u64,
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
            next_lane: 0,
            next_number: 0,
        }
    }

    /// Makes `key` ready now, ending a back-off it may be in. Returns whether it was not ready before.
    ///
    /// While the key is worked on, it becomes ready again as soon as that ends. A key that waits in another
    /// place moves to the end of this one.
    pub fn add(&mut self, key: K, place: Place, now: Instant) -> bool {
        match self.items.get_mut(&key) {
            Some(Item { state: State::Running { again, .. }, place: old }) => {
                *old = place;
                !std::mem::replace(again, true)
            }
            Some(Item { state: State::Ready { since }, place: old }) => {
                if *old != place {
                    let (old, since) = (old.clone(), *since);
                    self.withdraw(&key, &old);
                    self.make_ready(key, place, since);
                }
                false
            }
            Some(Item { state: State::Delayed { number }, .. }) => {
                let number = *number;
                self.delayed_keys.remove(&number);
                self.make_ready(key, place, now);
                true
            }
            None => {
                self.make_ready(key, place, now);
                true
            }
        }
    }

    /// Takes the next key that may be worked on: lanes in turn, in a lane groups in turn, in a group first
    /// come first served.
    pub fn pop(&mut self, now: Instant) -> Option<Ticket<K>> {
        self.wake(now);
        let count = self.lanes.len();
        for step in 0..count {
            let index = (self.next_lane + step) % count;
            if let Some((key, group)) = self.take(index) {
                self.next_lane = (index + 1) % count;
                let waited = self.start(&key, index, group, now);
                return Some(Ticket { key, lane: index, waited });
            }
        }
        None
    }

    /// Ends the work on `key`. Returns the delay after which it comes back, if it does.
    pub fn finish(&mut self, key: &K, outcome: Outcome, now: Instant) -> Option<Duration> {
        let Some(Item { place, state: State::Running { lane, group, again } }) = self.items.remove(key)
        else {
            return None;
        };
        self.release(lane, &group);
        if self.items.is_empty() {
            self.shrink();
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
            self.make_ready(key.clone(), place, now);
            return Some(Duration::ZERO);
        }
        if let Some(delay) = delay {
            self.delay(key.clone(), place, now + delay);
        }
        delay
    }

    /// Gives back what a burst has needed.
    fn shrink(&mut self) {
        self.items.shrink_to(FEW);
        self.failures.shrink_to(FEW);
        self.delayed_keys.shrink_to(FEW);
        self.delayed.shrink_to(FEW);
        for lane in &mut self.lanes {
            lane.groups.shrink_to(FEW);
            lane.rotation.shrink_to(FEW);
        }
    }

    /// Counts a failure and tells the back-off after it.
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
        self.lanes.get(lane).map_or(0, |lane| lane.depth)
    }

    /// Keys of a lane that are worked on.
    pub fn running(&self, lane: usize) -> usize {
        self.lanes.get(lane).map_or(0, |lane| lane.running)
    }

    /// How often `key` has failed in a row.
    pub fn failures(&self, key: &K) -> u32 {
        self.failures.get(key).copied().unwrap_or(0)
    }

    /// Since when the oldest ready key of a lane has been ready.
    ///
    /// Groups are first come first served, so only each group's first key is looked at.
    pub fn oldest_since(&self, lane: usize) -> Option<Instant> {
        let groups = self.lanes.get(lane)?.groups.values();
        groups.filter_map(|group| self.ready_since(group.keys.front()?)).min()
    }

    /// For each group of a lane that has ready keys: its name, their number, and the oldest one's age.
    pub fn by_group(
        &self,
        lane: usize,
        now: Instant,
    ) -> impl Iterator<Item = (Option<&Arc<str>>, usize, Duration)> {
        self.lanes.get(lane).into_iter().flat_map(move |lane| {
            lane.groups.iter().filter_map(move |(name, group)| {
                let first = group.keys.front()?;
                let age = self
                    .ready_since(first)
                    .map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
                Some((name.as_ref(), group.keys.len(), age))
            })
        })
    }

    fn ready_since(&self, key: &K) -> Option<Instant> {
        match self.items.get(key)?.state {
            State::Ready { since } => Some(since),
            State::Delayed { .. } | State::Running { .. } => None,
        }
    }

    fn make_ready(&mut self, key: K, place: Place, now: Instant) {
        let lane = place.lane.min(self.lanes.len() - 1);
        if let Some(queue) = self.lanes.get_mut(lane) {
            queue.depth += 1;
            let group = queue.groups.entry(place.group.clone()).or_default();
            group.keys.push_back(key.clone());
            if !group.in_rotation {
                group.in_rotation = true;
                queue.rotation.push_back(place.group.clone());
            }
        }
        let place = Place { lane, group: place.group };
        self.items.insert(key, Item { place, state: State::Ready { since: now } });
    }

    /// Takes a ready key out of its group's queue.
    fn withdraw(&mut self, key: &K, place: &Place) {
        let Some(lane) = self.lanes.get_mut(place.lane) else { return };
        let Some(group) = lane.groups.get_mut(&place.group) else { return };
        let Some(index) = group.keys.iter().position(|known| known == key) else { return };
        group.keys.remove(index);
        lane.depth -= 1;
    }

    fn delay(&mut self, key: K, place: Place, due: Instant) {
        let number = self.next_number;
        self.next_number += 1;
        self.delayed.push(Reverse((due, number)));
        self.delayed_keys.insert(number, key.clone());
        self.items.insert(key, Item { place, state: State::Delayed { number } });
    }

    fn wake(&mut self, now: Instant) {
        while let Some(Reverse((due, number))) = self.delayed.peek().copied() {
            if due > now {
                break;
            }
            self.delayed.pop();
            if let Some(key) = self.delayed_keys.remove(&number)
                && let Some(item) = self.items.remove(&key)
            {
                self.make_ready(key, item.place, now);
            }
        }
    }

    fn take(&mut self, index: usize) -> Option<(K, Option<Arc<str>>)> {
        let limits = self.limits;
        let lane = self.lanes.get_mut(index)?;
        if lane.running >= limits.per_lane {
            return None;
        }
        while let Some(name) = lane.rotation.pop_front() {
            let Some(group) = lane.groups.get_mut(&name) else { continue };
            group.in_rotation = false;
            if name.is_some() && group.running >= limits.per_group {
                continue;
            }
            let Some(key) = group.keys.pop_front() else {
                if group.running == 0 {
                    lane.groups.remove(&name);
                }
                continue;
            };
            group.running += 1;
            if !group.keys.is_empty() {
                group.in_rotation = true;
                lane.rotation.push_back(name.clone());
            }
            lane.depth -= 1;
            lane.running += 1;
            return Some((key, name));
        }
        None
    }

    fn start(&mut self, key: &K, lane: usize, group: Option<Arc<str>>, now: Instant) -> Duration {
        let Some(item) = self.items.get_mut(key) else { return Duration::ZERO };
        let running = State::Running { lane, group, again: false };
        match std::mem::replace(&mut item.state, running) {
            State::Ready { since } => now.saturating_duration_since(since),
            State::Delayed { .. } | State::Running { .. } => Duration::ZERO,
        }
    }

    fn release(&mut self, lane: usize, name: &Option<Arc<str>>) {
        let Some(lane) = self.lanes.get_mut(lane) else { return };
        lane.running = lane.running.saturating_sub(1);
        let Some(group) = lane.groups.get_mut(name) else { return };
        group.running = group.running.saturating_sub(1);
        if group.keys.is_empty() && group.running == 0 && !group.in_rotation {
            lane.groups.remove(name);
        } else if !group.keys.is_empty() && !group.in_rotation {
            group.in_rotation = true;
            lane.rotation.push_back(name.clone());
        }
    }
}
