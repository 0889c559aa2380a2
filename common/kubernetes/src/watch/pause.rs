//! How long to wait after a failure.

use std::time::Duration;

/// The first pause.
const FIRST: Duration = Duration::from_millis(800);
/// No pause is longer.
const LONGEST: Duration = Duration::from_secs(30);

/// Pauses that double, with up to as much again at random, so that many sidecars do not come back at once.
#[derive(Debug, Default)]
pub(super) struct Pause {
    failures: u32,
}

impl Pause {
    /// The pause after one more failure.
    pub(super) fn next(&mut self) -> Duration {
        let pause = FIRST.saturating_mul(1 << self.failures.min(6)).min(LONGEST / 2);
        self.failures = self.failures.saturating_add(1);
        pause.mul_f64(1.0 + fastrand::f64())
    }

    /// All is well: the next pause is a short one again.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_half_a_minute_until_all_is_well() {
        let mut pause = Pause::default();
        for (shortest, longest) in
            [(0.8, 1.6), (1.6, 3.2), (3.2, 6.4), (6.4, 12.8), (12.8, 25.6), (15.0, 30.0)]
        {
            let seconds = pause.next().as_secs_f64();
            assert!((shortest..=longest).contains(&seconds), "{seconds} s, not {shortest} to {longest}");
        }
        (0..100).for_each(|_| assert!(pause.next() <= LONGEST));
        pause.reset();
        assert!(pause.next() <= FIRST * 2);
    }
}
