//! Builds ControllerModifyVolume (docs/upstream/resizer.md, "Modify").

use std::collections::BTreeMap;

use csi::v1::ControllerModifyVolumeRequest;
use kubernetes::object::annotation::{MODIFY_SECRET_NAME, MODIFY_SECRET_NAMESPACE};
use kubernetes::object::{AttributesClass, Claim, CsiSource, Volume};
use kubernetes::secret::SecretRef;

/// The request to give a volume the attributes of a class. Secrets are added later. `names` adds those of claim and volume.
pub(super) fn modify(
    claim: &Claim,
    volume: &Volume,
    source: &CsiSource,
    class: &AttributesClass,
    names: bool,
) -> ControllerModifyVolumeRequest {
    let mut parameters = class.parameters.clone();
    if names {
        for (key, value) in [
            ("csi.storage.k8s.io/pvc/name", claim.meta.name()),
            ("csi.storage.k8s.io/pvc/namespace", claim.meta.namespace()),
            ("csi.storage.k8s.io/pv/name", volume.meta.name()),
        ] {
            parameters.insert(key.to_owned(), value.to_owned());
        }
    }
    ControllerModifyVolumeRequest {
        volume_id: source.volume_handle.to_string(),
        secrets: BTreeMap::new(),
        mutable_parameters: parameters,
    }
}

/// Where the secret is: as the volume's annotations say, else as for growing.
pub(super) fn secret_of(volume: &Volume, source: &CsiSource) -> Option<SecretRef> {
    let annotation = |key| volume.meta.annotations.get(key).filter(|text| !text.is_empty());
    if let (Some(name), Some(namespace)) =
        (annotation(MODIFY_SECRET_NAME), annotation(MODIFY_SECRET_NAMESPACE))
    {
        return Some(SecretRef { namespace: namespace.to_owned(), name: name.to_owned() });
    }
    SecretRef::parse(source.expand_secret.as_deref()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::volume;
    use serde_json::json;

    #[test]
    fn secret_of_the_annotations_comes_first() {
        let expand = json!({"csi": {"controllerExpandSecretRef": {"namespace": "ns", "name": "expand"}}});
        let annotations = |name: &str, namespace: &str| json!({"annotations": {MODIFY_SECRET_NAME: name, MODIFY_SECRET_NAMESPACE: namespace}});
        for (metadata, spec, expected) in [
            (json!({}), json!({}), None),
            (json!({}), expand.clone(), Some("ns/expand")),
            (annotations("modify", "other"), expand.clone(), Some("other/modify")),
            (annotations("modify", ""), expand.clone(), Some("ns/expand")),
            (annotations("", "other"), expand, Some("ns/expand")),
            (annotations("modify", "other"), json!({}), Some("other/modify")),
        ] {
            let volume = volume(json!({"metadata": metadata, "spec": spec}));
            let found = secret_of(&volume, volume.spec.csi.as_deref().unwrap());
            assert_eq!(found.map(|place| place.to_string()).as_deref(), expected, "{metadata} {spec}");
        }
    }
}
