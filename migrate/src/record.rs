//! What is written down of a volume before anything of it is changed.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::change::{Change, apply, essence, reversed};

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
    /// The PersistentVolume before.
    pub(crate) volume: Value,
    /// Its reclaim policy, which it has again at the end.
    pub(crate) policy: String,
    pub(crate) changes: Vec<Change>,
    pub(crate) claim: Option<BoundClaim>,
}

/// The policy under which nobody deletes a volume for its claim.
pub(crate) const RETAIN: &str = "Retain";

/// The claim's annotation while its volume is being replaced; its value is the volume's name.
pub(crate) const MARK: &str = "mooring.dev/migrating";

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

    /// The same volume on its way back, from what it is now.
    pub(crate) fn back(&self, volume: Value, claim: Option<BoundClaim>) -> Self {
        let direction = match self.direction {
            Direction::ToCsi => Direction::ToInTree,
            Direction::ToInTree => Direction::ToCsi,
        };
        let changes = reversed(&self.changes);
        Self { direction, policy: policy(&volume), volume: without_managers(volume), changes, claim }
    }

    /// The PersistentVolume as it is created anew: with policy Retain until everything else is done.
    pub(crate) fn created(&self) -> Value {
        let mut volume = self.volume.clone();
        apply(&mut volume, &self.changes);
        if let Some(metadata) = map(&mut volume, "metadata") {
            metadata.retain(|key, _| !OF_THE_SERVER.contains(&key.as_str()));
            if let Some(Value::Array(finalizers)) = metadata.get_mut("finalizers") {
                // The others are given again by those whose they are.
                finalizers.retain(|one| one.as_str().is_some_and(is_attachers));
            }
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

    /// Whether `volume` is what is written down: policy, finalizers and status do not matter.
    pub(crate) fn is_of(&self, volume: &Value) -> bool {
        essence(Some(&cut(volume))) == essence(Some(&cut(&self.volume)))
    }
}

fn map<'a>(object: &'a mut Value, part: &str) -> Option<&'a mut Map<String, Value>> {
    object.get_mut(part).and_then(Value::as_object_mut)
}

fn cut(volume: &Value) -> Value {
    let mut volume = volume.clone();
    if let Some(metadata) = map(&mut volume, "metadata") {
        let beside = ["finalizers", "resourceVersion", "managedFields", "generation"];
        metadata.retain(|key, _| !beside.contains(&key.as_str()));
    }
    if let Some(spec) = map(&mut volume, "spec") {
        spec.remove("persistentVolumeReclaimPolicy");
    }
    if let Some(object) = volume.as_object_mut() {
        object.retain(|key, _| matches!(key.as_str(), "metadata" | "spec"));
    }
    volume
}

/// The volume without the list of who wrote which field.
pub(crate) fn without_managers(mut volume: Value) -> Value {
    if let Some(metadata) = map(&mut volume, "metadata") {
        metadata.remove("managedFields");
    }
    volume
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
            volume: without_managers(volume()),
            policy: policy(&volume()),
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
        assert_eq!(record().created(), expected);
        let back = record().back(expected, None).created();
        assert_eq!(
            (&back["spec"]["cinder"], &back["spec"]["csi"]),
            (&json!({"volumeID": "id"}), &Value::Null)
        );
    }

    #[test]
    fn a_record_is_of_the_very_object_whatever_its_state() {
        let mut same = volume();
        same["metadata"]["resourceVersion"] = json!("8");
        same["metadata"]["finalizers"] = json!([]);
        same["spec"]["persistentVolumeReclaimPolicy"] = json!("Retain");
        same["status"]["phase"] = json!("Released");
        assert!(record().is_of(&same));
        for (pointer, value) in
            [("/spec/capacity/storage", "2Gi"), ("/metadata/uid", "v"), ("/metadata/labels/a", "c")]
        {
            let mut other = same.clone();
            *other.pointer_mut(pointer).unwrap() = json!(value);
            assert!(!record().is_of(&other), "{pointer}");
        }
    }
}
