//! How often a waiter is woken.
//!
//! The first change wakes it at once. An object may change often, and a late API server may return an older version than the
//! watch. In both cases the pause before the next wake-up doubles each time.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Shortest time between the first time that somebody is woken and the second.
const FIRST: Duration = Duration::from_secs(1);
/// Longest pause between two wake-ups. After twice that time without a wake-up, the pause is [`FIRST`] again.
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Woken {
    /// When it was woken last.
    last: Instant,
    /// Not again before so much later.
    pause: Duration,
    /// It is to be woken then.
    due: Option<Instant>,
    /// Whether it was woken in the pass that is going on, or after it.
    is_new: bool,
}

/// Resolves at this time; never without one.
pub async fn passed(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Who was woken, and when again.
#[derive(Debug)]
pub struct Floor<W> {
    woken: HashMap<W, Woken>,
}

impl<W> Default for Floor<W> {
    fn default() -> Self {
        Self { woken: HashMap::new() }
    }
}

impl<W: Clone + Eq + Hash> Floor<W> {
    /// Something has changed for `who`. Whether it is to be woken now; if not, it will be due.
    pub fn may_wake(&mut self, who: &W, now: Instant) -> bool {
        let Some(woken) = self.woken.get_mut(who) else {
            // Some are gone without a word. After so long their pauses would begin anew anyway, so they are forgotten.
            self.woken.retain(|_, woken| woken.due.is_some() || !woken.is_calm(now));
            let woken = Woken { last: now, pause: FIRST, due: None, is_new: true };
            self.woken.insert(who.clone(), woken);
            return true;
        };
        let may = now >= woken.last + woken.pause;
        if may {
            woken.wake(now);
        } else {
            woken.due = Some(woken.last + woken.pause);
        }
        may
    }

    /// When the next is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.woken.values().filter_map(|woken| woken.due).min()
    }

    /// Those who are due: they are to be woken now.
    pub fn take_due(&mut self, now: Instant) -> Vec<W> {
        let due = self.woken.iter_mut().filter(|(_, woken)| woken.due.is_some_and(|due| due <= now));
        due.map(|(who, woken)| {
            woken.wake(now);
            who.clone()
        })
        .collect()
    }

    /// `who` has just looked for itself.
    pub fn looked(&mut self, who: &W) {
        if let Some(woken) = self.woken.get_mut(who) {
            woken.due = None;
        }
    }

    /// A pass over `who` has ended, and it waits for nothing.
    pub fn settle(&mut self, who: &W) {
        let Some(woken) = self.woken.get_mut(who).filter(|woken| woken.due.is_none()) else { return };
        if !std::mem::replace(&mut woken.is_new, false) {
            self.woken.remove(who);
        }
    }
}

impl Woken {
    /// Whether it was not woken for so long that its pause begins anew.
    fn is_calm(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= LONGEST * 2
    }

    fn wake(&mut self, now: Instant) {
        self.pause = if self.is_calm(now) { FIRST } else { (self.pause * 2).min(LONGEST) };
        (self.last, self.due, self.is_new) = (now, None, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Their objects were deleted in the pass in which they were woken.
    #[tokio::test(start_paused = true)]
    async fn those_who_never_settle_are_forgotten() {
        let mut floor = Floor::default();
        let begun = Instant::now();
        for number in 0..1000 {
            assert!(floor.may_wake(&number, begun + FIRST * number));
        }
        assert!(floor.woken.len() <= 121, "{}", floor.woken.len());
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_a_minute_and_start_anew_after_one() {
        let (mut floor, start) = (Floor::default(), Instant::now());
        assert!(floor.may_wake(&1, start), "at once");
        let mut woken = Vec::new();
        for second in 0..300 {
            let now = start + Duration::from_secs(second);
            if second % 2 == 0 && floor.may_wake(&1, now) || !floor.take_due(now).is_empty() {
                woken.push(second);
            }
        }
        assert_eq!(woken, [1, 3, 7, 15, 31, 63, 123, 183, 243]);
        assert!(floor.may_wake(&1, start + Duration::from_secs(400)));
        assert!(floor.may_wake(&1, start + Duration::from_secs(401)), "it was calm for long");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_no_longer_is_forgotten() {
        let (mut floor, now) = (Floor::default(), Instant::now());
        assert!(floor.may_wake(&1, now) && !floor.may_wake(&1, now));
        floor.looked(&1);
        assert_eq!((floor.next_due(), floor.take_due(now + LONGEST)), (None, vec![]));
        floor.settle(&1);
        assert!(!floor.may_wake(&1, now), "it was woken in that pass");
        floor.looked(&1);
        floor.settle(&1);
        assert!(floor.may_wake(&1, now));
    }
}
