//! The events that wait to be written, the oldest first.
//!
//! `Differs:` in a burst, an event that says that something begins is left out if its end is known before it could be written. Upstream
//! writes one event after the other, and in a burst drops the newest.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::jiff::Timestamp;

use super::correlate::{hash, identity};
use super::record::Event;

/// How many events may wait to be written. Further ones are dropped, as upstream does.
pub(super) const MOST: usize = 4096;

/// So many events may wait without there being a burst.
const FEW: usize = 32;

/// Reasons of events that say that something begins, each with those that say how it ended.
const ENDS: [(&str, &[&str]); 3] = [
    ("Provisioning", &["ProvisioningSucceeded", "ProvisioningFailed"]),
    ("Resizing", &["VolumeResizeSuccessful", "VolumeResizeFailed", "FileSystemResizeRequired"]),
    ("VolumeModify", &["VolumeModifySuccessful", "VolumeModifyFailed", "VolumeModifyCanceled"]),
];

/// An event that waits.
#[derive(Debug)]
pub(super) struct Recorded {
    /// The component that records it.
    pub(super) source: Box<str>,
    /// What it says.
    pub(super) event: Event,
    /// When it was recorded.
    pub(super) at: Timestamp,
}

/// The queue; recorders fill it, delivery empties it.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<Queue>);

/// There is no room for an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

#[derive(Debug, Default)]
struct Queue {
    /// By number, which grows.
    events: BTreeMap<u64, Recorded>,
    next: u64,
    /// The numbers of the events that say that something begins, by source, object and reason.
    beginnings: HashMap<u64, u64>,
}

impl Waiting {
    /// Puts an event at the end.
    pub(super) fn push(&self, source: &str, event: Event, at: Timestamp) -> Result<(), Full> {
        self.lock().push(Recorded { source: source.into(), event, at })
    }

    /// Takes the oldest event.
    pub(super) fn pop(&self) -> Option<Recorded> {
        self.lock().pop()
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn push(&mut self, new: Recorded) -> Result<(), Full> {
        let beginning = beginning(&new.event).map(|(reason, begins)| (key(&new, reason), begins));
        if let Some((key, _)) = beginning
            && let Some(overtaken) = self.beginnings.remove(&key)
            && self.events.len() > FEW
        {
            self.events.remove(&overtaken);
        }
        if self.events.len() >= MOST {
            return Err(Full);
        }
        if let Some((key, true)) = beginning {
            self.beginnings.insert(key, self.next);
        }
        self.events.insert(self.next, new);
        self.next = self.next.wrapping_add(1);
        Ok(())
    }

    fn pop(&mut self) -> Option<Recorded> {
        let Some((_, oldest)) = self.events.pop_first() else {
            // A burst is over: its room is given back.
            self.beginnings.shrink_to_fit();
            return None;
        };
        if let Some((reason, true)) = beginning(&oldest.event) {
            self.beginnings.remove(&key(&oldest, reason));
        }
        Some(oldest)
    }
}

/// The reason of the beginning that this event overtakes: of the same beginning told before (then `true`), or of the one whose end it is.
fn beginning(event: &Event) -> Option<(&'static str, bool)> {
    ENDS.iter().find_map(|(reason, ends)| {
        let begins = *reason == event.reason;
        (begins || ends.contains(&event.reason)).then_some((*reason, begins))
    })
}

fn key(recorded: &Recorded, reason: &str) -> u64 {
    hash(&(&recorded.source, identity(&recorded.event.object), reason))
}

#[cfg(test)]
mod tests {
    use super::super::record::{Kind, ObjectRef};
    use super::*;
    use crate::object::Uid;

    const OTHER: &str = "other-";

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

    fn push(waiting: &Waiting, source: &str, event: Event) -> Result<(), Full> {
        waiting.push(source, event, Timestamp::UNIX_EPOCH)
    }

    /// In a burst: events that the tests do not look at wait, too.
    fn burst() -> Waiting {
        let waiting = Waiting::default();
        for number in 0..=FEW {
            push(&waiting, "p", normal(&format!("{OTHER}{number}"), "Other")).unwrap();
        }
        waiting
    }

    fn normal(name: &str, reason: &'static str) -> Event {
        event(name, Kind::Normal, reason)
    }

    /// What is left of the queue: source, object and reason.
    fn rest(waiting: &Waiting) -> Vec<(String, String, &'static str)> {
        std::iter::from_fn(|| waiting.pop())
            .filter(|told| !told.event.object.name.starts_with(OTHER))
            .map(|told| (told.source.into(), told.event.object.name.into(), told.event.reason))
            .collect()
    }

    fn told(source: &str, name: &str, reason: &'static str) -> (String, String, &'static str) {
        (source.to_owned(), name.to_owned(), reason)
    }

    #[test]
    fn beginning_is_left_out_once_its_end_is_known() {
        let waiting = burst();
        for name in ["a", "b", "c"] {
            push(&waiting, "p", normal(name, "Provisioning")).unwrap();
        }
        push(&waiting, "p", normal("b", "ProvisioningSucceeded")).unwrap();
        push(&waiting, "p", event("a", Kind::Warning, "ProvisioningFailed")).unwrap();
        push(&waiting, "p", normal("a", "Provisioning")).unwrap();
        let expected = [
            told("p", "c", "Provisioning"),
            told("p", "b", "ProvisioningSucceeded"),
            told("p", "a", "ProvisioningFailed"),
            told("p", "a", "Provisioning"),
        ];
        assert_eq!(rest(&waiting), expected);
    }

    #[test]
    fn beginning_and_end_are_both_told_where_few_events_wait() {
        let waiting = Waiting::default();
        push(&waiting, "p", normal("a", "Provisioning")).unwrap();
        push(&waiting, "p", normal("a", "ProvisioningFailed")).unwrap();
        let expected = [told("p", "a", "Provisioning"), told("p", "a", "ProvisioningFailed")];
        assert_eq!(rest(&waiting), expected);
    }

    #[test]
    fn beginning_is_left_out_only_for_its_own_end() {
        let events = [
            ("resizer", "Resizing"),
            ("resizer", "VolumeModify"),
            ("provisioner", "Provisioning"),
            ("provisioner", "RequestNotWrittenDown"),
            ("resizer", "ProvisioningFailed"),
            ("resizer", "VolumeModifyFailed"),
            ("resizer", "VolumeModifyFailed"),
        ];
        let waiting = burst();
        events.iter().for_each(|(source, reason)| push(&waiting, source, normal("a", reason)).unwrap());
        let left = events.iter().filter(|(_, reason)| *reason != "VolumeModify");
        let expected: Vec<_> = left.map(|(source, reason)| told(source, "a", reason)).collect();
        assert_eq!(rest(&waiting), expected);
    }

    #[test]
    fn each_end_overtakes_its_beginning() {
        for (beginning, ends) in ENDS {
            for end in ends {
                let waiting = burst();
                push(&waiting, "s", normal("a", beginning)).unwrap();
                push(&waiting, "s", normal("a", end)).unwrap();
                assert_eq!(rest(&waiting), [told("s", "a", end)]);
            }
        }
    }

    #[test]
    fn beginning_that_was_taken_is_not_left_out() {
        let waiting = Waiting::default();
        push(&waiting, "p", normal("a", "Provisioning")).unwrap();
        assert_eq!(waiting.pop().map(|told| told.event.reason), Some("Provisioning"));
        push(&waiting, "p", normal("b", "ProvisioningSucceeded")).unwrap();
        push(&waiting, "p", normal("a", "ProvisioningSucceeded")).unwrap();
        let expected = [told("p", "b", "ProvisioningSucceeded"), told("p", "a", "ProvisioningSucceeded")];
        assert_eq!(rest(&waiting), expected);
    }

    #[test]
    fn queue_takes_no_more_than_it_may_and_nothing_grows_beside_it() {
        let waiting = Waiting::default();
        for number in 0..MOST {
            push(&waiting, "p", normal(&number.to_string(), "Provisioning")).unwrap();
        }
        assert_eq!(push(&waiting, "p", normal("x", "Provisioning")), Err(Full));
        // An end takes its beginning's room.
        push(&waiting, "p", normal("7", "ProvisioningSucceeded")).unwrap();
        for _ in 0..3 * MOST {
            push(&waiting, "p", normal("7", "Provisioning")).unwrap_or(());
        }
        let queue = waiting.lock();
        assert_eq!((queue.events.len(), queue.beginnings.len()), (MOST, MOST - 1));
        drop(queue);
        assert_eq!(rest(&waiting).len(), MOST);
        assert!(waiting.lock().beginnings.is_empty());
    }
}
