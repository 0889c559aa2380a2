//! Secret values. They never print: every way of printing gives `***stripped***`, map keys included.

use std::collections::BTreeMap;
use std::fmt;

/// What is printed in place of a secret.
pub const STRIPPED: &str = "***stripped***";

/// One secret value.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretValue(String);

impl SecretValue {
    /// The value itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for SecretValue {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

impl From<String> for SecretValue {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl fmt::Display for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STRIPPED)
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STRIPPED)
    }
}

/// The content of a Secret, by key.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, SecretValue>);

/// A key whose value is not UTF-8 text and so cannot be sent in a driver call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the value of key {0:?} is not UTF-8 text")]
pub struct NotText(
    /// The key.
    pub String,
);

impl Secrets {
    /// The `data` of a Secret, already base64-decoded.
    ///
    /// # Errors
    /// [`NotText`] for the first value that is no text.
    pub fn from_data(data: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<Self, NotText> {
        let text = |(key, value)| match String::from_utf8(value) {
            Ok(value) => Ok((key, SecretValue(value))),
            Err(_) => Err(NotText(key)),
        };
        data.into_iter().map(text).collect::<Result<_, _>>().map(Self)
    }

    /// The map for a request's `secrets` field; the request prints it redacted.
    pub fn to_request(&self) -> BTreeMap<String, String> {
        self.0.iter().map(|(key, value)| (key.clone(), value.0.clone())).collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One value.
    pub fn get(&self, key: &str) -> Option<&SecretValue> {
        self.0.get(key)
    }
}

impl FromIterator<(String, SecretValue)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (String, SecretValue)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl fmt::Display for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STRIPPED)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STRIPPED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_print_stripped_in_every_way() {
        let secrets = Secrets::from_data([("user".to_owned(), b"hunter2".to_vec())]).unwrap();
        let value = secrets.get("user").unwrap();
        for text in [
            format!("{secrets}"),
            format!("{secrets:?}"),
            format!("{secrets:#?}"),
            format!("{value}"),
            format!("{value:?}"),
        ] {
            assert_eq!(text, STRIPPED);
        }
        assert_eq!(value.expose(), "hunter2");
        assert_eq!(secrets.to_request().get("user").map(String::as_str), Some("hunter2"));
    }

    #[test]
    fn secret_values_must_be_text() {
        let error = Secrets::from_data([("key".to_owned(), vec![0xff])]).unwrap_err();
        assert_eq!(error, NotText("key".to_owned()));
    }
}
