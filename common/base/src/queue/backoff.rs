//! How long a failed key waits before it is retried.

use std::time::Duration;

/// Exponential back-off of one key: `base`, `2·base`, `4·base`, … never above `max`. No jitter, as upstream.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// Delay after the first failure (`--retry-interval-start`).
    pub base: Duration,
    /// Upper bound of every delay (`--retry-interval-max`).
    pub max: Duration,
}

impl Backoff {
    /// The delay after `failures` failures in a row (1 = the first one).
    pub fn delay(&self, failures: u32) -> Duration {
        let factor = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        self.base.checked_mul(factor).map_or(self.max, |delay| delay.min(self.max))
    }
}
