//! Images in the trash that somebody has open, and since when.
//!
//! A client that was killed has an image open for half a minute longer. Whoever has it open for longer is somebody else, who may go on
//! for ever: a call that only cleans up behind another one does not wait for him.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For how long an image is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// When so many are remembered, all are met anew.
const LIMIT: usize = 1024;

/// When each image was first found open: by pool and id.
#[derive(Debug)]
pub(crate) struct Held(Mutex<BTreeMap<(i64, String), Instant>>);

impl Held {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// Notes that an image is open; whether it has been for longer than a killed client has it.
    pub(crate) fn has_lasted(&self, image: (i64, String), now: Instant) -> bool {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if since.len() >= LIMIT {
            since.clear();
        }
        now.saturating_duration_since(*since.entry(image).or_insert(now)) > PATIENCE
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
    }
}
