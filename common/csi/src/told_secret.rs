//! A driver that quotes a secret in its error: the secret goes no further.
//!
//! Errors of drivers are logged, written into events and statuses, and shown on the status page.
//!
//! `Differs:` upstream passes the driver's text on as it is.

use base::log::quote::quoted;
use tonic::Status;

use super::redact::{STRIPPED, SecretValues};

/// Shorter values are no secrets (`admin`, `true`): without them an error could not be read.
const SHORTEST: usize = 6;

/// The status, without these values in its text. A value is also found as Go's `%q` prints it.
pub(crate) fn without(secrets: &SecretValues, status: Status) -> Status {
    let text = stripped(&secrets.0, status.message());
    if text == status.message() {
        return status;
    }
    let (details, metadata) = (bytes::Bytes::copy_from_slice(status.details()), status.metadata().clone());
    Status::with_details_and_metadata(status.code(), text, details, metadata)
}

fn stripped(secrets: &[String], text: &str) -> String {
    let mut values: Vec<&str> = secrets.iter().map(|value| value.trim()).collect();
    values.retain(|value| value.len() >= SHORTEST);
    // One value may be part of another.
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    let mut text = text.to_owned();
    for value in values {
        let in_quotes = quoted(value);
        let escaped = in_quotes.trim_start_matches('"').trim_end_matches('"');
        text = text.replace(value, STRIPPED).replace(escaped, STRIPPED);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_in_an_error_is_stripped_however_it_is_written() {
        let secrets = ["s3cret-key", "s3cret-key-longer", "two\nlines\n", "on"].map(str::to_owned);
        for (text, expected) in [
            ("no such volume", "no such volume"),
            ("login with s3cret-key failed", "login with ***stripped*** failed"),
            ("s3cret-key-longer and s3cret-key", "***stripped*** and ***stripped***"),
            ("bad key \"two\\nlines\"", "bad key \"***stripped***\""),
            ("on", "on"),
        ] {
            assert_eq!(stripped(&secrets, text), expected);
        }
    }

    #[test]
    fn code_and_marks_of_a_status_stay() {
        let status = crate::code::not_answered(Status::aborted("key s3cret-key"));
        let secrets = SecretValues(vec!["s3cret-key".to_owned()]);
        assert_eq!(format!("{secrets:?}"), STRIPPED);
        let status = without(&secrets, status);
        assert_eq!((status.code(), status.message()), (tonic::Code::Aborted, "key ***stripped***"));
        assert!(!crate::was_answered(&status));
    }
}
