//! Which claims and volumes concern us (docs/upstream/resizer.md, "Which claims").

use kubernetes::object::{Claim, Scope, Volume};

/// Whether the volume is this driver's to resize, and it and the claim name each other. The volume names the claim by
/// uid: a new claim of the same name does not get the old one's volume.
///
/// `Differs:` for modification, upstream looks at the driver and the claim's phase only. And if a claim says that our driver,
/// which replaces an in-tree plugin, must resize its volume, upstream does so for a CSI volume of another driver too.
pub(crate) fn is_ours(claim: &Claim, volume: &Volume, scope: &Scope) -> bool {
    let named = match &volume.spec.csi {
        Some(source) => *source.driver == *scope.driver,
        None => claim.names_resizer(scope),
    };
    named && are_bound(claim, volume)
}

fn are_bound(claim: &Claim, volume: &Volume) -> bool {
    let Some(holder) = &volume.claim else { return false };
    *claim.volume == *volume.meta.name()
        && *holder.namespace == *claim.meta.namespace()
        && holder.uid == claim.meta.uid
        && claim.status.as_ref().is_some_and(|status| status.bound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{claim, scope, volume};
    use serde_json::{Value, json};

    #[test]
    fn claim_and_volume_must_name_each_other() {
        let with = |change: Value| is_ours(&claim(json!({})), &volume(change), &scope());
        assert!(with(json!({})));
        assert!(with(json!({"spec": {"claimRef": {"name": "another name"}}})), "the name does not count");
        for change in [
            json!({"spec": {"claimRef": null}}),
            json!({"spec": {"claimRef": {"uid": "other"}}}),
            json!({"spec": {"claimRef": {"uid": null}}}),
            json!({"spec": {"claimRef": {"namespace": "other"}}}),
            json!({"metadata": {"name": "other"}}),
        ] {
            assert!(!with(change.clone()), "{change}");
        }
        for phase in ["Pending", "Lost"] {
            let unbound = claim(json!({"status": {"phase": phase}}));
            assert!(!is_ours(&unbound, &volume(json!({})), &scope()), "{phase}");
        }
    }

    #[test]
    fn in_tree_volume_is_ours_if_the_claim_names_our_driver() {
        let in_tree = Scope { in_tree: Some("kubernetes.io/gce-pd".into()), ..scope() };
        let annotated = |driver: &str| {
            claim(json!({"metadata": {"annotations": {"volume.kubernetes.io/storage-resizer": driver}}}))
        };
        let migrated = json!({"metadata": {"annotations": {"pv.kubernetes.io/migrated-to": &*scope().driver}},
            "spec": {"csi": null, "gcePersistentDisk": {"pdName": "d"}}});
        let volume = volume(migrated);
        assert!(is_ours(&annotated(&scope().driver), &volume, &in_tree));
        assert!(!is_ours(&annotated("other"), &volume, &in_tree));
        assert!(!is_ours(&claim(json!({})), &volume, &in_tree));
        assert!(!is_ours(&annotated(&scope().driver), &volume, &scope()), "no plugin is replaced");
    }
}
