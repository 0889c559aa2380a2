//! Names derived from a driver's: locks, finalizers, identities.

/// A driver's (or host's) name as it appears in object names: every character outside
/// `[a-zA-Z0-9-]` becomes `-`, and an `X` is appended if the result ends in `-`. Letters keep
/// their case and nothing is cut. Source: docs/upstream/conventions.md, "Names".
pub fn sanitize_driver_name(name: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let mut out: String = name.chars().map(keep).collect();
    if out.ends_with('-') {
        out.push('X');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_an_object_name_may_hold() {
        for (name, want) in [
            ("rbd.csi.ceph.com", "rbd-csi-ceph-com"),
            ("a!b/c", "a-b-c"),
            ("test\\", "test-X"),
            ("trailing-", "trailing-X"),
            ("Upper.Case", "Upper-Case"),
            ("äé", "--X"),
            ("", ""),
        ] {
            assert_eq!(sanitize_driver_name(name), want);
        }
    }
}
