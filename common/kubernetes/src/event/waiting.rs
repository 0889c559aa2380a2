//! The events that wait to be written, the oldest first.
//!
//! `Differs:` an event that says that something begins is left out if, before it could be written, there is something newer to say
//! about the object. Upstream writes one event after the other, and in a burst drops the newest.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::correlate::{hash, identity};
use super::record::Event;

/// How many events may wait to be written. Further ones are dropped, as upstream does.
pub(super) const MOST: usize = 4096;

/// Reasons of events that say that something begins: what comes of it is told by an event of its own.
const BEGINNINGS: [&str; 3] = ["Provisioning", "Resizing", "VolumeModify"];

/// An event, and the component that records it.
pub(super) type FromSource = (Box<str>, Event);

/// The queue; recorders fill it, delivery empties it.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<Queue>);

/// There is no room for an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

#[derive(Debug, Default)]
struct Queue {
    /// `None` is an event that was left out.
    events: VecDeque<Option<FromSource>>,
    /// The number of `events`' first.
    first: u64,
    /// Events among them.
    count: usize,
    /// The waiting event about each object, by source, that says that something begins: its number.
    beginnings: HashMap<u64, u64>,
}

impl Waiting {
    /// Puts an event at the end.
    pub(super) fn push(&self, source: &str, event: Event) -> Result<(), Full> {
        self.lock().push(source, event)
    }

    /// Takes the oldest event.
    pub(super) fn pop(&self) -> Option<FromSource> {
        self.lock().pop()
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn push(&mut self, source: &str, event: Event) -> Result<(), Full> {
        let about = about(source, &event);
        if let Some(number) = self.beginnings.remove(&about) {
            self.leave_out(number);
        }
        if self.count >= MOST {
            return Err(Full);
        }
        if BEGINNINGS.contains(&event.reason) {
            self.beginnings.insert(about, self.first.wrapping_add(self.events.len() as u64));
        }
        self.events.push_back(Some((source.into(), event)));
        self.count += 1;
        Ok(())
    }

    fn pop(&mut self) -> Option<FromSource> {
        while let Some(event) = self.events.pop_front() {
            let number = self.first;
            self.first = self.first.wrapping_add(1);
            let Some((source, event)) = event else { continue };
            self.count = self.count.saturating_sub(1);
            if BEGINNINGS.contains(&event.reason) {
                let about = about(&source, &event);
                if self.beginnings.get(&about) == Some(&number) {
                    self.beginnings.remove(&about);
                }
            }
            return Some((source, event));
        }
        // A burst is over: its room is given back.
        *self = Self { first: self.first, ..Self::default() };
        None
    }

    fn leave_out(&mut self, number: u64) {
        let place = usize::try_from(number.wrapping_sub(self.first)).unwrap_or(usize::MAX);
        if self.events.get_mut(place).and_then(Option::take).is_some() {
            self.count = self.count.saturating_sub(1);
        }
        // What is left out at either end needs no place.
        while self.events.back().is_some_and(Option::is_none) {
            self.events.pop_back();
        }
        while self.events.front().is_some_and(Option::is_none) {
            self.events.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }
}

/// What an event is about, and who says it.
fn about(source: &str, event: &Event) -> u64 {
    hash(&(source, identity(&event.object)))
}

#[cfg(test)]
mod tests {
    use super::super::record::{Kind, ObjectRef};
    use super::*;
    use crate::object::Uid;

    fn event(name: &str, kind: Kind, reason: &'static str) -> Event {
        let object = ObjectRef {
            api_version: "v1",
            kind: "PersistentVolumeClaim",
            namespace: "default".into(),
            name: name.into(),
            uid: Uid::from(name),
            version: 1,
        };
        Event { object, kind, reason, message: String::new() }
    }

    fn normal(name: &str, reason: &'static str) -> Event {
        event(name, Kind::Normal, reason)
    }

    /// What is left of the queue: source, object and reason.
    fn rest(waiting: &Waiting) -> Vec<(String, String, &'static str)> {
        std::iter::from_fn(|| waiting.pop())
            .map(|(source, event)| (source.into(), event.object.name.into(), event.reason))
            .collect()
    }

    fn told(source: &str, name: &str, reason: &'static str) -> (String, String, &'static str) {
        (source.to_owned(), name.to_owned(), reason)
    }

    #[test]
    fn beginning_is_left_out_once_its_end_is_known() {
        let waiting = Waiting::default();
        for name in ["a", "b", "c"] {
            waiting.push("p", normal(name, "Provisioning")).unwrap();
        }
        waiting.push("p", normal("b", "ProvisioningSucceeded")).unwrap();
        waiting.push("p", event("a", Kind::Warning, "ProvisioningFailed")).unwrap();
        waiting.push("p", normal("a", "Provisioning")).unwrap();
        let expected = [
            told("p", "c", "Provisioning"),
            told("p", "b", "ProvisioningSucceeded"),
            told("p", "a", "ProvisioningFailed"),
            told("p", "a", "Provisioning"),
        ];
        assert_eq!(rest(&waiting), expected);
    }

    #[test]
    fn only_beginnings_are_left_out_and_only_by_their_own_source() {
        let waiting = Waiting::default();
        let events = [
            ("resizer", "Resizing"),
            ("provisioner", "ProvisioningSucceeded"),
            ("provisioner", "ProvisioningFailed"),
            ("resizer", "VolumeResizeSuccessful"),
            ("resizer", "FileSystemResizeRequired"),
        ];
        events.iter().for_each(|(source, reason)| waiting.push(source, normal("a", reason)).unwrap());
        let expected: Vec<_> = events[1..].iter().map(|(source, reason)| told(source, "a", reason)).collect();
        assert_eq!(rest(&waiting), expected);
    }

    #[test]
    fn beginning_that_was_taken_is_not_left_out() {
        let waiting = Waiting::default();
        waiting.push("p", normal("a", "Provisioning")).unwrap();
        assert_eq!(waiting.pop().map(|(_, event)| event.reason), Some("Provisioning"));
        waiting.push("p", normal("b", "ProvisioningSucceeded")).unwrap();
        waiting.push("p", normal("a", "ProvisioningSucceeded")).unwrap();
        let expected = [told("p", "b", "ProvisioningSucceeded"), told("p", "a", "ProvisioningSucceeded")];
        assert_eq!(rest(&waiting), expected);
    }

    #[test]
    fn queue_takes_no_more_than_it_may_and_nothing_grows_beside_it() {
        let waiting = Waiting::default();
        for number in 0..MOST {
            waiting.push("p", normal(&number.to_string(), "Provisioning")).unwrap();
        }
        assert_eq!(waiting.push("p", normal("x", "Provisioning")), Err(Full));
        // An end takes its beginning's room.
        waiting.push("p", normal("7", "ProvisioningSucceeded")).unwrap();
        for _ in 0..3 * MOST {
            waiting.push("p", normal("7", "Provisioning")).unwrap_or(());
        }
        let queue = waiting.lock();
        assert_eq!((queue.count, queue.beginnings.len()), (MOST, MOST - 1));
        assert!(queue.events.len() <= MOST + 1, "{}", queue.events.len());
        drop(queue);
        assert_eq!(rest(&waiting).len(), MOST);
        assert!(waiting.lock().beginnings.is_empty());
    }
}
