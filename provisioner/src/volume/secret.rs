//! Finds the Secret that DeleteVolume needs (docs/upstream/provisioner.md, "Deletion secrets").

use kubernetes::object::annotation::{DELETION_SECRET_NAME, DELETION_SECRET_NAMESPACE};
use kubernetes::object::{Class, Volume};
use kubernetes::secret::{ClaimFacts, Facts, ReferenceError, SecretRef, Stage, reference};

/// The Secret for deleting `volume`: from its annotations, else from its class.
///
/// # Errors
/// The class's parameters cannot be resolved without the claim. The deletion is then tried again.
pub(crate) fn deletion_secret(
    volume: &Volume,
    class: Option<&Class>,
) -> Result<Option<SecretRef>, ReferenceError> {
    if let Some((name, namespace)) = noted(volume) {
        let both = !name.is_empty() && !namespace.is_empty();
        return Ok(both.then(|| SecretRef { namespace: namespace.to_owned(), name: name.to_owned() }));
    }
    let (Some(class), Some(claim)) = (class, &volume.claim) else { return Ok(None) };
    let claim = ClaimFacts { namespace: &claim.namespace, name: &claim.name, annotations: None };
    let facts = Facts { volume_name: volume.meta.name(), claim: Some(claim) };
    reference(Stage::Provision, &class.parameters, &facts)
}

/// Name and namespace in the volume's annotations: then its class does not matter.
pub(crate) fn noted(volume: &Volume) -> Option<(&str, &str)> {
    let annotations = &volume.meta.annotations;
    annotations.get(DELETION_SECRET_NAME).zip(annotations.get(DELETION_SECRET_NAMESPACE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{class, volume};
    use serde_json::json;

    fn noted(annotations: serde_json::Value) -> Volume {
        volume(json!({
            "metadata": {"name": "pv", "annotations": annotations},
            "spec": {"csi": {"driver": "test-driver"}, "claimRef": {"namespace": "ns", "name": "claim"}},
        }))
    }

    fn with_secret(name: &str) -> Class {
        let parameters = [
            ("csi.storage.k8s.io/provisioner-secret-name", name),
            ("csi.storage.k8s.io/provisioner-secret-namespace", "${pvc.namespace}"),
        ];
        let parameters = parameters.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        Class { parameters, ..class() }
    }

    #[test]
    fn annotations_win_over_the_class() {
        let volume = noted(json!({
            "volume.kubernetes.io/provisioner-deletion-secret-name": "s",
            "volume.kubernetes.io/provisioner-deletion-secret-namespace": "n",
        }));
        let found = deletion_secret(&volume, Some(&with_secret("other"))).unwrap().unwrap();
        assert_eq!(found.to_string(), "n/s");
    }

    #[test]
    fn empty_annotations_mean_no_secret() {
        let volume = noted(json!({
            "volume.kubernetes.io/provisioner-deletion-secret-name": "",
            "volume.kubernetes.io/provisioner-deletion-secret-namespace": "",
        }));
        assert_eq!(deletion_secret(&volume, Some(&with_secret("other"))), Ok(None));
    }

    #[test]
    fn without_annotations_the_class_names_the_secret() {
        let volume = noted(json!({}));
        let found = deletion_secret(&volume, Some(&with_secret("${pvc.name}-s"))).unwrap().unwrap();
        assert_eq!(found.to_string(), "ns/claim-s");
        assert_eq!(deletion_secret(&volume, None), Ok(None));
    }

    #[test]
    fn claim_annotations_are_not_known_when_deleting() {
        let class = with_secret("${pvc.annotations['a']}");
        assert!(deletion_secret(&noted(json!({})), Some(&class)).is_err());
    }
}
