//! The ready keys of one operation. Groups are served in turn, the keys of a group in the order in which they
//! came.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::memory::{FEW, shrink};
use super::place::Limits;

/// The keys of one operation that are ready, and how many are worked on.
#[derive(Debug)]
pub(super) struct Lane<K> {
    groups: HashMap<Option<Arc<str>>, Group<K>>,
    /// Groups that may have a ready key, in the order in which they are served.
    rotation: VecDeque<Option<Arc<str>>>,
    /// Groups that have ready keys and use all the workers of their share.
    full: HashSet<Option<Arc<str>>>,
    depth: usize,
    running: usize,
}

#[derive(Debug)]
struct Group<K> {
    keys: VecDeque<K>,
    running: usize,
    in_rotation: bool,
}

impl<K> Default for Group<K> {
    fn default() -> Self {
        Self { keys: VecDeque::new(), running: 0, in_rotation: false }
    }
}

impl<K> Default for Lane<K> {
    fn default() -> Self {
        Self { groups: HashMap::new(), rotation: VecDeque::new(), full: HashSet::new(), depth: 0, running: 0 }
    }
}

impl<K: Eq> Lane<K> {
    /// Ready keys that nobody works on yet.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// Keys that are worked on.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// Whether a group has ready keys and uses all the workers of its share.
    pub(super) fn is_full(&self, name: &Option<Arc<str>>) -> bool {
        self.full.contains(name)
    }

    /// Each group that has ready keys: its name, its first key, how many they are.
    pub(super) fn heads(&self) -> impl Iterator<Item = (Option<&Arc<str>>, &K, usize)> {
        let groups = self.groups.iter();
        groups.filter_map(|(name, group)| Some((name.as_ref(), group.keys.front()?, group.keys.len())))
    }

    /// A key is ready.
    pub(super) fn push(&mut self, name: Option<Arc<str>>, key: K) {
        self.depth += 1;
        let group = self.groups.entry(name.clone()).or_default();
        group.keys.push_back(key);
        if !group.in_rotation && !self.full.contains(&name) {
            group.in_rotation = true;
            self.rotation.push_back(name);
        }
    }

    /// Takes a ready key out of its group.
    pub(super) fn withdraw(&mut self, key: &K, name: &Option<Arc<str>>) {
        let Some(group) = self.groups.get_mut(name) else { return };
        let Some(index) = group.keys.iter().position(|known| known == key) else { return };
        group.keys.remove(index);
        if group.keys.is_empty() {
            self.full.remove(name);
        }
        self.depth -= 1;
    }

    /// The next key that may be worked on, with its group. While no other group waits, a group may use more workers
    /// than its share. It always leaves one share free. So if all its calls hang, other groups still go on.
    pub(super) fn take(&mut self, limits: Limits) -> Option<(K, Option<Arc<str>>)> {
        if self.running >= limits.per_lane {
            return None;
        }
        while let Some(name) = self.rotation.pop_front() {
            let Some(group) = self.groups.get_mut(&name) else { continue };
            group.in_rotation = false;
            if group.keys.is_empty() {
                if group.running == 0 {
                    self.groups.remove(&name);
                }
                continue;
            }
            if name.is_some() && group.running >= limits.per_group {
                self.full.insert(name);
                continue;
            }
            return self.take_from(name);
        }
        let free = limits.per_lane.saturating_sub(self.running);
        let alone = self.full.len() == 1 && free > limits.per_group;
        let name = self.full.iter().next().filter(|_| alone)?.clone();
        self.take_from(name)
    }

    fn take_from(&mut self, name: Option<Arc<str>>) -> Option<(K, Option<Arc<str>>)> {
        let group = self.groups.get_mut(&name)?;
        let key = group.keys.pop_front()?;
        group.running += 1;
        if group.keys.is_empty() {
            self.full.remove(&name);
        } else if !self.full.contains(&name) {
            group.in_rotation = true;
            self.rotation.push_back(name.clone());
        }
        self.depth -= 1;
        self.running += 1;
        Some((key, name))
    }

    /// The work on a key of this group has ended.
    pub(super) fn release(&mut self, name: &Option<Arc<str>>) {
        self.running = self.running.saturating_sub(1);
        let Some(group) = self.groups.get_mut(name) else { return };
        group.running = group.running.saturating_sub(1);
        if group.keys.is_empty() && group.running == 0 && !group.in_rotation {
            self.groups.remove(name);
        } else if !group.keys.is_empty() && !group.in_rotation {
            // Whether it is still full is seen when its turn comes.
            self.full.remove(name);
            group.in_rotation = true;
            self.rotation.push_back(name.clone());
        }
    }

    /// Gives back what a burst has needed.
    pub(super) fn shrink(&mut self) {
        shrink(&mut self.groups);
        if self.rotation.capacity() > 8 * (FEW + self.rotation.len()) {
            self.rotation.shrink_to(FEW + 2 * self.rotation.len());
        }
    }
}

#[cfg(test)]
mod tests;
