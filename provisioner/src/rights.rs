//! What the service account of the provisioner must be allowed: one table, from which the review at start and
//! `manifests/rbac/provisioner.yaml` both follow.

use kubernetes::permission::Need;

use crate::config::Config;

/// When a right is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Always.
    Always,
    /// The driver attaches volumes.
    Attaches,
    /// Claims are written: with topology, with a provisioner on each node, or because the driver clones volumes.
    Updates,
    /// Not every node reaches every volume, or capacities are published.
    Nodes,
    /// A provisioner on each node, and volumes are made from sources that other nodes' requests may hold.
    OtherNodes,
    /// The driver restores snapshots.
    Snapshots,
    /// The same, to hold a snapshot meanwhile. Without it the volume is made all the same, and a line says so then: it is not
    /// reviewed.
    HeldSnapshots,
    /// The gate CrossNamespaceVolumeDataSource is on.
    Grants,
    /// A claim names a VolumeAttributesClass. Nobody knows before, so it is not reviewed.
    Attributes,
    /// A class names Secrets. Nobody knows before, so it is not reviewed.
    Secrets,
}

const RIGHTS: [(When, Need); 15] = [
    (
        When::Always,
        Need::cluster("", "persistentvolumes", &["get", "list", "watch", "create", "patch", "delete"]),
    ),
    (When::Always, Need::cluster("", "persistentvolumeclaims", &["get", "list", "watch"])),
    (When::Always, Need::cluster("storage.k8s.io", "storageclasses", &["list", "watch"])),
    (When::Always, Need::cluster("", "events", &["create", "patch"])),
    (When::Attaches, Need::cluster("storage.k8s.io", "volumeattachments", &["get", "list", "watch"])),
    (When::Nodes, Need::cluster("", "nodes", &["list", "watch"])),
    (When::Nodes, Need::cluster("storage.k8s.io", "csinodes", &["get", "list", "watch"])),
    (When::OtherNodes, Need::cluster("storage.k8s.io", "csinodes", &["get"])),
    (When::Updates, Need::cluster("", "persistentvolumeclaims", &["update"])),
    (When::Snapshots, Need::cluster("snapshot.storage.k8s.io", "volumesnapshots", &["get"])),
    (
        When::HeldSnapshots,
        Need::cluster("snapshot.storage.k8s.io", "volumesnapshots", &["list", "watch", "update"]),
    ),
    (When::Snapshots, Need::cluster("snapshot.storage.k8s.io", "volumesnapshotcontents", &["get"])),
    (When::Grants, Need::cluster("gateway.networking.k8s.io", "referencegrants", &["list", "watch"])),
    (When::Attributes, Need::cluster("storage.k8s.io", "volumeattributesclasses", &["get"])),
    (When::Secrets, Need::cluster("", "secrets", &["get"])),
];

/// What capacities need, in the namespace of their objects, and what is optional in that of leader election.
const LOCAL: [(&str, Need); 4] = [
    (
        "Only with --enable-capacity.",
        Need {
            group: "storage.k8s.io",
            resource: "csistoragecapacities",
            verbs: &["get", "list", "watch", "create", "patch", "delete"],
            namespaced: true,
        },
    ),
    (
        "Only with --enable-capacity and an owner of the objects.",
        Need { group: "", resource: "pods", verbs: &["get"], namespaced: true },
    ),
    (
        "Only with --enable-capacity and --capacity-ownerref-level=2.",
        Need { group: "apps", resource: "replicasets", verbs: &["get"], namespaced: true },
    ),
    (
        "Without it, Leases of intents stay when they are empty.",
        Need { group: "coordination.k8s.io", resource: "leases", verbs: &["delete"], namespaced: true },
    ),
];

/// The rights to review at start in the namespace of capacity objects. Without the others the process does not start.
pub(crate) fn capacity_needs() -> [Need; 1] {
    let [(_, objects), ..] = LOCAL;
    [objects]
}

/// The rights to review at start.
pub(crate) fn needs(config: &Config) -> Vec<Need> {
    let wanted = |when: When| match when {
        When::Always => true,
        When::Attaches => config.can.publish,
        When::Updates => config.uses_topology() || config.node.is_some() || config.can.clones,
        When::Nodes => config.node.is_none() && (config.uses_topology() || config.capacity.is_some()),
        When::OtherNodes => {
            let sources = config.can.snapshots || config.can.clones;
            config.node.is_some() && config.intents.is_some() && sources
        }
        When::Snapshots => config.can.snapshots,
        When::Grants => config.cross_namespace,
        When::Secrets | When::Attributes | When::HeldSnapshots => false,
    };
    RIGHTS.into_iter().filter(|(when, _)| wanted(*when)).map(|(_, need)| need).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubernetes::permission::{LEASES, chart, granted};

    const MANIFEST: &str = include_str!("../../manifests/rbac/provisioner.yaml");
    const CHART: &str = include_str!("../../charts/mooring/files/rights/provisioner.yaml");

    /// Upstream's sample role (docs/upstream/provisioner.md, "Permissions").
    const UPSTREAM: [(&str, &str, &str); 15] = [
        ("", "persistentvolumes", "get list watch create patch delete"),
        ("", "persistentvolumeclaims", "get list watch update"),
        ("storage.k8s.io", "storageclasses", "get list watch"),
        ("", "events", "list watch create update patch"),
        ("storage.k8s.io", "volumeattachments", "get list watch"),
        ("", "nodes", "get list watch"),
        ("storage.k8s.io", "csinodes", "get list watch"),
        ("snapshot.storage.k8s.io", "volumesnapshots", "get list watch update"),
        ("snapshot.storage.k8s.io", "volumesnapshotcontents", "get list"),
        ("gateway.networking.k8s.io", "referencegrants", "get list watch"),
        ("", "secrets", "get list"),
        ("storage.k8s.io", "csistoragecapacities", "get list watch create update patch delete"),
        ("", "pods", "get"),
        ("apps", "replicasets", "get"),
        ("coordination.k8s.io", "leases", "get watch list delete update create"),
    ];

    /// Nothing is granted that the table has not, and nothing is missing.
    #[test]
    fn manifest_grants_the_table_and_nothing_else() {
        let rules = RIGHTS.iter().map(|(when, need)| {
            let note = match when {
                When::Always => "",
                When::Attaches => "Only for drivers that attach volumes: an attached volume is not deleted.",
                When::Updates => "Only for drivers with topology or clones, or with --node-deployment.",
                When::Nodes => "Only for drivers with topology, or with --enable-capacity.",
                When::OtherNodes => {
                    "Only with --node-deployment, for drivers that clone volumes or restore snapshots."
                }
                When::Snapshots => "Only for drivers that restore snapshots.",
                When::HeldSnapshots => "Without it, a snapshot can go while a volume is made from it.",
                When::Grants => "Only with the feature gate CrossNamespaceVolumeDataSource.",
                When::Attributes => "Only where claims name VolumeAttributesClasses.",
                When::Secrets => "Only where classes name Secrets.",
            };
            need.rule(note)
        });
        let local: String = LOCAL.iter().map(|(note, need)| need.rule(note)).collect();
        let expected = [rules.collect::<String>(), LEASES.rule("") + &local];
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
            When::Attaches => "attach",
            When::Updates => "claims",
            When::Nodes => "nodes",
            When::OtherNodes => "nodeDeployment",
            When::Snapshots | When::HeldSnapshots => "snapshots",
            When::Grants => "grants",
            When::Attributes => "modify",
            When::Secrets => "secrets",
        };
        let rights = RIGHTS.iter().map(|(when, need)| (condition(when), *need));
        let local = LOCAL.iter().zip(["capacity", "capacityOwner", "capacityOwnerOfOwner", "always"]);
        let local = local.map(|((_, need), condition)| (condition, *need));
        let all: Vec<_> = rights.chain([("always", LEASES)]).chain(local).collect();
        let expected = chart("provisioner", &all);
        assert_eq!(CHART, expected, "the file should be:\n{expected}");
    }

    /// Six of eleven vendors' accounts lack one of the other verbs.
    #[test]
    fn a_right_that_can_be_done_without_is_not_reviewed() {
        let mut config = crate::fixture::config();
        config.can.snapshots = true;
        let needs = needs(&config);
        let of_snapshots = needs.iter().filter(|need| need.resource == "volumesnapshots");
        let verbs: Vec<_> = of_snapshots.flat_map(|need| need.verbs).collect();
        assert_eq!(verbs, [&"get"]);
    }

    #[test]
    fn nodes_are_read_for_the_sources_that_other_nodes_hold() {
        let place = || Some(crate::intent::place::Place::new("ns".into(), "driver", Some("node-1")));
        let reads = |config: &Config| needs(config).iter().any(|need| need.resource == "csinodes");
        let mut config =
            Config { node: Some(crate::fixture::node()), intents: place(), ..crate::fixture::config() };
        assert!(!reads(&config));
        config.can.clones = true;
        assert!(reads(&config));
        config.intents = None;
        assert!(!reads(&config));
    }

    #[test]
    fn upstream_s_sample_role_grants_the_table_too() {
        // Upstream reads VolumeAttributesClasses too, and has forgotten them in its sample.
        let asked = RIGHTS.iter().filter(|(when, _)| *when != When::Attributes).map(|(_, need)| need);
        for need in asked.chain(LOCAL.iter().map(|(_, need)| need)).chain([&LEASES]) {
            assert!(need.is_within(&UPSTREAM), "{need:?}");
        }
    }
}
