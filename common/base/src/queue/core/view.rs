//! The queue as the status page shows it.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display, Write as _};
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Core, Item, State};
use crate::status::{self, Node, Stage, Wanted};

impl<K: Clone + Eq + Hash + Display> Core<K> {
    /// What waits in a lane. Takes O(keys), and memory for what is shown only.
    pub fn view(&self, lane: usize, wanted: &Wanted<'_>, now: Instant) -> status::Lane {
        let mut view = status::Lane::default();
        let mut nodes: HashMap<&Arc<str>, (usize, u32)> = HashMap::new();
        let mut oldest: Oldest<'_, K> = Oldest { most: wanted.items, items: Vec::new() };
        let is_asked_for = |key: &K| wanted.only.is_none_or(|only| prints_as(key, only));
        for (key, item) in self.items.iter().filter(|(_, item)| item.lane() == lane) {
            if !is_asked_for(key) {
                continue;
            }
            match &item.state {
                State::Ready { .. } => view.ready += 1,
                State::Running { .. } => view.running += 1,
                State::Delayed { .. } => view.paused += 1,
            }
            if let Some(node) = &item.place.group {
                let (count, came) = nodes.entry(node).or_insert((0, u32::MAX));
                (*count, *came) = (*count + 1, item.past.came.min(*came));
            }
            oldest.push(key, item);
        }
        view.nodes = self.nodes(nodes, wanted.nodes, now);
        let items = oldest.sorted();
        let due = self.due(&items);
        view.items = items.iter().map(|(key, item)| self.item(key, item, &due, now)).collect();
        view
    }

    fn nodes(&self, nodes: HashMap<&Arc<str>, (usize, u32)>, most: usize, now: Instant) -> Vec<Node> {
        let mut nodes: Vec<_> = nodes.into_iter().collect();
        nodes.sort_by(|(one, (_, came)), (other, (_, after))| (came, one).cmp(&(after, other)));
        let shown = nodes.into_iter().take(most);
        shown
            .map(|(name, (items, came))| Node { name: name.clone(), items, oldest: self.age(came, now) })
            .collect()
    }

    /// When these keys are due, of those that wait for their next try.
    fn due(&self, items: &[(&K, &Item)]) -> BTreeMap<u64, Instant> {
        let number = |(_, item): &(&K, &Item)| match item.state {
            State::Delayed { number } => Some((number, None)),
            State::Ready { .. } | State::Running { .. } => None,
        };
        let mut due: BTreeMap<u64, Option<Instant>> = items.iter().filter_map(number).collect();
        for std::cmp::Reverse((at, number)) in &self.delayed {
            if let Some(found) = due.get_mut(number) {
                *found = Some(*at);
            }
        }
        due.into_iter().filter_map(|(number, at)| Some((number, at?))).collect()
    }

    fn item(&self, key: &K, item: &Item, due: &BTreeMap<u64, Instant>, now: Instant) -> status::Item {
        let stage = match &item.state {
            State::Running { .. } => Stage::Running,
            State::Ready { .. } if self.is_node_busy(item) => Stage::NodeBusy,
            State::Ready { .. } => Stage::Ready,
            State::Delayed { number } => {
                let due = due.get(number).copied().unwrap_or(now);
                Stage::Paused(due.saturating_duration_since(now))
            }
        };
        let failure = item.past.failure.as_deref();
        status::Item {
            object: key.to_string(),
            node: item.place.group.clone(),
            stage,
            age: self.age(item.past.came, now),
            failures: item.past.failed,
            failure: failure.map(|(failure, at)| (failure.clone(), now.saturating_duration_since(*at))),
        }
    }

    fn is_node_busy(&self, item: &Item) -> bool {
        self.lanes.get(item.place.lane).is_some_and(|lane| lane.is_full(&item.place.group))
    }

    fn age(&self, came: u32, now: Instant) -> Duration {
        let since = self.made.map_or(Duration::ZERO, |made| now.saturating_duration_since(made));
        since.saturating_sub(Duration::from_secs(came.into()))
    }
}

impl Item {
    /// Where it is worked on, else where it waits.
    fn lane(&self) -> usize {
        match self.state {
            State::Running { lane, .. } => lane,
            State::Ready { .. } | State::Delayed { .. } => self.place.lane,
        }
    }
}

/// Whether the key prints as this text. No text is made for it: a queue may have very many keys.
fn prints_as(key: &impl Display, text: &str) -> bool {
    let mut rest = Rest(text);
    write!(rest, "{key}").is_ok() && rest.0.is_empty()
}

/// What of a text was not written yet.
struct Rest<'a>(&'a str);

impl fmt::Write for Rest<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.0 = self.0.strip_prefix(part).ok_or(fmt::Error)?;
        Ok(())
    }
}

/// The oldest of many items, without a list of all.
struct Oldest<'a, K> {
    most: usize,
    items: Vec<(&'a K, &'a Item)>,
}

impl<'a, K: Display> Oldest<'a, K> {
    fn push(&mut self, key: &'a K, item: &'a Item) {
        self.items.push((key, item));
        if self.items.len() > 4 * self.most {
            let nth = self.most.min(self.items.len() - 1);
            self.items.select_nth_unstable_by_key(nth, |(_, item)| item.past.came);
            self.items.truncate(self.most);
        }
    }

    fn sorted(mut self) -> Vec<(&'a K, &'a Item)> {
        self.items.sort_by_key(|(_, item)| item.past.came);
        self.items.truncate(self.most);
        self.items.sort_by_cached_key(|(key, item)| (item.past.came, key.to_string()));
        self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noted::Failure;
    use crate::queue::{Backoff, Limits, Outcome, Place};

    const SECOND: Duration = Duration::from_secs(1);
    const ALL: Wanted<'_> = Wanted { items: 3, nodes: 2, only: None };

    fn queue(lanes: usize, per_group: usize) -> Core<String> {
        let backoff = Backoff { base: SECOND, max: 300 * SECOND };
        Core::new(backoff, Limits { lanes, per_lane: 10, per_group })
    }

    #[test]
    fn key_that_fails_shows_its_error_age_and_next_try() {
        let (mut core, start) = (queue(1, 10), Instant::now());
        core.add("a".to_owned(), Place::lane(0), start);
        core.pop(start).unwrap();
        let failure = Failure::new("Failed to attach", "no space", false);
        core.finish_noting(&"a".to_owned(), Outcome::Retry, Some(failure.clone()), start + 5 * SECOND);
        core.add("a".to_owned(), Place::lane(0), start + 5 * SECOND);
        core.pop(start + 5 * SECOND).unwrap();
        // No failure is noted: the one before stays.
        core.finish(&"a".to_owned(), Outcome::Retry, start + 6 * SECOND);
        let view = core.view(0, &ALL, start + 7 * SECOND);
        let expected = status::Item {
            object: "a".to_owned(),
            node: None,
            stage: Stage::Paused(SECOND),
            age: 7 * SECOND,
            failures: 2,
            failure: Some((failure, 2 * SECOND)),
        };
        assert_eq!((view.paused, view.items), (1, vec![expected]));
        core.pop(start + 8 * SECOND).unwrap();
        core.finish(&"a".to_owned(), Outcome::Done, start + 9 * SECOND);
        assert!(core.view(0, &ALL, start + 9 * SECOND).is_empty());
    }

    #[test]
    fn only_the_oldest_are_shown_and_all_are_counted() {
        let (mut core, start) = (queue(1, 10), Instant::now());
        for number in 0..1_000_u32 {
            let node: Arc<str> = format!("node-{}", number % 7).into();
            let came = start + (number * 17 % 1_000) * SECOND;
            core.add(format!("{number}"), Place { lane: 0, group: Some(node) }, came.max(start));
        }
        let view = core.view(0, &ALL, start + 1_000 * SECOND);
        let ages: Vec<u64> = view.items.iter().map(|item| item.age.as_secs()).collect();
        assert_eq!((view.len(), ages, view.nodes.len()), (1_000, vec![1_000, 999, 998], 2));
        assert_eq!((view.nodes[0].items, view.nodes[0].oldest), (143, 1_000 * SECOND));
        let only = core.view(0, &Wanted { only: Some("17"), ..ALL }, start);
        assert_eq!((only.len(), only.items.len(), only.items[0].object.as_str()), (1, 1, "17"));
    }

    #[test]
    fn key_held_by_its_node_s_share_says_so() {
        let (mut core, start) = (queue(2, 1), Instant::now());
        for (key, node) in [("a", "n"), ("b", "n"), ("c", "m"), ("d", "m")] {
            core.add(key.to_owned(), Place { lane: 1, group: Some(node.into()) }, start);
        }
        let begun: Vec<String> = std::iter::from_fn(|| core.pop(start)).map(|ticket| ticket.key).collect();
        assert_eq!(begun, ["a", "c"]);
        let view = core.view(1, &Wanted { items: 9, ..ALL }, start);
        let stages: Vec<Stage> = view.items.iter().map(|item| item.stage).collect();
        assert_eq!(stages, [Stage::Running, Stage::NodeBusy, Stage::Running, Stage::NodeBusy]);
        assert!(core.view(0, &ALL, start).is_empty());
    }

    #[test]
    fn key_that_moves_to_another_operation_begins_anew() {
        let (mut core, start) = (queue(2, 1), Instant::now());
        core.add("a".to_owned(), Place::lane(0), start);
        core.pop(start).unwrap();
        let failure = Some(Failure::new("Failed to attach", "no", false));
        core.finish_noting(&"a".to_owned(), Outcome::Retry, failure.clone(), start);
        assert_eq!(core.view(0, &ALL, start).items[0].failures, 1);
        core.add("a".to_owned(), Place::lane(1), start + 9 * SECOND);
        let view = core.view(1, &ALL, start + 10 * SECOND);
        assert_eq!((view.items[0].age, &view.items[0].failure), (SECOND, &None));
        assert_eq!(view.items[0].failures, 0, "it was another operation that failed");
        core.pop(start + 10 * SECOND).unwrap();
        let pause = core.finish_noting(&"a".to_owned(), Outcome::Retry, failure, start + 10 * SECOND);
        assert_eq!(pause, Some(2 * SECOND), "the pause goes by all failures, as upstream's");
        assert_eq!(core.view(1, &ALL, start + 10 * SECOND).items[0].failures, 1);
    }

    #[test]
    fn key_is_found_by_the_text_that_it_prints() {
        for (key, text, expected) in
            [("ns/a", "ns/a", true), ("ns/a", "ns/ab", false), ("ns/ab", "ns/a", false), ("", "", true)]
        {
            assert_eq!(prints_as(&key, text), expected, "{key} {text}");
        }
        assert!(prints_as(&format_args!("{}/{}", "ns", 5), "ns/5"), "printed in parts");
    }

    /// An attachment that is deleted while it is attached.
    #[test]
    fn failure_of_the_former_operation_is_not_that_of_the_next() {
        let (mut core, start) = (queue(2, 1), Instant::now());
        core.add("a".to_owned(), Place::lane(0), start);
        core.pop(start).unwrap();
        core.add("a".to_owned(), Place::lane(1), start);
        let failure = Some(Failure::new("Failed to attach", "no", false));
        core.finish_noting(&"a".to_owned(), Outcome::Retry, failure, start);
        assert_eq!(core.view(1, &ALL, start).items[0].failure, None);
    }
}
