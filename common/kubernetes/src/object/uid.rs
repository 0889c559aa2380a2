//! The uid, which tells an object from all others, also from past ones.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// `metadata.uid`. The API server's are UUIDs, and 16 bytes hold one; any other text is kept as it is.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Uid(Form);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Form {
    /// What [`Uuid`] writes, character by character.
    Uuid([u8; 16]),
    Text(Box<str>),
}

impl Default for Form {
    fn default() -> Self {
        Self::Text(Box::default())
    }
}

impl Uid {
    /// Whether there is none: the object is not known by uid.
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Form::Text(text) if text.is_empty())
    }
}

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        let mut written = [0; uuid::fmt::Hyphenated::LENGTH];
        match Uuid::try_parse(text) {
            // Only the usual spelling is given back as it came.
            Ok(uuid) if uuid.hyphenated().encode_lower(&mut written) == text => {
                Self(Form::Uuid(uuid.into_bytes()))
            }
            Ok(_) | Err(_) => Self(Form::Text(text.into())),
        }
    }
}

impl From<Option<String>> for Uid {
    fn from(text: Option<String>) -> Self {
        text.as_deref().unwrap_or_default().into()
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Uuid(bytes) => Uuid::from_bytes_ref(bytes).hyphenated().fmt(f),
            Form::Text(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Uid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Uid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok((&*Box::<str>::deserialize(deserializer)?).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_given_back_as_it_came() {
        for (text, is_uuid) in [
            ("8d2a5c1e-3f4b-4f6a-9c1d-0123456789ab", true),
            ("00000000-0000-0000-0000-000000000000", true),
            ("8D2A5C1E-3F4B-4F6A-9C1D-0123456789AB", false),
            ("8d2a5c1e3f4b4f6a9c1d0123456789ab", false),
            ("{8d2a5c1e-3f4b-4f6a-9c1d-0123456789ab}", false),
            ("uid-1", false),
            ("", false),
        ] {
            let uid = Uid::from(text);
            assert_eq!((uid.to_string().as_str(), matches!(uid.0, Form::Uuid(_))), (text, is_uuid));
            assert_eq!(uid.is_empty(), text.is_empty());
            let json = serde_json::to_string(&uid).unwrap();
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(serde_json::from_str::<Uid>(&json).unwrap(), uid);
        }
        assert_ne!(Uid::from("a"), Uid::from("b"));
    }
}
