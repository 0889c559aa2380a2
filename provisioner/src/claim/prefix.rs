//! The prefix of volume names (`--volume-name-prefix`).

/// Whether volume names that begin so are names of Kubernetes objects (RFC 1123 subdomains of at most 253 characters).
pub(crate) fn is_valid_prefix(prefix: &str) -> bool {
    /// With the dash and the uid the name has at most 253 characters.
    const LONGEST: usize = 253 - 37;
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let (last, labels) = match prefix.rsplit_once('.') {
        Some((labels, last)) => (last, Some(labels)),
        None => (prefix, None),
    };
    let begins_well =
        |label: &str| label.bytes().next().is_some_and(|c| c != b'-') && label.bytes().all(inner);
    let whole = |label: &str| begins_well(label) && !label.ends_with('-');
    prefix.len() <= LONGEST && begins_well(last) && labels.is_none_or(|labels| labels.split('.').all(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_must_begin_an_object_s_name() {
        let longest = "p".repeat(216);
        for prefix in ["pvc", "a", "0", "pvc-", "my-team.pvc", "a.b.c", longest.as_str()] {
            assert!(is_valid_prefix(prefix), "{prefix}");
        }
        let too_long = "p".repeat(217);
        for prefix in
            ["", "Pvc", "my_pvc", "-pvc", ".pvc", "pvc.", "a-.b", "a..b", "a/b", "é", too_long.as_str()]
        {
            assert!(!is_valid_prefix(prefix), "{prefix}");
        }
    }
}
