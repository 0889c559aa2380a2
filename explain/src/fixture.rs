//! A cluster that is a list of objects, for tests.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::ask::{Ask, Kind};
use crate::decide::{NoAnswer, Target, decide, unread};
use crate::field::{name, namespace, text};
use crate::finding::Answer;
use crate::view::{Found, View};

/// When the tests' answers are given.
pub(crate) const NOW: &str = "2026-11-30T12:00:00Z";

/// The objects of a cluster, and what may not be read of it.
#[derive(Debug, Default, Clone)]
pub(crate) struct World {
    pub(crate) objects: Vec<Value>,
    pub(crate) refused: Vec<Kind>,
    pub(crate) not_served: Vec<Kind>,
}

impl World {
    /// A cluster with these objects.
    pub(crate) fn of(objects: impl IntoIterator<Item = Value>) -> Self {
        Self { objects: objects.into_iter().collect(), ..Self::default() }
    }

    fn answer(&self, ask: &Ask) -> Found {
        if self.not_served.contains(&ask.kind) {
            return Found::NoKind;
        }
        if self.refused.contains(&ask.kind) {
            return Found::Refused(format!("RULE {}", ask.kind.resource().plural));
        }
        let is_meant = |object: &&Value| {
            let named = [name(object), namespace(object)];
            text(object, "/kind") == ask.kind.name()
                && (ask.name.is_empty() || ask.name == named[0])
                && (ask.namespace.is_empty() || ask.namespace == named[1])
                && match ask.fields.split_once('=') {
                    Some(("metadata.name", name)) => name == named[0],
                    Some(("involvedObject.name", name)) => name == text(object, "/involvedObject/name"),
                    Some(other) => panic!("no such selector: {other:?}"),
                    None => true,
                }
        };
        let mut found = self.objects.iter().filter(is_meant).cloned();
        match ask.is_list() {
            true => Found::Objects(found.collect()),
            false => found.next().map_or(Found::Nothing, |object| Found::Object(Box::new(object))),
        }
    }

    /// The answer about an object, as `run` comes to it.
    pub(crate) fn explain(&self, kind: Kind, name: &str) -> Result<Answer, NoAnswer> {
        let namespace = if matches!(kind, Kind::Claim | Kind::Snapshot) { "team" } else { "" };
        let target = Target { kind, namespace: namespace.to_owned(), name: name.to_owned() };
        let mut view = View::new(NOW.parse::<Timestamp>().unwrap());
        loop {
            let answer = decide(&view, &target);
            let asked = view.asked();
            let new: Vec<Ask> = asked.iter().filter(|ask| !view.knows(ask)).cloned().collect();
            if new.is_empty() {
                return answer.map(|mut answer| {
                    answer.unread = unread(asked.iter().filter_map(|ask| Some((ask, view.found(ask)?))));
                    answer
                });
            }
            for ask in new {
                let found = self.answer(&ask);
                view.learn(ask, found);
            }
        }
    }

    /// The causes that the answer about an object names.
    pub(crate) fn causes(&self, kind: Kind, name: &str) -> Vec<&'static str> {
        self.explain(kind, name).unwrap().findings.iter().map(|finding| finding.cause).collect()
    }
}

/// An object of this kind, in namespace `team` if it has one, with uid `uid-NAME`.
pub(crate) fn object(kind: Kind, name: &str, fields: Value) -> Value {
    let is_in_namespace = matches!(
        kind,
        Kind::Claim
            | Kind::Snapshot
            | Kind::Pod
            | Kind::Secret
            | Kind::Event
            | Kind::Quota
            | Kind::Lease
            | Kind::Grant
            | Kind::Capacity
    );
    let mut metadata = json!({
        "name": name, "uid": format!("uid-{name}"), "creationTimestamp": "2026-11-30T11:00:00Z",
    });
    if is_in_namespace {
        metadata["namespace"] = json!("team");
    }
    merged(json!({"kind": kind.name(), "metadata": metadata}), fields)
}

fn merged(mut object: Value, fields: Value) -> Value {
    match (&mut object, fields) {
        (Value::Object(object), Value::Object(fields)) => {
            for (key, value) in fields {
                let old = object.remove(&key).unwrap_or(Value::Null);
                object.insert(key, merged(old, value));
            }
        }
        (object, fields) => *object = fields,
    }
    object
}

/// A claim of class `fast` for 1Gi.
pub(crate) fn claim(fields: Value) -> Value {
    let spec = json!({"storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}});
    let handed_over = json!({"volume.kubernetes.io/storage-provisioner": "d"});
    let claim = json!({"spec": spec, "metadata": {"annotations": handed_over}});
    merged(object(Kind::Claim, "data", claim), fields)
}

/// A claim that is bound to the volume `pv` of [`volume`].
pub(crate) fn bound(fields: Value) -> Value {
    let bound =
        json!({"spec": {"volumeName": "pv"}, "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}});
    claim(merged(bound, fields))
}

/// The class `fast` of driver `d`.
pub(crate) fn class(fields: Value) -> Value {
    merged(object(Kind::Class, "fast", json!({"provisioner": "d"})), fields)
}

/// The volume `pv` of driver `d`, bound to `team/data`.
pub(crate) fn volume(fields: Value) -> Value {
    let spec = json!({
        "csi": {"driver": "d", "volumeHandle": "v"}, "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
        "claimRef": {"namespace": "team", "name": "data", "uid": "uid-data"}, "persistentVolumeReclaimPolicy": "Delete",
    });
    merged(object(Kind::Volume, "pv", json!({"spec": spec, "status": {"phase": "Bound"}})), fields)
}

/// A pod on node `n` that mounts the claim.
pub(crate) fn pod(fields: Value) -> Value {
    let spec = json!({"nodeName": "n", "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]});
    merged(object(Kind::Pod, "app", json!({"spec": spec, "status": {"phase": "Pending"}})), fields)
}

/// Node `n`, where driver `d` is registered.
pub(crate) fn node() -> [Value; 2] {
    [
        object(Kind::Node, "n", json!({})),
        object(Kind::CsiNode, "n", json!({"spec": {"drivers": [{"name": "d", "nodeID": "n"}]}})),
    ]
}

/// A Lease of this name, renewed so long before [`NOW`].
pub(crate) fn lease(name: &str, seconds: i64) -> Value {
    let renewed = NOW.parse::<Timestamp>().unwrap() - jiff::SignedDuration::from_secs(seconds);
    let spec =
        json!({"holderIdentity": "host", "leaseDurationSeconds": 15, "renewTime": renewed.to_string()});
    object(Kind::Lease, name, json!({"spec": spec}))
}

/// A warning about an object of namespace `team`.
pub(crate) fn warning(about: &str, reason: &str, message: &str) -> Value {
    object(
        Kind::Event,
        &format!("{about}.{reason}"),
        json!({
            "type": "Warning", "reason": reason, "message": message, "lastTimestamp": "2026-11-30T11:50:00Z",
            "firstTimestamp": "2026-11-30T11:40:00Z", "involvedObject": {"name": about, "uid": format!("uid-{about}")},
        }),
    )
}

/// The VolumeAttachment `va` of `pv` to node `n`.
pub(crate) fn attachment(fields: Value) -> Value {
    let spec = json!({"attacher": "d", "nodeName": "n", "source": {"persistentVolumeName": "pv"}});
    merged(object(Kind::Attachment, "va", json!({"spec": spec})), fields)
}
