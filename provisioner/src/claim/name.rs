//! Volume names (docs/upstream/provisioner.md, "Names").

use super::prefix::is_valid_prefix;
use crate::config::Config;

/// The volume name for a claim: the prefix, a dash, and the uid or its first characters without dashes.
///
/// The same claim always gets the same name, which makes CreateVolume safe to repeat. `None` if the claim has
/// no uid.
///
/// `Differs:` before it provisions, upstream checks for a volume called `pvc-<uid>`, whatever the prefix. We
/// check for this name.
pub(crate) fn volume_name(config: &Config, uid: &str) -> Option<String> {
    if uid.is_empty() {
        return None;
    }
    let prefix = &config.prefix;
    Some(match config.uuid_length {
        None => format!("{prefix}-{uid}"),
        Some(length) => {
            let digits: String = uid.chars().filter(|c| *c != '-').take(length).collect();
            format!("{prefix}-{digits}")
        }
    })
}

/// Whether two claims may get the same name: the uid is cut.
pub(crate) fn names_may_collide(config: &Config) -> bool {
    /// Characters of a uid without its dashes.
    const WHOLE: usize = 32;
    config.uuid_length.is_some_and(|length| length < WHOLE)
}

/// Whether this may be the name of the claim's volume, with whichever flags.
pub(crate) fn is_name_for(name: &str, uid: &str) -> bool {
    let digits: String = uid.chars().filter(|c| *c != '-').collect();
    let whole = name.strip_suffix(uid).and_then(|prefix| prefix.strip_suffix('-'));
    let cut = name.rsplit_once('-').filter(|(_, cut)| !cut.is_empty() && digits.starts_with(*cut));
    !uid.is_empty() && whole.or(cut.map(|(prefix, _)| prefix)).is_some_and(is_valid_prefix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::config;

    #[test]
    fn name_of_other_flags_is_known_as_the_claim_s() {
        const UID: &str = "8d2a5c1e-3f4b-4f6a-9c1d-000000000001";
        for prefix in ["pvc", "my-team.pvc"] {
            for uuid_length in [None, Some(1), Some(8), Some(9), Some(32)] {
                let config = Config { prefix: prefix.into(), uuid_length, ..config() };
                assert!(is_name_for(&volume_name(&config, UID).unwrap(), UID), "{uuid_length:?}");
            }
        }
        for name in
            ["pvc-of-somebody-else", "pvc-", "pvc", UID, "-8d2a", "PVC-8d2a", "pvc-8d2b", "pvc-8d2a5c1e-3f4b"]
        {
            assert!(!is_name_for(name, UID), "{name}");
        }
        assert!(!is_name_for("pvc-", ""));
    }

    #[test]
    fn whole_uid_keeps_its_dashes() {
        let config = Config { prefix: "pvc".into(), uuid_length: None, ..config() };
        let name = volume_name(&config, "8d2a-11ee-99").unwrap();
        assert_eq!(name, "pvc-8d2a-11ee-99");
    }

    #[test]
    fn cut_uid_loses_its_dashes_first() {
        let config = Config { prefix: "test".into(), uuid_length: Some(5), ..config() };
        assert_eq!(volume_name(&config, "te-st-id").unwrap(), "test-testi");
        assert_eq!(volume_name(&config, "ab").unwrap(), "test-ab");
    }

    #[test]
    fn only_names_from_a_cut_uid_may_collide() {
        for (length, expected) in [(None, false), (Some(32), false), (Some(31), true), (Some(1), true)] {
            assert_eq!(names_may_collide(&Config { uuid_length: length, ..config() }), expected);
        }
    }

    #[test]
    fn claim_without_uid_has_no_name() {
        assert_eq!(volume_name(&config(), ""), None);
    }
}
