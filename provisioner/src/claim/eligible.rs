//! Whether a claim is to be worked on (provisioner.md §6).

use common::kube::object::annotation::{MIGRATED_TO, SELECTED_NODE};
use common::kube::object::{BindingMode, Claim, Class};

/// What a claim is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eligibility {
    /// Somebody else's, or it asks for nothing.
    Ignore,
    /// Its class is not known: no volume can be made until it is there.
    ClassMissing,
    /// The scheduler has not chosen a node yet.
    WaitsForNode,
    /// To be provisioned now.
    Go,
}

/// Looks at a claim and its class, as far as the cache has one. The claim has no volume yet: others are
/// not cached.
///
/// A claim that is being deleted counts too, as upstream: after a crash nobody knows whether its volume was
/// made, and only asking the driver again leads to an object that is then deleted with its volume.
pub fn eligibility(claim: &Claim, class: Option<&Class>, driver: &str) -> Eligibility {
    let named = claim.provisioner();
    if named != Some(driver) && claim.meta.annotations.get(MIGRATED_TO) != Some(driver) {
        return Eligibility::Ignore;
    }
    let Some(class) = class else { return Eligibility::ClassMissing };
    // Without an annotation nobody was asked; an in-tree name counts only when the class carries it too.
    let is_known = named.is_some_and(|name| name == driver || name == &*class.provisioner);
    if !is_known {
        return Eligibility::Ignore;
    }
    match class.binding {
        BindingMode::Immediate => Eligibility::Go,
        BindingMode::WaitForFirstConsumer => match claim.meta.annotations.get(SELECTED_NODE) {
            Some(node) if !node.is_empty() => Eligibility::Go,
            Some(_) | None => Eligibility::WaitsForNode,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{claim, class, with_annotations};
    use Eligibility::*;

    #[test]
    fn should_provision() {
        let late = Class { binding: BindingMode::WaitForFirstConsumer, ..class() };
        let (ga, beta) =
            ("volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner");
        let node = "volume.kubernetes.io/selected-node";
        let now = class();
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
            assert_eq!(eligibility(&claim, *class, "test-driver"), *expected, "{name}");
        }
    }
}
