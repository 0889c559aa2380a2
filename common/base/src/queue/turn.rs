//! The span of a pass over a key, at its end.

use super::core::Outcome;
use crate::noted::Failure;
use crate::trace::Open;

/// Ends the span of a pass that ended so.
pub(super) fn end(mut turn: Open, outcome: Outcome, failure: Option<&Failure>) {
    turn.note("mooring.outcome", name(outcome));
    turn.end(has_failed(outcome, failure).then_some(|| text(failure)));
}

fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Retry | Outcome::RetryWithin(_) => "retry",
        Outcome::After(_) => "later",
    }
}

/// A pass that is tried again has failed. So has one that logged an error. A warning alone is no failure.
fn has_failed(outcome: Outcome, failure: Option<&Failure>) -> bool {
    match outcome {
        Outcome::Retry | Outcome::RetryWithin(_) => true,
        Outcome::Done | Outcome::After(_) => failure.is_some_and(|failure| !failure.is_warning),
    }
}

fn text(failure: Option<&Failure>) -> String {
    match failure {
        Some(failure) if failure.error.is_empty() => failure.what.clone(),
        Some(failure) => format!("{}: {}", failure.what, failure.error),
        None => "will be tried again".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn pass_has_failed_if_it_is_tried_again_or_logged_an_error() {
        let failure = |is_warning| Failure::new("Failed to attach", "no space", is_warning);
        let (warning, error) = (failure(true), failure(false));
        let later = Outcome::After(Duration::ZERO);
        for (outcome, failure, expected) in [
            (Outcome::Done, None, None),
            (Outcome::Done, Some(&warning), None),
            (Outcome::Done, Some(&error), Some("Failed to attach: no space")),
            (later, Some(&warning), None),
            (later, Some(&error), Some("Failed to attach: no space")),
            (Outcome::Retry, Some(&warning), Some("Failed to attach: no space")),
            (Outcome::RetryWithin(Duration::ZERO), None, Some("will be tried again")),
        ] {
            let said = has_failed(outcome, failure).then(|| text(failure));
            assert_eq!(said.as_deref(), expected, "{outcome:?} {failure:?}");
        }
    }
}
