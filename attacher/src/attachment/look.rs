//! Looking for Secrets that attachments wait for.
//!
//! The roles allow no watch on Secrets, so that one that is missing can only be looked for: one request at a time, in
//! turn, and none while nobody waits. What a Secret holds is not asked for here. Any answer but the Secret, a refusal
//! as well, means that it is looked for again in the next round; the back-off of the attachments goes on behind it.
//!
//! `Differs:` upstream finds a Secret that came late when the back-off ends, up to `--retry-interval-max` later.

use std::time::Duration;

use common::kube::api;
use common::kube::object::WireSecret;
use tokio::time::sleep;

use super::reconcile::Attachments;
use super::waiting::On;

/// Shortest time from one look for a Secret to the next one for the same.
const ROUND: Duration = Duration::from_secs(2);
/// Shortest time between two requests: a fifth of a second, so that many missing Secrets make rounds longer.
const BETWEEN: Duration = Duration::from_millis(200);

/// The pause before each request while `missing` Secrets are looked for.
pub fn pause(missing: usize) -> Duration {
    let share = u32::try_from(missing.max(1)).map_or(Duration::ZERO, |missing| ROUND / missing);
    share.max(BETWEEN)
}

impl Attachments {
    /// Looks for missing Secrets and sends on whoever waits for them. Never ends.
    pub async fn look_for_secrets(&self) {
        let mut last = None;
        loop {
            let Some((_, missing)) = self.waiting.secret_after(last.as_ref()) else {
                self.waiting.secret_wanted().await;
                continue;
            };
            sleep(pause(missing)).await;
            // Whom we were to look for may have given up meanwhile.
            let Some((place, _)) = self.waiting.secret_after(last.as_ref()) else { continue };
            match self.process.objects.exists::<WireSecret>(&place.namespace, &place.name).await {
                Ok(true) => {
                    common::v!(2, "A missing Secret is there now"; "secret" => place);
                    self.waiting.came(&On::Secret(place.clone())).iter().for_each(|key| self.wake(key));
                }
                Ok(false) => {}
                Err(error) => {
                    common::v!(2, "Could not look for a Secret"; "secret" => place, "err" => api::text(&error));
                }
            }
            last = Some(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_takes_two_seconds_at_least_and_five_requests_a_second_at_most() {
        for (missing, milliseconds) in
            [(0, 2000), (1, 2000), (2, 1000), (5, 400), (10, 200), (11, 200), (1000, 200), (usize::MAX, 200)]
        {
            assert_eq!(pause(missing), Duration::from_millis(milliseconds), "{missing} missing");
        }
    }
}
