//! Decides whether an event is written, counted or dropped.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use super::record::{Event, ObjectRef};

/// Distinct messages of otherwise equal events that are written one by one within [`SIMILAR_WITHIN`].
const SIMILAR: usize = 10;
/// How long equal events count as similar.
const SIMILAR_WITHIN: Duration = Duration::from_secs(600);
/// Events of one source and type about one object that may come at once.
const BURST: f64 = 25.0;
/// Events of one source and type about one object per second, once the burst is used up.
const REFILL: f64 = 1.0 / 300.0;
/// Entries remembered of each sort; those that were not used for longest are forgotten first.
const REMEMBERED: usize = 4096;
/// So many uses are noted for nothing before the notes are cleaned.
const FEW: usize = 64;
/// What precedes the message that stands for many similar ones.
const COMBINED: &str = "(combined from similar events): ";

/// What becomes of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Write a new event with this message.
    Create {
        /// The message, combined where there were many.
        message: String,
        /// How often there was such an event; more than one if earlier ones were dropped.
        count: u32,
        /// Pass to [`Correlator::written`] when it is.
        ticket: u64,
    },
    /// Count up the event of this name.
    Count {
        /// The message, combined where there were many.
        message: String,
        /// Name of the event object written before.
        name: String,
        /// The new count.
        count: u32,
        /// As with `Create`, should the event be gone.
        ticket: u64,
    },
    /// Too many about this object.
    Drop,
}

/// The memory of what was recorded, as client-go's EventCorrelator keeps it. Keys are hashes.
#[derive(Debug, Default)]
pub struct Correlator {
    spam: Remembered<Tokens>,
    similar: Remembered<Similar>,
    /// The name of the event object, if there is one, and the count.
    written: Remembered<(Option<Box<str>>, u32)>,
}

#[derive(Debug, Clone, Copy)]
struct Tokens {
    left: f64,
    at: Instant,
}

#[derive(Debug, Clone)]
struct Similar {
    messages: Vec<u64>,
    last: Instant,
}

impl Correlator {
    /// Decides about one event.
    pub fn decide(&mut self, source: &str, event: &Event, now: Instant) -> Fate {
        let alike = hash(&(source, identity(&event.object), event.kind.as_str(), event.reason));
        let combined = self.is_one_of_many(alike, hash(&event.message), now);
        let (message, ticket) = if combined {
            (format!("{COMBINED}{}", event.message), alike)
        } else {
            (event.message.clone(), hash(&(alike, &event.message)))
        };
        // What is not written is counted too: the next write says how often it was.
        let (name, count) = self.written.take(ticket).unwrap_or_default();
        let count = count.saturating_add(1);
        self.written.insert(ticket, (name.clone(), count));
        // client-go's getSpamKey has the type too: failures are written however often something normal is told.
        if !self.spend(hash(&(source, identity(&event.object), event.kind.as_str())), now) {
            return Fate::Drop;
        }
        match name {
            Some(name) => Fate::Count { message, name: name.into(), count, ticket },
            None => Fate::Create { message, count, ticket },
        }
    }

    /// Notes under which name an event was written.
    pub fn written(&mut self, ticket: u64, name: &str) {
        let (_, count) = self.written.take(ticket).unwrap_or((None, 1));
        self.written.insert(ticket, (Some(name.into()), count));
    }

    fn spend(&mut self, key: u64, now: Instant) -> bool {
        let full = Tokens { left: BURST, at: now };
        let tokens = self.spam.take(key).unwrap_or(full);
        let gained = now.saturating_duration_since(tokens.at).as_secs_f64() * REFILL;
        let left = (tokens.left + gained).min(BURST);
        let has_one = left >= 1.0;
        self.spam.insert(key, Tokens { left: if has_one { left - 1.0 } else { left }, at: now });
        has_one
    }

    fn is_one_of_many(&mut self, key: u64, message: u64, now: Instant) -> bool {
        let known = self.similar.take(key);
        let mut similar = known.unwrap_or_else(|| Similar { messages: Vec::with_capacity(1), last: now });
        if now.saturating_duration_since(similar.last) > SIMILAR_WITHIN {
            similar.messages.clear();
        }
        similar.last = now;
        if !similar.messages.contains(&message) && similar.messages.len() < SIMILAR {
            similar.messages.push(message);
        }
        let is_one_of_many = similar.messages.len() >= SIMILAR;
        self.similar.insert(key, similar);
        is_one_of_many
    }
}

/// What tells an object from others.
pub(super) fn identity(object: &ObjectRef) -> impl Hash + use<'_> {
    (object.kind, &object.namespace, &object.name, &object.uid)
}

pub(super) fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[derive(Debug)]
struct Remembered<V> {
    /// With the number of the last use.
    entries: HashMap<u64, (V, u64)>,
    /// All uses, the oldest first. Only the last of each entry counts.
    order: VecDeque<(u64, u64)>,
    uses: u64,
}

impl<V> Default for Remembered<V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), uses: 0 }
    }
}

impl<V> Remembered<V> {
    fn take(&mut self, key: u64) -> Option<V> {
        self.entries.remove(&key).map(|(value, _)| value)
    }

    fn insert(&mut self, key: u64, value: V) {
        self.uses += 1;
        self.entries.insert(key, (value, self.uses));
        self.order.push_back((key, self.uses));
        while self.entries.len() > REMEMBERED
            && let Some((key, number)) = self.order.pop_front()
        {
            if self.is_last_use(key, number) {
                self.entries.remove(&key);
            }
        }
        if self.order.len() > self.entries.len() + self.entries.len() / 4 + FEW {
            let order = std::mem::take(&mut self.order);
            self.order = order.into_iter().filter(|(key, number)| self.is_last_use(*key, *number)).collect();
        }
    }

    fn is_last_use(&self, key: u64, number: u64) -> bool {
        self.entries.get(&key).is_some_and(|(_, last)| *last == number)
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Kind;
    use super::*;

    fn event(message: &str) -> Event {
        Event {
            object: ObjectRef {
                api_version: "v1",
                kind: "PersistentVolumeClaim",
                namespace: "ns".into(),
                name: "claim".into(),
                uid: "u".into(),
                version: 7,
            },
            kind: Kind::Warning,
            reason: "ProvisioningFailed",
            message: message.into(),
        }
    }

    #[test]
    fn repeated_event_is_counted_not_written_again() {
        let (mut correlator, now) = (Correlator::default(), Instant::now());
        let Fate::Create { ticket, .. } = correlator.decide("s", &event("no room"), now) else { panic!() };
        correlator.written(ticket, "claim.1");
        let fate = correlator.decide("s", &event("no room"), now);
        let expected = Fate::Count { message: "no room".into(), name: "claim.1".into(), count: 2, ticket };
        assert_eq!(fate, expected);
    }

    #[test]
    fn tenth_distinct_message_stands_for_all_that_follow() {
        let (mut correlator, now) = (Correlator::default(), Instant::now());
        for n in 0..9 {
            assert!(matches!(correlator.decide("s", &event(&n.to_string()), now), Fate::Create { .. }));
        }
        let Fate::Create { message, ticket, .. } = correlator.decide("s", &event("9"), now) else { panic!() };
        assert_eq!(message, "(combined from similar events): 9");
        correlator.written(ticket, "claim.9");
        assert!(matches!(correlator.decide("s", &event("10"), now), Fate::Count { count: 2, .. }));
    }

    #[test]
    fn flood_about_one_object_is_dropped_and_refills_slowly() {
        let (mut correlator, now) = (Correlator::default(), Instant::now());
        let fates: Vec<_> = (0..26).map(|_| correlator.decide("s", &event("x"), now)).collect();
        assert!(fates[..25].iter().all(|fate| *fate != Fate::Drop));
        assert_eq!(fates[25], Fate::Drop);
        assert_ne!(correlator.decide("s", &event("x"), now + Duration::from_secs(301)), Fate::Drop);
    }

    /// client-go counts what it does not write, and so does the next write.
    #[test]
    fn event_that_is_dropped_is_counted_all_the_same() {
        let (mut correlator, now) = (Correlator::default(), Instant::now());
        let Fate::Create { ticket, .. } = correlator.decide("s", &event("x"), now) else { panic!() };
        correlator.written(ticket, "claim.1");
        for _ in 1..100 {
            correlator.decide("s", &event("x"), now);
        }
        let fate = correlator.decide("s", &event("x"), now + Duration::from_secs(301));
        assert!(matches!(fate, Fate::Count { count: 101, .. }), "{fate:?}");
    }

    #[test]
    fn event_whose_first_occurrences_are_dropped_is_counted_too() {
        let (mut correlator, now) = (Correlator::default(), Instant::now());
        for _ in 0..BURST as usize {
            correlator.decide("s", &event("x"), now);
        }
        assert_eq!(
            [0; 3].map(|_| correlator.decide("s", &event("y"), now)),
            [Fate::Drop, Fate::Drop, Fate::Drop]
        );
        let later = now + Duration::from_secs(301);
        let Fate::Create { count, ticket, .. } = correlator.decide("s", &event("y"), later) else { panic!() };
        assert_eq!(count, 4);
        correlator.written(ticket, "claim.1");
        let fate = correlator.decide("s", &event("y"), later + Duration::from_secs(301));
        assert!(matches!(fate, Fate::Count { count: 5, .. }), "{fate:?}");
    }

    #[test]
    fn normal_events_take_no_room_from_warnings() {
        let (mut correlator, now) = (Correlator::default(), Instant::now());
        let normal = Event { kind: Kind::Normal, ..event("x") };
        let fates: Vec<_> = (0..26).map(|_| correlator.decide("s", &normal, now)).collect();
        assert_eq!(fates[25], Fate::Drop);
        assert_ne!(correlator.decide("s", &event("x"), now), Fate::Drop);
    }

    /// An object that fails without end is known as long as it fails, however many others come and go.
    #[test]
    fn what_is_used_is_remembered_longer_than_what_is_not() {
        let mut remembered = Remembered::default();
        remembered.insert(u64::MAX, "used");
        for key in 0..10 * REMEMBERED as u64 {
            let used = remembered.take(u64::MAX).unwrap();
            remembered.insert(u64::MAX, used);
            remembered.insert(key, "new");
        }
        assert_eq!((remembered.entries.len(), remembered.take(0)), (REMEMBERED, None));
        assert!(remembered.order.len() <= 2 * REMEMBERED + FEW, "{}", remembered.order.len());
    }
}
