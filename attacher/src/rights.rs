//! What the service account of the attacher must be allowed: one table, from which the review at start and
//! `manifests/rbac/attacher.yaml` both follow.

use kubernetes::permission::Need;

const STORAGE: &str = "storage.k8s.io";

/// When a right is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Always.
    Always,
    /// The driver publishes volumes.
    Publishes,
    /// A volume names a Secret. Nobody knows before, so it is not reviewed.
    Secrets,
}

const RIGHTS: [(When, Need); 5] = [
    (When::Publishes, Need::cluster("", "persistentvolumes", &["get", "list", "watch", "patch"])),
    (When::Publishes, Need::cluster(STORAGE, "csinodes", &["list", "watch"])),
    (When::Always, Need::cluster(STORAGE, "volumeattachments", &["get", "list", "watch", "patch"])),
    (When::Always, Need::cluster(STORAGE, "volumeattachments/status", &["patch"])),
    (When::Secrets, Need::cluster("", "secrets", &["get"])),
];

/// The rights to review at start.
pub(crate) fn needs(publishes: bool) -> Vec<Need> {
    let wanted = |when: When| match when {
        When::Always => true,
        When::Publishes => publishes,
        When::Secrets => false,
    };
    RIGHTS.into_iter().filter(|(when, _)| wanted(*when)).map(|(_, need)| need).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubernetes::permission::{LEASES, chart, granted};

    const MANIFEST: &str = include_str!("../../manifests/rbac/attacher.yaml");
    const CHART: &str = include_str!("../../charts/mooring/files/rights/attacher.yaml");

    /// Upstream's sample role (docs/upstream/attacher.md, "Permissions").
    const UPSTREAM: [(&str, &str, &str); 6] = [
        ("", "persistentvolumes", "get list watch patch"),
        (STORAGE, "csinodes", "get list watch"),
        (STORAGE, "volumeattachments", "get list watch patch"),
        (STORAGE, "volumeattachments/status", "patch"),
        ("", "secrets", "get list"),
        ("coordination.k8s.io", "leases", "get watch list delete update create"),
    ];

    /// Nothing is granted that the table has not, and nothing is missing.
    #[test]
    fn manifest_grants_the_table_and_nothing_else() {
        let rules = RIGHTS.iter().map(|(when, need)| {
            let note = match when {
                When::Always => "",
                When::Publishes => "Only for drivers that publish volumes.",
                When::Secrets => "Only where volumes name publish secrets.",
            };
            need.rule(note)
        });
        let expected = [rules.collect::<String>(), LEASES.rule("")];
        assert_eq!(
            granted(MANIFEST),
            expected,
            "the rules should be:\n{}",
            expected.join("and of the Role:\n")
        );
    }

    #[test]
    fn chart_has_the_table() {
        let condition = |when: &When| match when {
            When::Always => "always",
            When::Publishes => "attach",
            When::Secrets => "secrets",
        };
        let rights = RIGHTS.iter().map(|(when, need)| (condition(when), *need));
        let expected = chart("attacher", &rights.chain([("always", LEASES)]).collect::<Vec<_>>());
        assert_eq!(CHART, expected, "the file should be:\n{expected}");
    }

    #[test]
    fn upstream_s_sample_role_grants_the_table_too() {
        for need in RIGHTS.iter().map(|(_, need)| need).chain([&LEASES]) {
            assert!(need.is_within(&UPSTREAM), "{need:?}");
        }
    }
}
