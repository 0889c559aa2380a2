//! The objects as they are sent.

use base::quantity::Quantity;
use csi::topology::Term;
use csi::v1::GetCapacityResponse;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kubernetes::object::{Capacity, DRIVER_NAME, MANAGED_BY};
use serde_json::{Map, Value, json};

use super::CapacitySettings;
use super::item::Item;

/// The name of an item's object.
///
/// `Differs:` upstream has the API server invent names, so that a lost reply to a creation leaves two objects for a while.
/// With `number` the name is another one, for when somebody else has the first.
pub(super) fn name(item: &Item, driver: &str, settings: &CapacitySettings, number: usize) -> String {
    let number = number.to_string();
    let parts = [driver, &settings.managed_by, &item.class, &item.segment, &number];
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("csisc-{hash:016x}")
}

/// A new object for an item.
pub(super) fn new_object(
    name: &str,
    item: &Item,
    segment: &Term,
    driver: &str,
    settings: &CapacitySettings,
    said: &GetCapacityResponse,
) -> Value {
    let labels: Map<String, Value> =
        segment.pairs().iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    // Without labels it selects all nodes; without a selector it would select none.
    let topology = if labels.is_empty() { json!({}) } else { json!({"matchLabels": labels}) };
    let mut object = json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSIStorageCapacity",
        "metadata": {
            "name": name,
            "namespace": settings.namespace,
            "labels": {DRIVER_NAME: driver, MANAGED_BY: settings.managed_by},
        },
        "storageClassName": &*item.class,
        "nodeTopology": topology,
        "capacity": quantity(said.available_capacity),
    });
    if let Some(fields) = object.as_object_mut() {
        if let Some(maximum) = said.maximum_volume_size {
            fields.insert("maximumVolumeSize".to_owned(), json!(quantity(maximum)));
        }
        if let (Some(owner), Some(Value::Object(metadata))) = (&settings.owner, fields.get_mut("metadata")) {
            metadata.insert("ownerReferences".to_owned(), json!([owner]));
        }
    }
    object
}

/// The strategic merge patch that makes the object say this; `None` if it does.
///
/// `Differs:` an object may have one controller only. Its former owner, such as the ReplicaSet before a rollout, stays its owner and
/// is its controller no longer. Upstream adds a second controller, which the API server refuses at each poll, so the
/// capacity stays as it was.
pub(super) fn difference(
    object: &Capacity,
    said: &GetCapacityResponse,
    owner: Option<&OwnerReference>,
) -> Option<Value> {
    let owner = owner.filter(|owner| !object.owners.iter().any(|known| *known == owner.uid.as_str().into()));
    let same = object.bytes == Some(said.available_capacity) && object.maximum == said.maximum_volume_size;
    if same && owner.is_none() {
        return None;
    }
    let mut patch = json!({
        "capacity": quantity(said.available_capacity),
        "maximumVolumeSize": said.maximum_volume_size.map(quantity),
    });
    if let (Some(owner), Some(patch)) = (owner, patch.as_object_mut()) {
        let former = object.owners.iter().map(|uid| json!({"uid": uid.to_string(), "controller": false}));
        let owners: Vec<Value> = std::iter::once(json!(owner)).chain(former).collect();
        patch.insert("metadata".to_owned(), json!({"ownerReferences": owners}));
    }
    Some(patch)
}

fn quantity(bytes: i64) -> String {
    Quantity::from_bytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubernetes::object::{Object, Scope};
    use std::time::Duration;

    fn settings(owner: bool) -> CapacitySettings {
        CapacitySettings {
            namespace: "ns".into(),
            managed_by: "external-provisioner".into(),
            owner: owner.then(|| serde_json::from_value(reference("mine")).unwrap()),
            workers: 1,
            poll: Duration::from_secs(60),
            immediate: false,
        }
    }

    fn reference(uid: &str) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": uid, "controller": true})
    }

    fn item() -> Item {
        Item { segment: "rack=1,zone=a".into(), class: "fast".into() }
    }

    fn said(available_capacity: i64, maximum_volume_size: Option<i64>) -> GetCapacityResponse {
        GetCapacityResponse { available_capacity, maximum_volume_size, ..Default::default() }
    }

    fn object(owner: bool, said: &GetCapacityResponse) -> Value {
        let term = Term::new([("zone", "a"), ("rack", "1")]);
        new_object("csisc-1", &item(), &term, "test-driver", &settings(owner), said)
    }

    fn slim(object: Value) -> Capacity {
        Capacity::slim(serde_json::from_value(object).unwrap(), &Scope::default()).unwrap()
    }

    #[test]
    fn object_has_exactly_these_fields() {
        let expected = json!({
            "apiVersion": "storage.k8s.io/v1",
            "kind": "CSIStorageCapacity",
            "metadata": {
                "name": "csisc-1", "namespace": "ns",
                "labels": {
                    "csi.storage.k8s.io/drivername": "test-driver",
                    "csi.storage.k8s.io/managed-by": "external-provisioner",
                },
                "ownerReferences": [reference("mine")],
            },
            "storageClassName": "fast",
            "nodeTopology": {"matchLabels": {"zone": "a", "rack": "1"}},
            "capacity": "1Gi",
            "maximumVolumeSize": "1Mi",
        });
        assert_eq!(object(true, &said(1 << 30, Some(1 << 20))), expected);
        let plain = object(false, &said(0, None));
        assert_eq!(plain["capacity"], "0", "no room is published too");
        assert!(
            plain.get("maximumVolumeSize").is_none() && plain["metadata"].get("ownerReferences").is_none()
        );
        let everywhere = new_object("n", &item(), &Term::default(), "d", &settings(false), &said(0, None));
        assert_eq!(everywhere["nodeTopology"], json!({}));
    }

    #[test]
    fn what_was_written_is_read_back() {
        let read = slim(object(true, &said(1 << 30, Some(5))));
        assert_eq!(Item::of(&read), Some(item()));
        assert_eq!((read.bytes, read.maximum), (Some(1 << 30), Some(5)));
        assert_eq!((&*read.driver, &*read.managed_by), ("test-driver", "external-provisioner"));
    }

    #[test]
    fn only_a_difference_is_written() {
        let owner: OwnerReference = serde_json::from_value(reference("mine")).unwrap();
        let patch = |owned: bool, before: &GetCapacityResponse, now: &GetCapacityResponse, owner| {
            difference(&slim(object(owned, before)), now, owner)
        };
        let (one, two, limited) = (said(1 << 30, None), said(2 << 30, None), said(1 << 30, Some(7)));
        for (name, owned, before, now, wanted, expected) in [
            ("same", true, &one, &one, Some(&owner), None),
            ("same, nobody's", false, &one, &one, None, None),
            ("keep owner", true, &one, &one, None, None),
            (
                "update capacity",
                true,
                &one,
                &two,
                Some(&owner),
                Some(json!({"capacity": "2Gi", "maximumVolumeSize": null})),
            ),
            (
                "add maximum",
                false,
                &one,
                &limited,
                None,
                Some(json!({"capacity": "1Gi", "maximumVolumeSize": "7"})),
            ),
            (
                "remove maximum",
                false,
                &limited,
                &one,
                None,
                Some(json!({"capacity": "1Gi", "maximumVolumeSize": null})),
            ),
            (
                "add owner",
                false,
                &one,
                &one,
                Some(&owner),
                Some(json!({
                    "capacity": "1Gi", "maximumVolumeSize": null,
                    "metadata": {"ownerReferences": [reference("mine")]},
                })),
            ),
        ] {
            assert_eq!(patch(owned, before, now, wanted), expected, "{name}");
        }
    }

    #[test]
    fn names_follow_from_the_item() {
        let name = |item: &Item, driver, number| name(item, driver, &settings(false), number);
        let first = name(&item(), "d", 0);
        assert!(first.len() == 22 && first.starts_with("csisc-"), "{first}");
        assert_eq!(first, name(&item(), "d", 0));
        let other = Item { class: "fastrack".into(), segment: "=1,zone=a".into() };
        for another in [name(&item(), "d", 1), name(&item(), "e", 0), name(&other, "d", 0)] {
            assert_ne!(first, another);
        }
    }
}
