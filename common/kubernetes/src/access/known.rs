//! What is known of tokens.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use base::http::Refusal;
use tokio::time::Instant;

/// How long a permission holds: a token that is revoked can be used that much longer.
const ALLOWED: Duration = Duration::from_secs(60);
/// How long a refusal holds: a role that is added helps after that.
const REFUSED: Duration = Duration::from_secs(10);
/// How long an answer holds that could not be found out: an authorizer that fails is not asked by each request.
const UNCLEAR: Duration = Duration::from_secs(5);
/// How long a token counts as one that was good before.
const GOOD: Duration = Duration::from_secs(3600);
/// Most tokens that count as such. Only the API server's permission makes one.
const MOST_GOOD: usize = 64;
/// Most answers kept. Those that expire first go first.
const MOST: usize = 256;

type Answer = Result<(), Refusal>;

/// Answers, by token and path. The tokens themselves are not kept.
#[derive(Default)]
pub(super) struct Known {
    /// Two keys that nobody knows: a number says nothing of its token, and no other token has the same.
    hashers: [RandomState; 2],
    answers: HashMap<[u64; 2], (Answer, Instant)>,
    /// Until when they count as good before.
    good: HashMap<[u64; 2], Instant>,
}

impl Known {
    /// The answer, if it still holds.
    pub(super) fn find(&self, token: &str, path: &str, now: Instant) -> Option<Answer> {
        self.of(self.number(token, path), now)
    }

    fn of(&self, number: [u64; 2], now: Instant) -> Option<Answer> {
        let (answer, until) = self.answers.get(&number)?;
        (now < *until).then(|| answer.clone())
    }

    /// Keeps an answer.
    pub(super) fn note(&mut self, token: &str, path: &str, answer: &Answer, now: Instant) {
        let holds = match answer {
            Ok(()) => ALLOWED,
            Err(Refusal::Unknown | Refusal::Forbidden { .. }) => REFUSED,
            Err(Refusal::Unclear(_)) => UNCLEAR,
        };
        let number = self.number(token, path);
        let is_unclear = matches!(answer, Err(Refusal::Unclear(_)));
        if is_unclear && self.of(number, now).is_some_and(|known| known.is_ok()) {
            return;
        }
        if answer.is_ok() {
            self.note_good(number, now);
        }
        if self.answers.len() >= MOST {
            self.answers.retain(|_, (_, until)| now < *until);
        }
        if self.answers.len() >= MOST {
            let first = self.answers.iter().min_by_key(|(_, (_, until))| *until).map(|(number, _)| *number);
            first.and_then(|number| self.answers.remove(&number));
        }
        self.answers.insert(number, (answer.clone(), now + holds));
    }

    /// Whether the token might read the path within the last hour.
    pub(super) fn was_good(&self, token: &str, path: &str, now: Instant) -> bool {
        self.good.get(&self.number(token, path)).is_some_and(|until| now < *until)
    }

    fn note_good(&mut self, number: [u64; 2], now: Instant) {
        self.good.retain(|_, until| now < *until);
        if self.good.len() >= MOST_GOOD {
            let first = self.good.iter().min_by_key(|(_, until)| **until).map(|(number, _)| *number);
            first.and_then(|number| self.good.remove(&number));
        }
        self.good.insert(number, now + GOOD);
    }

    fn number(&self, token: &str, path: &str) -> [u64; 2] {
        self.hashers.each_ref().map(|hasher| hasher.hash_one((token, path)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_hold_for_their_time_and_path() {
        let (mut known, start) = (Known::default(), Instant::now());
        let forbidden: Answer = Err(Refusal::Forbidden { user: "u".to_owned() });
        known.note("good", "/metrics", &Ok(()), start);
        known.note("bad", "/metrics", &forbidden, start);
        let unclear: Answer = Err(Refusal::Unclear("away".to_owned()));
        known.note("new", "/metrics", &unclear, start);
        let find = |token, path, after| known.find(token, path, start + Duration::from_secs(after));
        assert_eq!(find("good", "/metrics", 59), Some(Ok(())));
        assert_eq!(find("good", "/metrics", 60), None);
        assert_eq!(find("good", "/", 1), None);
        assert_eq!((find("new", "/metrics", 4), find("new", "/metrics", 5)), (Some(unclear), None));
        assert_eq!((find("bad", "/metrics", 9), find("bad", "/metrics", 10)), (Some(forbidden), None));
        let good = |token, path, after| known.was_good(token, path, start + Duration::from_secs(after));
        assert!(good("good", "/metrics", 3599) && !good("good", "/metrics", 3600));
        assert!(!good("bad", "/metrics", 0) && !good("good", "/status", 0));
    }

    #[test]
    fn number_of_answers_is_bounded_and_good_ones_stay() {
        let (mut known, start) = (Known::default(), Instant::now());
        known.note("good", "/metrics", &Ok(()), start);
        for number in 0..10_000 {
            known.note(&number.to_string(), "/metrics", &Err(Refusal::Unknown), start);
        }
        assert_eq!(known.answers.len(), MOST);
        assert_eq!(
            known.find("good", "/metrics", start),
            Some(Ok(())),
            "a flood of bad tokens does not drive it out"
        );
    }

    #[test]
    fn unclear_answer_replaces_no_good_one_that_holds() {
        let (mut known, now) = (Known::default(), Instant::now());
        let unclear = Err(Refusal::Unclear("away".to_owned()));
        known.note("token", "/metrics", &Ok(()), now);
        known.note("token", "/metrics", &unclear, now);
        assert_eq!(known.find("token", "/metrics", now), Some(Ok(())));
        let later = now + ALLOWED;
        known.note("token", "/metrics", &unclear, later);
        assert_eq!(known.find("token", "/metrics", later), Some(unclear));
    }
}
