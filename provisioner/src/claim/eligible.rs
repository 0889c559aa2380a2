//! Decides whether we provision a claim (docs/upstream/provisioner.md, "Eligibility").

use kubernetes::object::annotation::{MIGRATED_TO, SELECTED_NODE, SELECTED_NODE_ALPHA};
use kubernetes::object::{BindingMode, Claim, Class, DataSource};

use crate::migration::Names;

/// What to do about a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Eligibility {
    /// Nothing: the claim is not ours, or asks for nothing.
    Ignore,
    /// Its class does not exist: wait for the class.
    ClassMissing,
    /// Wait: the scheduler has not chosen a node yet.
    WaitsForNode,
    /// Leave it to a volume populator: CSI does not know the kind of its data source.
    ForPopulator,
    /// Provision it now.
    Go,
}

/// Decides about a claim and its class, if the cache has that class. The claim has no volume yet; claims with
/// a volume are not cached.
///
/// A claim that is being deleted is provisioned too, as upstream does. After a crash nobody knows whether its
/// volume was made. So we call the driver again and create the PersistentVolume. Kubernetes then deletes the
/// PersistentVolume, and with it the volume.
pub(crate) fn eligibility(claim: &Claim, class: Option<&Class>, names: Names<'_>) -> Eligibility {
    let driver = names.driver;
    let named = claim.provisioner();
    if named != Some(driver) && claim.meta.annotations.get(MIGRATED_TO) != Some(driver) {
        return Eligibility::Ignore;
    }
    let Some(class) = class else { return Eligibility::ClassMissing };
    // A claim without the provisioner's annotation asks no provisioner.
    if !named.is_some_and(|name| names.has(name)) || !names.has(&class.provisioner) {
        return Eligibility::Ignore;
    }
    let has_node = claim.meta.annotations.get(SELECTED_NODE).is_some_and(|node| !node.is_empty());
    match class.binding {
        BindingMode::WaitForFirstConsumer if !has_node => Eligibility::WaitsForNode,
        BindingMode::Immediate | BindingMode::WaitForFirstConsumer if is_for_populator(claim) => {
            Eligibility::ForPopulator
        }
        BindingMode::Immediate | BindingMode::WaitForFirstConsumer => Eligibility::Go,
    }
}

/// The node that the scheduler has selected for the claim, by either spelling of the annotation. The older one alone does
/// not make a claim eligible.
pub(crate) fn selected_node(claim: &Claim) -> Option<&str> {
    let annotations = &claim.meta.annotations;
    let node = annotations.get(SELECTED_NODE).or_else(|| annotations.get(SELECTED_NODE_ALPHA));
    node.filter(|node| !node.is_empty())
}

/// The data source of the claim (docs/upstream/provisioner.md, "Content sources").
pub(crate) fn source(claim: &Claim) -> Option<&DataSource> {
    claim.data_source.as_deref().or(claim.data_source_ref.as_deref())
}

/// The namespace that the data source names, if it names one.
pub(crate) fn other_namespace(claim: &Claim) -> Option<&str> {
    // Only the newer of the two fields has a namespace.
    let source = claim.data_source_ref.as_ref().filter(|_| claim.data_source.is_none());
    source.and_then(|source| source.namespace.as_deref()).filter(|namespace| !namespace.is_empty())
}

/// Whether the data source is neither a snapshot nor a claim. False for a source in another namespace: the attempt first looks for
/// a ReferenceGrant, and then decides.
fn is_for_populator(claim: &Claim) -> bool {
    other_namespace(claim).is_none()
        && source(claim)
            .is_some_and(|source| !["VolumeSnapshot", "PersistentVolumeClaim"].contains(&&*source.kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{claim, claim_from, class, config, with_annotations};
    use Eligibility::*;
    use serde_json::json;
    use translation::Plugin;

    #[test]
    fn should_provision() {
        let late = Class { binding: BindingMode::WaitForFirstConsumer, ..class() };
        let (ga, beta) =
            ("volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner");
        let node = "volume.kubernetes.io/selected-node";
        let now = class();
        let foreign = Class { provisioner: "other".into(), ..class() };
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<&'a Class>, Eligibility);
        let cases: &[Case<'_>] = &[
            ("ours by the GA key", &[(ga, "test-driver")], Some(&now), Go),
            ("ours by the beta key", &[(beta, "test-driver")], Some(&now), Go),
            ("the GA key wins", &[(ga, "other"), (beta, "test-driver")], Some(&now), Ignore),
            ("another's", &[(ga, "other")], Some(&now), Ignore),
            ("nobody's", &[], Some(&now), Ignore),
            ("migrated to another", &[(ga, "in-tree"), (MIGRATED_TO, "other")], Some(&now), Ignore),
            (
                "migrated to us, class of another",
                &[(ga, "in-tree"), (MIGRATED_TO, "test-driver")],
                Some(&now),
                Ignore,
            ),
            ("class unknown", &[(ga, "test-driver")], None, ClassMissing),
            ("class of another", &[(ga, "test-driver")], Some(&foreign), Ignore),
            ("late binding without a node", &[(ga, "test-driver")], Some(&late), WaitsForNode),
            (
                "late binding with an empty node",
                &[(ga, "test-driver"), (node, "")],
                Some(&late),
                WaitsForNode,
            ),
            ("late binding with a node", &[(ga, "test-driver"), (node, "n1")], Some(&late), Go),
        ];
        for (name, annotations, class, expected) in cases {
            let claim = with_annotations(claim(), annotations);
            assert_eq!(eligibility(&claim, *class, config().names()), *expected, "{name}");
        }
    }

    /// The driver serves a class of the plugin that it has replaced.
    #[test]
    fn in_tree_classes_are_served_by_the_driver_that_took_over() {
        const CINDER: &str = "cinder.csi.openstack.org";
        let ga = "volume.kubernetes.io/storage-provisioner";
        let names = Names { driver: CINDER, in_tree: Some(Plugin::Cinder) };
        let of = |provisioner: &str| Class { provisioner: provisioner.into(), ..class() };
        for (name, annotations, class, expected) in [
            ("named by the driver", &[(ga, CINDER), (MIGRATED_TO, CINDER)][..], "kubernetes.io/cinder", Go),
            (
                "named by the plugin",
                &[(ga, "kubernetes.io/cinder"), (MIGRATED_TO, CINDER)],
                "kubernetes.io/cinder",
                Go,
            ),
            (
                "named by the plugin, its class by the driver",
                &[(ga, "kubernetes.io/cinder"), (MIGRATED_TO, CINDER)],
                CINDER,
                Go,
            ),
            ("a class of the driver", &[(ga, CINDER)], CINDER, Go),
            ("not migrated", &[(ga, "kubernetes.io/cinder")], "kubernetes.io/cinder", Ignore),
            (
                "migrated to another",
                &[(ga, "kubernetes.io/cinder"), (MIGRATED_TO, "other")],
                "kubernetes.io/cinder",
                Ignore,
            ),
            ("migrated, named by nobody", &[(MIGRATED_TO, CINDER)], "kubernetes.io/cinder", Ignore),
            (
                "of another plugin",
                &[(ga, "kubernetes.io/rbd"), (MIGRATED_TO, CINDER)],
                "kubernetes.io/rbd",
                Ignore,
            ),
            ("class of another plugin", &[(ga, CINDER)], "kubernetes.io/rbd", Ignore),
        ] {
            let claim = with_annotations(claim(), annotations);
            assert_eq!(eligibility(&claim, Some(&of(class)), names), expected, "{name}");
        }
    }

    #[test]
    fn other_data_sources_are_left_to_a_populator() {
        let late = Class { binding: BindingMode::WaitForFirstConsumer, ..class() };
        let source = |kind: &str| json!({"apiGroup": "example.com", "kind": kind, "name": "s"});
        let elsewhere = |kind: &str, namespace: &str| {
            let mut source = source(kind);
            source["namespace"] = json!(namespace);
            source
        };
        for (spec, class, expected) in [
            (json!({"dataSourceRef": source("Dump")}), class(), ForPopulator),
            (json!({"dataSource": source("Dump")}), class(), ForPopulator),
            (json!({"dataSourceRef": source("Dump")}), late, WaitsForNode),
            (json!({"dataSource": source("VolumeSnapshot"), "dataSourceRef": source("Dump")}), class(), Go),
            (json!({"dataSource": source("PersistentVolumeClaim")}), class(), Go),
            (json!({"dataSourceRef": source("VolumeSnapshot")}), class(), Go),
            (json!({"dataSourceRef": elsewhere("Dump", "there")}), class(), Go),
            (json!({"dataSourceRef": elsewhere("Dump", "")}), class(), ForPopulator),
            (
                json!({"dataSource": source("Dump"), "dataSourceRef": elsewhere("Dump", "there")}),
                class(),
                ForPopulator,
            ),
        ] {
            let claim = claim_from(json!({}), spec.clone());
            assert_eq!(eligibility(&claim, Some(&class), config().names()), expected, "{spec}");
        }
    }
}
