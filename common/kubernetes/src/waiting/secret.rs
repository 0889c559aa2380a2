//! Polls for the missing Secrets that somebody waits for.
//!
//! Upstream's roles allow no watch on Secrets, so a missing one is polled: one request at a time, round-robin, and only
//! while somebody waits. Slow answers lengthen the pause, so that polling does not use up `--kube-api-qps`. A poll reads
//! metadata only. A poll that is refused is repeated.
//!
//! In csi-attacher, an attach or detach that finds no Secret begins the wait (a withdrawal does not): `attacher/src/attachment/error.rs` says for which
//! errors, and `reconcile.rs` beside it calls [`Waiting::wait`]. When a poll finds the Secret:
//! 1. [`Waiting::came`] takes everybody who waits for it, and calls the closure `wake` with the key of each.
//! 2. In csi-attacher that closure is `waker` of `attacher/src/attachment/attachments.rs`. It adds the key to the queue.
//! 3. An added key is ready at once: the queue ends the back-off that the key was in.
//!
//! A waiter's own back-off goes on meanwhile. When it ends, the waiter tries again and reads the Secret itself. In csi-attacher it
//! skips that read if the last poll did not find the Secret and another attachment still waits for it. So a thousand objects that lack
//! the same Secret cost little more than one.
//!
//! `Differs:` the Go sidecars find a late Secret only when the back-off ends, up to `--retry-interval-max` later. Our
//! csi-resizer waits for the end of the back-off too; csi-attacher and csi-provisioner poll.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::waiters::{On, Waiting};
use crate::api::{self, Objects};
use crate::object::WireSecret;
use crate::secret::{SecretError, SecretRef, read};

/// Shortest time between two requests for the same Secret.
const ROUND: Duration = Duration::from_secs(2);
/// Shortest time between any two requests: a fifth of a second. Many missing Secrets thus make a round longer.
const BETWEEN: Duration = Duration::from_millis(200);
/// Longest pause after a slow answer.
const SLOWEST: Duration = Duration::from_secs(10);

/// The pause before the next request, given how many Secrets are missing and how long the last request took. `took` includes
/// the wait for the request limit. After a slow request, the pause is four times its duration, at most 10 s.
pub(super) fn pause(missing: usize, took: Duration) -> Duration {
    let share = u32::try_from(missing.max(1)).map_or(Duration::ZERO, |missing| ROUND / missing);
    share.max(BETWEEN).max(took.saturating_mul(4).min(SLOWEST))
}

impl<C: Copy + Ord + Send + Sync + 'static> Waiting<C> {
    /// Reads a Secret in the form that a CSI request needs. `missing` is the Secret that [`Waiting::leave`] returned: the
    /// last poll did not find it. If it is the Secret to read, and somebody else still waits for it, the answer is "not
    /// found" without a request.
    ///
    /// # Errors
    /// The Secret is missing, cannot be read, or cannot be sent.
    pub async fn secret(
        &self,
        objects: &Objects,
        place: &SecretRef,
        missing: Option<&SecretRef>,
    ) -> Result<BTreeMap<String, String>, SecretError> {
        if missing == Some(place) && self.is_wanted(place) {
            let SecretRef { namespace, name } = place.clone();
            return Err(SecretError::NotFound { namespace, name });
        }
        Ok(read(objects, place).await?.to_request())
    }

    /// Polls for missing Secrets and wakes those who wait for them. Never ends.
    pub async fn poll_secrets(&self, objects: &Objects) {
        let (mut last, mut took) = (None, Duration::ZERO);
        loop {
            let Some((_, missing)) = self.secret_after(last.as_ref()) else {
                self.secret_wanted().await;
                continue;
            };
            sleep(pause(missing, took)).await;
            // Whoever waited may have given up meanwhile.
            let Some((place, _)) = self.secret_after(last.as_ref()) else { continue };
            let asked = Instant::now();
            match objects.exists::<WireSecret>(&place.namespace, &place.name).await {
                Ok(true) => {
                    base::v!(2, "A missing Secret has appeared"; "secret" => place);
                    self.came(&On::Secret(place.clone()));
                }
                Ok(false) => self.not_found(&place),
                Err(error) => {
                    base::v!(2, "Could not ask whether a missing Secret exists now; will ask again"; "secret" => place, "err" => api::text(&error));
                }
            }
            (last, took) = (Some(place), asked.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(missing: usize, took: u64) -> Duration {
        pause(missing, Duration::from_millis(took))
    }

    #[test]
    fn polling_keeps_to_two_seconds_and_five_requests_a_second() {
        for (missing, milliseconds) in
            [(0, 2000), (1, 2000), (2, 1000), (5, 400), (10, 200), (11, 200), (1000, 200), (usize::MAX, 200)]
        {
            assert_eq!(pauses(missing, 10), Duration::from_millis(milliseconds), "{missing} missing");
        }
    }

    #[test]
    fn slow_answers_make_polls_rarer() {
        for (missing, took, milliseconds) in [
            (1, 500, 2000),
            (1, 1000, 4000),
            (1000, 50, 200),
            (1000, 51, 204),
            (1000, 1000, 4000),
            (1000, 60_000, 10_000),
            (1000, u64::MAX, 10_000),
        ] {
            assert_eq!(
                pauses(missing, took),
                Duration::from_millis(milliseconds),
                "{missing} missing, {took} ms"
            );
        }
    }
}
