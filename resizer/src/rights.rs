//! What the service account of the resizer must be allowed: one table, from which the review at start and
//! `manifests/rbac/resizer.yaml` both follow.

use kubernetes::permission::Need;

use crate::config::Config;

const STORAGE: &str = "storage.k8s.io";

/// When a right is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Always.
    Always,
    /// The driver modifies volumes, and the cluster has VolumeAttributesClasses.
    Modifies,
    /// The driver may say that a volume is in use, and pods are looked at then.
    InUse,
    /// A volume names a Secret. Nobody knows before, so it is not reviewed.
    Secrets,
}

const RIGHTS: [(When, Need); 7] = [
    (When::Always, Need::cluster("", "persistentvolumes", &["get", "list", "watch", "patch"])),
    (When::Always, Need::cluster("", "persistentvolumeclaims", &["list", "watch"])),
    (When::Always, Need::cluster("", "persistentvolumeclaims/status", &["patch"])),
    (When::Always, Need::cluster("", "events", &["create", "patch"])),
    (When::Modifies, Need::cluster(STORAGE, "volumeattributesclasses", &["list", "watch"])),
    (When::InUse, Need::cluster("", "pods", &["list", "watch"])),
    (When::Secrets, Need::cluster("", "secrets", &["get"])),
];

/// The rights to review at start.
pub(crate) fn needs(config: &Config) -> Vec<Need> {
    let wanted = |when: When| match when {
        When::Always => true,
        When::Modifies => config.classes.is_some(),
        When::InUse => config.looks_at_pods && config.can.expansion.is_some(),
        When::Secrets => false,
    };
    RIGHTS.into_iter().filter(|(when, _)| wanted(*when)).map(|(_, need)| need).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubernetes::permission::{LEASES, chart, granted};

    const MANIFEST: &str = include_str!("../../manifests/rbac/resizer.yaml");
    const CHART: &str = include_str!("../../charts/mooring/files/rights/resizer.yaml");

    /// Upstream's sample role (docs/upstream/resizer.md, "Permissions").
    const UPSTREAM: [(&str, &str, &str); 8] = [
        ("", "events", "list watch create update patch"),
        ("", "persistentvolumes", "get list watch patch"),
        ("", "persistentvolumeclaims", "get list watch"),
        ("", "persistentvolumeclaims/status", "patch"),
        ("", "pods", "get list watch"),
        (STORAGE, "volumeattributesclasses", "get list watch"),
        ("", "secrets", "get list watch"),
        ("coordination.k8s.io", "leases", "get watch list delete update create"),
    ];

    /// Nothing is granted that the table has not, and nothing is missing.
    #[test]
    fn manifest_grants_the_table_and_nothing_else() {
        let rules = RIGHTS.iter().map(|(when, need)| {
            let note = match when {
                When::Always => "",
                When::Modifies => "Only for drivers that modify volumes.",
                When::InUse => "Only with --handle-volume-inuse-error, which is the default.",
                When::Secrets => "Only where volumes name secrets for the controller.",
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
            When::Modifies => "modify",
            When::InUse => "inUse",
            When::Secrets => "secrets",
        };
        let rights = RIGHTS.iter().map(|(when, need)| (condition(when), *need));
        let expected = chart("resizer", &rights.chain([("always", LEASES)]).collect::<Vec<_>>());
        assert_eq!(CHART, expected, "the file should be:\n{expected}");
    }

    #[test]
    fn upstream_s_sample_role_grants_the_table_too() {
        for need in RIGHTS.iter().map(|(_, need)| need).chain([&LEASES]) {
            assert!(need.is_within(&UPSTREAM), "{need:?}");
        }
    }
}
