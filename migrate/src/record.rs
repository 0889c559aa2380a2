//! What is written down of a volume before anything of it is changed.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::change::{Change, apply, essence, put, reversed};

/// Which way a volume goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Direction {
    /// From the in-tree plugin to its CSI driver.
    ToCsi,
    /// Back.
    ToInTree,
}

/// How it ended for a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ended {
    /// The volume is replaced, and everything else as before.
    Replaced,
    /// The volume is replaced. Its claim was deleted meanwhile, so its reclaim policy was left at Retain.
    Kept,
    /// Everything is as it was.
    AsItWas,
    /// Somebody else deleted the volume meanwhile.
    Gone,
}

/// The claim that is bound to a volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct BoundClaim {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) changes: Vec<Change>,
}

/// A volume, and what is to become of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) direction: Direction,
    /// The PersistentVolume before, as [`plain`] gives it.
    pub(crate) volume: Value,
    pub(crate) changes: Vec<Change>,
    pub(crate) claim: Option<BoundClaim>,
}

/// The policy under which nobody deletes a volume for its claim.
pub(crate) const RETAIN: &str = "Retain";

/// The claim's annotation while its volume is being replaced; its value is the volume's name.
pub(crate) const MARK: &str = "mooring.dev/migrating";

/// The claim's annotation beside the mark: the source that the volume had before, as JSON. It is for people who have lost the
/// undo file.
pub(crate) const SOURCE: &str = "mooring.dev/volume-source";

/// The volume's annotation while we hold its reclaim policy at Retain; its value is the policy before. It comes and goes in the
/// same write as our Retain, so that a Retain which somebody else has set is never taken for ours.
pub(crate) const RETAINED: &str = "mooring.dev/policy-before";

/// What the server gives to an object and takes from nobody.
const OF_THE_SERVER: [&str; 8] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
];

/// The text at a JSON pointer; empty if there is none.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

impl Record {
    /// The PersistentVolume's name.
    pub(crate) fn name(&self) -> &str {
        text(&self.volume, "/metadata/name")
    }

    /// The same volume on its way back, from what it is now. `claim` comes with its own changes.
    pub(crate) fn back(&self, volume: Value, claim: Option<BoundClaim>) -> Self {
        let direction = match self.direction {
            Direction::ToCsi => Direction::ToInTree,
            Direction::ToInTree => Direction::ToCsi,
        };
        Self { direction, volume: plain(volume), changes: reversed(&self.changes), claim }
    }

    /// The conversion that this record belongs to: itself, or what it takes back.
    pub(crate) fn conversion(&self) -> Self {
        match self.direction {
            Direction::ToCsi => self.clone(),
            Direction::ToInTree => {
                let claim = self.claim.as_ref();
                let claim =
                    claim.map(|claim| BoundClaim { changes: reversed(&claim.changes), ..claim.clone() });
                self.back(self.volume.clone(), claim)
            }
        }
    }

    /// The PersistentVolume as it is created anew: with policy Retain until everything else is done. `retained` is the policy
    /// that it is to have again then.
    pub(crate) fn created(&self, retained: Option<&str>) -> Value {
        self.anew(retained, &self.changes)
    }

    /// The PersistentVolume as it was, created again in the same way.
    pub(crate) fn restored(&self, retained: Option<&str>) -> Value {
        self.anew(retained, &[])
    }

    fn anew(&self, retained: Option<&str>, changes: &[Change]) -> Value {
        let mut volume = self.volume.clone();
        apply(&mut volume, changes);
        if let Some(metadata) = map(&mut volume, "metadata") {
            metadata.retain(|key, _| !OF_THE_SERVER.contains(&key.as_str()));
            if let Some(Value::Array(finalizers)) = metadata.get_mut("finalizers") {
                // The others are given again by those whose they are.
                finalizers.retain(|one| one.as_str().is_some_and(is_attachers));
            }
        }
        if let Some(retained) = retained {
            put(&mut volume, &["metadata", "annotations", RETAINED], retained.into());
        }
        if let Some(spec) = map(&mut volume, "spec") {
            spec.insert("persistentVolumeReclaimPolicy".to_owned(), RETAIN.into());
            if let Some(Value::Object(holder)) = spec.get_mut("claimRef") {
                holder.remove("resourceVersion");
            }
        }
        if let Some(object) = volume.as_object_mut() {
            object.remove("status");
            object.insert("apiVersion".to_owned(), "v1".into());
            object.insert("kind".to_owned(), "PersistentVolume".into());
        }
        volume
    }

    /// The record with what others have changed of its volume since, if that is anything. Finalizers are as they were.
    pub(crate) fn seen_again(&self, volume: &Value) -> Option<Self> {
        let mut volume = plain(volume.clone());
        if let (Some(metadata), before) =
            (map(&mut volume, "metadata"), self.volume.pointer("/metadata/finalizers"))
        {
            metadata.remove("deletionTimestamp");
            metadata.remove("deletionGracePeriodSeconds");
            metadata.insert("finalizers".to_owned(), before.cloned().unwrap_or_default());
        }
        let seen = Self { volume, ..self.clone() };
        (!seen.says(self)).then_some(seen)
    }

    /// Whether the other says the same of the same object. What the server counts and the object's state do not matter.
    pub(crate) fn says(&self, other: &Self) -> bool {
        (self.direction, &self.changes, &self.claim) == (other.direction, &other.changes, &other.claim)
            && essence(Some(&cut(&self.volume))) == essence(Some(&cut(&other.volume)))
    }
}

fn map<'a>(object: &'a mut Value, part: &str) -> Option<&'a mut Map<String, Value>> {
    object.get_mut(part).and_then(Value::as_object_mut)
}

/// What a volume is created anew from. Finalizers that come again by themselves are no part of it.
fn cut(volume: &Value) -> Value {
    let mut volume = volume.clone();
    if let Some(metadata) = map(&mut volume, "metadata") {
        metadata.retain(|key, _| !matches!(key.as_str(), "resourceVersion" | "managedFields" | "generation"));
        if let Some(Value::Array(finalizers)) = metadata.get_mut("finalizers") {
            finalizers.retain(|one| one.as_str().is_some_and(is_attachers));
        }
    }
    if let Some(object) = volume.as_object_mut() {
        object.retain(|key, _| matches!(key.as_str(), "metadata" | "spec"));
    }
    volume
}

/// The volume as it is without us: with the policy that we hold at Retain, and without the list of who wrote which field.
pub(crate) fn plain(mut volume: Value) -> Value {
    let before = retained(&volume).map(str::to_owned);
    if let (Some(before), true) = (before, policy(&volume) == RETAIN)
        && let Some(spec) = map(&mut volume, "spec")
    {
        spec.insert("persistentVolumeReclaimPolicy".to_owned(), before.into());
    }
    if let Some(metadata) = map(&mut volume, "metadata") {
        metadata.remove("managedFields");
        let annotations = metadata.get_mut("annotations").and_then(Value::as_object_mut);
        if annotations.is_some_and(|all| all.remove(RETAINED).is_some() && all.is_empty()) {
            metadata.remove("annotations");
        }
    }
    volume
}

/// The claim as it is without us, if these are our changes of it.
pub(crate) fn plain_claim(mut claim: Value, bound: Option<&BoundClaim>) -> Value {
    if let (true, Some(bound)) = (is_marked(&claim), bound) {
        apply(&mut claim, &reversed(&bound.changes));
    }
    if let Some(Value::Object(annotations)) = claim.pointer_mut("/metadata/annotations") {
        annotations.remove(MARK);
        annotations.remove(SOURCE);
    }
    claim
}

/// Whether the claim has our mark.
pub(crate) fn is_marked(claim: &Value) -> bool {
    claim.pointer("/metadata/annotations").and_then(|all| all.get(MARK)).is_some()
}

/// The policy before, if we hold the volume's policy at Retain.
pub(crate) fn retained(volume: &Value) -> Option<&str> {
    volume.pointer("/metadata/annotations")?.get(RETAINED)?.as_str()
}

/// The volume's reclaim policy.
pub(crate) fn policy(volume: &Value) -> String {
    text(volume, "/spec/persistentVolumeReclaimPolicy").to_owned()
}

/// Whether the finalizer is that of an attacher. It is on every volume that was ever attached, until the volume is deleted.
pub(crate) fn is_attachers(finalizer: &str) -> bool {
    finalizer.starts_with("external-attacher/")
}

/// Whether the finalizer may be taken off a volume that is to be created anew: its owner gives it again.
pub(crate) fn comes_again(finalizer: &str) -> bool {
    const OF_THE_SYSTEM: [&str; 3] = [
        "kubernetes.io/pv-protection",
        "kubernetes.io/pv-controller",
        "external-provisioner.volume.kubernetes.io/finalizer",
    ];
    OF_THE_SYSTEM.contains(&finalizer)
}

/// Makes the patch one of this version of this object.
pub(crate) fn only_seen(patch: &mut Value, object: &Value) {
    for field in ["uid", "resourceVersion"] {
        put(patch, &["metadata", field], text(object, &format!("/metadata/{field}")).into());
    }
}

/// The finalizers of an object.
pub(crate) fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    let all = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    all.into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::changes;
    use serde_json::json;

    fn volume() -> Value {
        json!({
            "metadata": {
                "name": "pv", "uid": "u", "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"a": "b"},
                "finalizers": ["kubernetes.io/pv-protection", "external-attacher/d"], "managedFields": [{"manager": "m"}],
            },
            "spec": {
                "capacity": {"storage": "1Gi"}, "persistentVolumeReclaimPolicy": "Delete", "cinder": {"volumeID": "id"},
                "claimRef": {"namespace": "ns", "name": "c", "uid": "cu", "resourceVersion": "3"},
            },
            "status": {"phase": "Bound"},
        })
    }

    fn record() -> Record {
        let mut csi = volume();
        csi["spec"].as_object_mut().unwrap().remove("cinder");
        csi["spec"]["csi"] = json!({"driver": "d", "volumeHandle": "id"});
        Record {
            direction: Direction::ToCsi,
            changes: changes(&volume(), &csi),
            volume: plain(volume()),
            claim: None,
        }
    }

    #[test]
    fn the_new_volume_has_what_the_server_does_not_give_itself() {
        let expected = json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": "pv", "labels": {"a": "b"}, "finalizers": ["external-attacher/d"]},
            "spec": {
                "capacity": {"storage": "1Gi"}, "persistentVolumeReclaimPolicy": "Retain",
                "csi": {"driver": "d", "volumeHandle": "id"}, "claimRef": {"namespace": "ns", "name": "c", "uid": "cu"},
            },
        });
        assert_eq!(record().created(None), expected);
        let back = record().back(expected.clone(), None).created(None);
        assert_eq!(
            (&back["spec"]["cinder"], &back["spec"]["csi"]),
            (&json!({"volumeID": "id"}), &Value::Null)
        );
        let mut retained = expected;
        retained["metadata"]["annotations"] = json!({RETAINED: "Delete"});
        assert_eq!(record().created(Some("Delete")), retained);
    }

    #[test]
    fn records_of_one_object_say_the_same_whatever_its_state() {
        let of = |volume: Value| Record { volume: plain(volume), ..record() };
        let mut same = volume();
        same["metadata"]["resourceVersion"] = json!("8");
        same["metadata"]["finalizers"] = json!(["external-attacher/d"]);
        same["metadata"]["annotations"] = json!({RETAINED: "Delete"});
        same["spec"]["persistentVolumeReclaimPolicy"] = json!("Retain");
        same["status"]["phase"] = json!("Released");
        assert!(record().says(&of(same.clone())));
        for (pointer, value) in [
            ("/spec/capacity/storage", json!("2Gi")),
            ("/metadata/uid", json!("v")),
            ("/metadata/labels/a", json!("c")),
            ("/metadata/finalizers", json!([])),
            ("/metadata/annotations", json!({})),
        ] {
            let mut other = same.clone();
            *other.pointer_mut(pointer).unwrap() = value;
            assert!(!record().says(&of(other)), "{pointer}");
        }
    }

    #[test]
    fn a_claims_own_state_is_seen_through_our_mark() {
        let before = json!({"metadata": {"annotations": {"by": "plugin", "x": "1"}}});
        let after = json!({"metadata": {"annotations": {"by": "driver", "x": "1"}}});
        let bound = BoundClaim {
            namespace: "ns".into(),
            name: "c".into(),
            uid: "u".into(),
            changes: changes(&before, &after),
        };
        let mut marked = after.clone();
        marked["metadata"]["annotations"][MARK] = json!("pv");
        assert_eq!(plain_claim(marked, Some(&bound)), before);
        assert_eq!(plain_claim(after.clone(), Some(&bound)), after, "without a mark it is not ours");
    }

    #[test]
    fn the_conversion_behind_a_way_back_is_the_way_there() {
        let bound = BoundClaim {
            namespace: "ns".into(),
            name: "c".into(),
            uid: "u".into(),
            changes: changes(&json!({"spec": {"a": "1"}}), &json!({"spec": {"a": "2"}})),
        };
        let there = Record { claim: Some(bound.clone()), ..record() };
        let claim = BoundClaim { changes: reversed(&bound.changes), ..bound };
        let back = there.back(there.created(None), Some(claim));
        let again = back.conversion();
        assert_eq!(
            (again.direction, &again.changes, &again.claim),
            (Direction::ToCsi, &there.changes, &there.claim)
        );
        assert_eq!(there.conversion(), there);
    }
}
