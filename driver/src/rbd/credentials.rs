//! Who asks Ceph: from a call's secrets, or from a folder for the calls that have none.

use std::collections::BTreeMap;
use std::path::Path;

use base::secret::SecretValue;

use crate::refusal::Refusal;

/// The user that in-tree volumes fall back to.
const IN_TREE_USER: &str = "admin";

/// A user and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// The user, without `client.`.
    pub(crate) user: String,
    /// Its key.
    pub(crate) key: SecretValue,
}

/// Reads `userID` and `userKey`; or, of a Secret of the in-tree plugin, `key` and `adminId`.
///
/// # Errors
/// INVALID_ARGUMENT, with the name of what is missing.
pub(crate) fn of_secrets(secrets: &BTreeMap<String, String>) -> Result<Credentials, Refusal> {
    let given = |name: &str| secrets.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
    let (user, key) = match (given("userID"), given("userKey"), given("key")) {
        (Some(user), Some(key), _) => (user, key),
        (None, None, Some(key)) => (given("adminId").unwrap_or(IN_TREE_USER), key),
        (None, ..) => return Err(Refusal::invalid("secrets", "userID is missing")),
        (_, None, _) => return Err(Refusal::invalid("secrets", "userKey is missing")),
    };
    Ok(Credentials { user: user.to_owned(), key: key.into() })
}

/// Reads the files `userID` and `userKey`, as a mounted Secret has them.
///
/// # Errors
/// FAILED_PRECONDITION, with the file that cannot be read.
pub(crate) fn of_folder(folder: &Path) -> Result<Credentials, Refusal> {
    let read = |name: &str| {
        let path = folder.join(name);
        let text = std::fs::read_to_string(&path);
        text.map_err(|error| Refusal::WrongState(format!("the secret {}: {error}", path.display())))
    };
    let secrets = [("userID", read("userID")?), ("userKey", read("userKey")?)];
    of_secrets(&secrets.map(|(name, value)| (name.to_owned(), value)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_both_kinds_are_read_and_never_print() {
        for (secrets, expected) in [
            (&[("userID", "csi"), ("userKey", "k==")][..], Ok(("csi", "k=="))),
            (&[("userID", "csi"), ("userKey", "k==\n"), ("encryptionPassphrase", "p")], Ok(("csi", "k=="))),
            (&[("key", "k==")], Ok(("admin", "k=="))),
            (&[("key", "k=="), ("adminId", "kube")], Ok(("kube", "k=="))),
            (&[], Err("userID is missing")),
            (&[("userID", "csi")], Err("userKey is missing")),
            (&[("userID", "csi"), ("userKey", "")], Err("userKey is missing")),
        ] {
            let map = secrets.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            match (of_secrets(&map), expected) {
                (Ok(found), Ok((user, key))) => {
                    assert_eq!((found.user.as_str(), found.key.expose()), (user, key));
                    assert!(!format!("{found:?}").contains("k=="));
                }
                (Err(refusal), Err(word)) => assert!(refusal.to_string().contains(word), "{refusal}"),
                (found, expected) => panic!("{secrets:?}: {found:?}, not {expected:?}"),
            }
        }
    }
}
