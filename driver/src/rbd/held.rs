//! Images in the trash that somebody has open, and since when.
//!
//! A client that was killed has an image open for half a minute longer. Whoever has it open for longer is somebody else, who may go on
//! for ever: a call that only cleans up behind another one does not wait for him.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For how long an image is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// An image that was found open longer ago than this is met anew: callers try again sooner.
const GAP: Duration = Duration::from_secs(600);
/// When so many are remembered, no other is waited for.
const LIMIT: usize = 1024;

/// An image in a trash: its pool and its id.
type Key = (i64, String);

/// When each image was found open, first and last.
#[derive(Debug)]
pub(crate) struct Held(Mutex<BTreeMap<Key, (Instant, Instant)>>);

impl Held {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// Notes that an image is open; whether it has been for longer than a killed client has it.
    pub(crate) fn has_lasted(&self, image: Key, now: Instant) -> bool {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.retain(|_, (_, last)| now.saturating_duration_since(*last) <= GAP);
        if found.len() >= LIMIT && !found.contains_key(&image) {
            return true;
        }
        let (first, last) = found.entry(image).or_insert((now, now));
        *last = now;
        now.saturating_duration_since(*first) > PATIENCE
    }

    /// Notes that an image is not open.
    pub(crate) fn forget(&self, image: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(image);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_image_is_waited_for_two_minutes() {
        let (held, begin) = (Held::new(), Instant::now());
        let image = |id: &str| (1, id.to_owned());
        assert!(!held.has_lasted(image("a"), begin));
        assert!(!held.has_lasted(image("a"), begin + PATIENCE));
        let later = begin + PATIENCE + Duration::from_secs(1);
        assert!(!held.has_lasted(image("b"), later));
        assert!(held.has_lasted(image("a"), later));
        // Free meanwhile, or so it must have been.
        held.forget(&image("a"));
        assert!(!held.has_lasted(image("a"), later));
        let much_later = later + GAP + Duration::from_secs(1);
        assert!(!held.has_lasted(image("b"), much_later));
        assert_eq!(held.0.lock().unwrap().len(), 1, "nothing is remembered for ever");
    }
}
