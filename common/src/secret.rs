//! Secrets: values that never print, and references to them in class parameters.

use std::fmt;

/// What is printed in place of a secret.
pub const STRIPPED: &str = "***stripped***";

/// One secret value. It prints as `***stripped***` in every way there is.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretValue(String);

impl From<&str> for SecretValue {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

impl fmt::Display for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STRIPPED)
    }
}
