//! The requests that are sent to both servers, and how answers are made comparable.
#![allow(clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

/// One request. `$name` in path and body is what an earlier answer was kept as.
pub(crate) struct Exchange {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) content_type: &'static str,
    pub(crate) accept: &'static str,
    pub(crate) body: String,
    pub(crate) keep: Option<(&'static str, &'static str)>,
}

impl Exchange {
    pub(crate) fn title(&self) -> String {
        format!("{} {} {} {}", self.method, self.path, self.content_type, self.body)
    }

    fn keep(mut self, name: &'static str, pointer: &'static str) -> Exchange {
        self.keep = Some((name, pointer));
        self
    }

    fn accept(mut self, accept: &'static str) -> Exchange {
        self.accept = accept;
        self
    }
}

/// A comparable answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) bodies: Vec<Value>,
}

/// Fields that are the same only by accident, or that the model does not have.
const IGNORED: &[&str] =
    &["managedFields", "selfLink", "causes", "lastPhaseTransitionTime", "remainingItemCount"];
const TIMES: &[&str] = &["creationTimestamp", "deletionTimestamp", "time"];

/// What uids and resourceVersions the objects of one server have had, by object: equal values get equal names.
pub(crate) type Seen = BTreeMap<String, Vec<String>>;

/// Replaces what differs from server to server; `None` for what is not compared (bookmarks that come by the clock).
pub(crate) fn comparable(mut body: Value, seen: &mut Seen) -> Option<Value> {
    if body["type"] == "BOOKMARK" && body.pointer("/object/metadata/annotations").is_none() {
        return None;
    }
    if body["type"] == "BOOKMARK"
        && let Some(object) = body["object"].as_object_mut()
    {
        // The rest of a bookmark's object is the empty value of its Go type.
        object.retain(|key, _| ["kind", "apiVersion", "metadata"].contains(&key.as_str()));
    }
    clean(&mut body, seen, "");
    Some(body)
}

fn clean(value: &mut Value, seen: &mut Seen, key: &str) {
    match value {
        Value::Object(map) => {
            if map.get("kind").is_some_and(|kind| kind == "Status") {
                // Wording is not promised, and details are for people.
                map.retain(|key, _| ["kind", "status", "reason", "code"].contains(&key.as_str()));
            }
            let name = map.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            for field in ["uid", "resourceVersion"] {
                if let Some(Value::String(text)) = map.get_mut(field) {
                    let values = seen.entry(format!("{field} of {name}")).or_default();
                    let index = values.iter().position(|one| one == text).unwrap_or_else(|| {
                        values.push(text.clone());
                        values.len() - 1
                    });
                    // That of a list grows with every write anywhere.
                    *text = if name.is_empty() { "some".to_owned() } else { format!("#{index}") };
                }
            }
            if let Some(prefix) = map.get("generateName").and_then(Value::as_str) {
                assert!(name.starts_with(prefix) && name.len() == prefix.len() + 5, "{name}");
                map.insert("name".to_owned(), json!("generated"));
            }
            map.retain(|key, value| !IGNORED.contains(&key.as_str()) && !value.is_null());
            map.retain(|key, value| key != "continue" || value != "");
            for (key, value) in map {
                clean(value, seen, key);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|one| clean(one, seen, key)),
        Value::String(text) if TIMES.contains(&key) => *text = "then".to_owned(),
        Value::String(text) if key == "continue" => *text = "more".to_owned(),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What is different, line by line.
pub(crate) fn difference(real: &Answer, model: &Answer) -> String {
    let mut text = String::new();
    if real.status != model.status {
        let _ = writeln!(text, "  status: real {}, model {}", real.status, model.status);
    }
    for index in 0..real.bodies.len().max(model.bodies.len()) {
        let nothing = Value::Null;
        let one = real.bodies.get(index).unwrap_or(&nothing);
        let other = model.bodies.get(index).unwrap_or(&nothing);
        compare(&mut text, &format!("[{index}]"), one, other);
    }
    text
}

fn compare(text: &mut String, place: &str, real: &Value, model: &Value) {
    match (real, model) {
        (Value::Object(one), Value::Object(other)) => {
            for key in one.keys().chain(other.keys().filter(|key| !one.contains_key(*key))) {
                let nothing = Value::Null;
                let (one, other) = (one.get(key).unwrap_or(&nothing), other.get(key).unwrap_or(&nothing));
                compare(text, &format!("{place}.{key}"), one, other);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                compare(text, &format!("{place}[{index}]"), one, other);
            }
        }
        _ if real == model => {}
        _ => {
            let _ = writeln!(text, "  {place}: real {real}, model {model}");
        }
    }
}

/// The shape of the snapshot CRDs, without their schemas.
pub(crate) const CRDS: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: volumesnapshots.snapshot.storage.k8s.io
  annotations: { api-approved.kubernetes.io: 'unapproved, for a test' }
spec:
  group: snapshot.storage.k8s.io
  scope: Namespaced
  names: { kind: VolumeSnapshot, plural: volumesnapshots, singular: volumesnapshot }
  versions:
    - name: v1
      served: true
      storage: true
      subresources: { status: {} }
      schema: { openAPIV3Schema: { type: object, x-kubernetes-preserve-unknown-fields: true } }
";

/// Waits until the CRD is served.
pub(crate) async fn wait_for_crds(client: &kube::Client) {
    cluster::wait::until("the CRD to be served", Duration::from_secs(30), || async {
        let path = "/apis/snapshot.storage.k8s.io/v1/volumesnapshots";
        let request = http::Request::get(path).body(Vec::new()).ok()?;
        client.request::<Value>(request).await.ok()
    })
    .await
    .expect("served");
}

const PVS: &str = "/api/v1/persistentvolumes";
const PVCS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const VAS: &str = "/apis/storage.k8s.io/v1/volumeattachments";
const CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
const SNAPSHOTS: &str = "/apis/snapshot.storage.k8s.io/v1/namespaces/default/volumesnapshots";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const EVENTS: &str = "/api/v1/namespaces/default/events";

fn request(method: &'static str, path: &str, content_type: &'static str, body: &Value) -> Exchange {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    Exchange { method, path: path.to_owned(), content_type, accept: "", body, keep: None }
}

fn get(path: &str) -> Exchange {
    request("GET", path, "", &Value::Null)
}

fn post(path: &str, body: Value) -> Exchange {
    request("POST", path, "application/json", &body)
}

fn put(path: &str, body: Value) -> Exchange {
    request("PUT", path, "application/json", &body)
}

fn merge(path: &str, body: Value) -> Exchange {
    request("PATCH", path, "application/merge-patch+json", &body)
}

fn json_patch(path: &str, body: Value) -> Exchange {
    request("PATCH", path, "application/json-patch+json", &body)
}

fn strategic(path: &str, body: Value) -> Exchange {
    request("PATCH", path, "application/strategic-merge-patch+json", &body)
}

fn delete(path: &str) -> Exchange {
    request("DELETE", path, "application/json", &json!({}))
}

fn volume(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": { "name": name, "labels": { "group": "a" } },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": { "storage": "1Gi" },
            "csi": { "driver": "d.example", "volumeHandle": name },
        },
    })
}

fn claim(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": { "name": name },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "fast",
            "resources": { "requests": { "storage": "1Gi" } },
        },
    })
}

fn attachment(name: &str) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "VolumeAttachment",
        "metadata": { "name": name },
        "spec": { "attacher": "d.example", "nodeName": "n1", "source": { "persistentVolumeName": "one" } },
    })
}

/// Everything, in order; later parts build on what earlier ones made.
pub(crate) fn exchanges() -> Vec<Exchange> {
    let mut all = Vec::new();
    all.extend(creation());
    all.extend(updates());
    all.extend(patches());
    all.extend(statuses());
    all.extend(lists());
    all.extend(watches());
    all.extend(deletions());
    all.extend(others());
    all
}

fn creation() -> Vec<Exchange> {
    vec![
        get(PVS).keep("start", "/metadata/resourceVersion"),
        post(PVS, volume("one")).keep("rv", "/metadata/resourceVersion"),
        get(&format!("{PVS}/one")),
        post(PVS, volume("one")),
        post(PVS, volume("Not_A_Name")),
        post(PVS, json!({ "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {} })),
        post(
            PVS,
            json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "x" } }),
        ),
        post(PVS, {
            let mut body = volume("with-status");
            body["status"] = json!({ "phase": "Bound" });
            body["metadata"]["finalizers"] = json!(["a.example/mine"]);
            body["metadata"]["deletionTimestamp"] = json!("2020-01-01T00:00:00Z");
            body
        }),
        post(PVS, {
            let mut body = volume("with-version");
            body["metadata"]["resourceVersion"] = json!("5");
            body
        }),
        post(PVS, {
            let mut body = volume("some");
            body["metadata"] = json!({ "generateName": "some-" });
            body
        })
        .keep("generated", "/metadata/name"),
        delete(&format!("{PVS}/$generated")),
        post(PVCS, claim("data")),
        post(&PVCS.replace("default", "nowhere"), claim("data")),
        post(PVCS, {
            let mut body = claim("elsewhere");
            body["metadata"]["namespace"] = json!("kube-system");
            body
        }),
        post(&format!("{PVS}?dryRun=All"), volume("dry")),
        get(&format!("{PVS}/dry")),
        get(&format!("{PVS}/none")),
        get("/apis/storage.k8s.io/v1/nonsense"),
        post(
            CLASSES,
            json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": "fast" },
                "provisioner": "d.example", "parameters": { "a": "b" },
            }),
        ),
        post(VAS, attachment("va")),
        post(VAS, {
            let mut body = attachment("va-with-status");
            body["status"] = json!({ "attached": true });
            body
        }),
        post(
            VAS,
            json!({ "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": { "name": "bad" }, "spec": {} }),
        ),
    ]
}

fn updates() -> Vec<Exchange> {
    let changed = |version: &str| {
        let mut body = volume("one");
        body["metadata"]["labels"]["group"] = json!(version);
        body["metadata"]["finalizers"] = json!(["kubernetes.io/pv-protection"]);
        body["spec"]["persistentVolumeReclaimPolicy"] = json!("Delete");
        body["spec"]["volumeMode"] = json!("Filesystem");
        body
    };
    let with = |mut body: Value, field: &str, value: &str| {
        body["metadata"][field] = json!(value);
        body
    };
    let one = format!("{PVS}/one");
    vec![
        put(&one, with(changed("b"), "resourceVersion", "$rv")).keep("rv2", "/metadata/resourceVersion"),
        put(&one, with(changed("c"), "resourceVersion", "$rv")),
        put(&one, with(changed("b"), "resourceVersion", "$rv2")),
        put(&one, changed("d")).keep("uid", "/metadata/uid"),
        put(&one, with(changed("e"), "uid", "00000000-0000-4000-8000-000000000000")),
        put(&one, with(changed("e"), "uid", "$uid")),
        put(&one, {
            let mut body = changed("e");
            body["spec"]["csi"]["volumeHandle"] = json!("other");
            body
        }),
        put(&one, {
            let mut body = changed("e");
            body["status"] = json!({ "phase": "Bound" });
            body
        }),
        put(&format!("{PVS}/two"), changed("e")),
        put(&format!("{PVS}/none"), volume("none")),
        put(&format!("{VAS}/va"), attachment("va")),
        get(&format!("{VAS}/va")).keep("va", "/metadata/resourceVersion"),
        put(&format!("{VAS}/va"), {
            let mut body = with(attachment("va"), "resourceVersion", "$va");
            body["spec"]["nodeName"] = json!("n2");
            body
        }),
        put(
            &format!("{CLASSES}/fast"),
            json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": "fast" },
                "provisioner": "d.example", "parameters": { "a": "c" },
            }),
        ),
        put(&format!("{PVCS}/data"), {
            let mut body = claim("data");
            body["spec"]["accessModes"] = json!(["ReadWriteMany"]);
            body
        }),
        put(&format!("{PVCS}/data"), {
            let mut body = claim("data");
            body["metadata"]["annotations"] = json!({ "volume.kubernetes.io/selected-node": "n1" });
            body["metadata"]["finalizers"] = json!(["kubernetes.io/pvc-protection"]);
            body["spec"]["volumeMode"] = json!("Filesystem");
            body
        }),
    ]
}

fn patches() -> Vec<Exchange> {
    let one = format!("{PVS}/one");
    let at = "/metadata/finalizers";
    vec![
        merge(&one, json!({ "metadata": { "annotations": { "a": "1", "b": "2" } } }))
            .keep("rv3", "/metadata/resourceVersion"),
        merge(&one, json!({ "metadata": { "annotations": { "a": null } } })),
        merge(&one, json!({ "metadata": { "annotations": { "b": "2" } } })),
        merge(&one, json!({})),
        merge(&one, json!({ "metadata": { "resourceVersion": "$rv3", "labels": { "x": "y" } } })),
        merge(&one, json!({ "metadata": { "uid": "00000000-0000-4000-8000-000000000000" } })),
        merge(&one, json!({ "metadata": { "name": "another" } })),
        merge(&one, json!({ "status": { "phase": "Bound" } })),
        merge(&one, json!({ "spec": { "csi": { "driver": "other.example" } } })),
        merge(&format!("{PVS}/none"), json!({ "metadata": {} })),
        json_patch(&one, json!([{ "op": "add", "path": format!("{at}/-"), "value": "a.example/one" }])),
        json_patch(
            &one,
            json!([{ "op": "test", "path": format!("{at}/0"), "value": "no" }, { "op": "remove", "path": format!("{at}/0") }]),
        ),
        json_patch(
            &one,
            json!([{ "op": "test", "path": format!("{at}/1"), "value": "a.example/one" }, { "op": "remove", "path": format!("{at}/1") }]),
        ),
        json_patch(&one, json!([{ "op": "remove", "path": format!("{at}/7") }])),
        json_patch(&one, json!([{ "op": "replace", "path": "/metadata/labels/absent", "value": "x" }])),
        json_patch(
            &one,
            json!([{ "op": "test", "path": "/metadata/ownerReferences", "value": null }, { "op": "add", "path": "/metadata/labels/z", "value": "z" }]),
        ),
        strategic(&one, json!({ "metadata": { "finalizers": ["a.example/two"] } })),
        strategic(&one, json!({ "metadata": { "$deleteFromPrimitiveList/finalizers": ["a.example/two"] } })),
        strategic(
            &one,
            json!({ "metadata": { "$setElementOrder/finalizers": ["kubernetes.io/pv-protection", "a.example/three"], "finalizers": ["a.example/three"] } }),
        ),
        strategic(
            &one,
            json!({ "metadata": { "$deleteFromPrimitiveList/finalizers": ["a.example/three", "absent"] }, "spec": { "accessModes": ["ReadWriteOnce", "ReadOnlyMany"] } }),
        ),
        request("PATCH", &one, "text/plain", &json!({})),
    ]
}

fn statuses() -> Vec<Exchange> {
    let (pv, va, pvc) =
        (format!("{PVS}/one/status"), format!("{VAS}/va/status"), format!("{PVCS}/data/status"));
    vec![
        merge(
            &pv,
            json!({ "status": { "phase": "Available" }, "spec": { "persistentVolumeReclaimPolicy": "Retain" } }),
        ),
        merge(&pv, json!({ "metadata": { "annotations": { "by-status": "1" } } })),
        get(&pv),
        merge(
            &va,
            json!({ "status": { "attached": true, "attachmentMetadata": { "a": "b" } }, "metadata": { "annotations": { "by-status": "1" } } }),
        ),
        merge(
            &va,
            json!({ "status": { "attachError": { "time": "2026-01-01T00:00:00Z", "message": "no" } } }),
        ),
        merge(
            &va,
            json!({ "status": { "attached": false, "attachmentMetadata": null, "attachError": null } }),
        ),
        merge(
            &format!("{VAS}/va"),
            json!({ "metadata": { "finalizers": ["a.example/va"] }, "status": { "attached": true } }),
        ),
        merge(
            &pvc,
            json!({ "status": { "phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "1Gi" } } }),
        ),
        strategic(&pvc, json!({ "status": { "conditions": [{ "type": "Resizing", "status": "True" }] } })),
        strategic(
            &pvc,
            json!({ "status": { "conditions": [{ "type": "FileSystemResizePending", "status": "True" }] } }),
        ),
        strategic(&pvc, json!({ "status": { "conditions": [{ "type": "Resizing", "status": "False" }] } })),
        merge(&format!("{CLASSES}/fast/status"), json!({})),
    ]
}

fn lists() -> Vec<Exchange> {
    vec![
        post(PVS, volume("three")),
        post(PVS, volume("two")),
        get(PVS).keep("list", "/metadata/resourceVersion"),
        get(&format!("{PVS}?limit=2")).keep("token", "/metadata/continue"),
        get(&format!("{PVS}?limit=2&continue=$token")),
        get(&format!("{PVS}?labelSelector=group%3Da")),
        get(&format!("{PVS}?labelSelector=group%20in%20(a,zzz),x!%3Dq")),
        get(&format!("{PVS}?labelSelector=!group")),
        get(&format!("{PVS}?fieldSelector=metadata.name%3Dtwo")),
        get(&format!("{PVS}?fieldSelector=metadata.name!%3Dtwo")),
        get(&format!("{PVS}?fieldSelector=spec.csi.driver%3Dx")),
        get(&format!("{PVS}?limit=1&resourceVersion=0")),
        get(&format!("{PVS}?resourceVersion=$list&resourceVersionMatch=NotOlderThan")),
        get(&format!("{PVS}?resourceVersion=nonsense")),
        get("/api/v1/persistentvolumeclaims"),
        get("/api/v1/namespaces/kube-system/persistentvolumeclaims"),
        get(&format!("{PVS}?fieldSelector=metadata.name%3Dtwo"))
            .accept("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
        get(&format!("{PVS}/two")).accept("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"),
    ]
}

fn watches() -> Vec<Exchange> {
    let watch = |query: &str| get(&format!("{PVS}?watch=true&timeoutSeconds=1&{query}"));
    vec![
        merge(&format!("{PVS}/two"), json!({ "metadata": { "labels": { "group": "b" } } })),
        merge(&format!("{PVS}/three"), json!({ "metadata": { "annotations": { "n": "1" } } })),
        merge(&format!("{PVS}/two"), json!({ "metadata": { "labels": { "group": "a" } } })),
        watch("resourceVersion=$list"),
        watch("resourceVersion=$list&labelSelector=group%3Da"),
        watch("resourceVersion=$list&fieldSelector=metadata.name%3Dthree"),
        watch("fieldSelector=metadata.name%3Dthree"),
        watch("resourceVersion=0&fieldSelector=metadata.name%3Dthree"),
        watch(
            "allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&fieldSelector=metadata.name%3Dthree",
        ),
        watch("sendInitialEvents=true"),
        watch("resourceVersion=1"),
        watch("resourceVersion=$list&fieldSelector=metadata.name%3Dthree")
            .accept("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"),
    ]
}

fn deletions() -> Vec<Exchange> {
    let two = format!("{PVS}/two");
    let with = |body: Value| request("DELETE", &two, "application/json", &body);
    let finalizers = |list: Value| json!({ "metadata": { "finalizers": list } });
    vec![
        with(json!({ "preconditions": { "uid": "00000000-0000-4000-8000-000000000000" } })),
        with(json!({ "preconditions": { "resourceVersion": "1" } })),
        delete(&two),
        delete(&two),
        merge(&two, finalizers(json!(["kubernetes.io/pv-protection", "a.example/late"]))),
        merge(&two, json!({ "metadata": { "annotations": { "still": "here" } } })),
        merge(&two, finalizers(json!(null))),
        get(&two),
        delete(&two),
        merge(&two, finalizers(json!(null))),
        merge(&format!("{PVS}/three"), finalizers(json!([]))),
        delete(&format!("{PVS}/three")),
        get(&format!("{PVS}?watch=true&timeoutSeconds=1&resourceVersion=$list&labelSelector=group%3Da")),
        delete(&format!("{VAS}/va-with-status")),
        delete(&format!("{VAS}/va")),
        merge(&format!("{VAS}/va"), finalizers(json!(null))),
        delete(&format!("{VAS}/va")),
        delete(&format!("{CLASSES}/fast")),
        delete(&format!("{PVCS}/data")),
        strategic(
            &format!("{PVCS}/data"),
            json!({ "metadata": { "$deleteFromPrimitiveList/finalizers": ["kubernetes.io/pvc-protection"] } }),
        ),
        get(&format!("{PVCS}/data")),
    ]
}

fn others() -> Vec<Exchange> {
    let lease = |holder: &str| {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": "l" },
            "spec": { "holderIdentity": holder, "leaseDurationSeconds": 15 },
        })
    };
    let snapshot = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "metadata": { "name": "s" },
        "spec": { "source": { "persistentVolumeClaimName": "data" } }, "status": { "readyToUse": true },
    });
    let s = format!("{SNAPSHOTS}/s");
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": { "name": "e", "namespace": "default" },
        "involvedObject": { "kind": "PersistentVolumeClaim", "namespace": "default", "name": "data" },
        "reason": "Provisioning", "message": "m", "type": "Normal", "count": 1, "source": { "component": "c" },
        "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z",
    });
    let review = |verb: &str| {
        json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": { "verb": verb, "resource": "secrets" } },
        })
    };
    vec![
        post(LEASES, lease("a")).keep("lease", "/metadata/resourceVersion"),
        put(&format!("{LEASES}/l"), lease("b")),
        put(&format!("{LEASES}/l"), {
            let mut body = lease("b");
            body["metadata"]["resourceVersion"] = json!("$lease");
            body
        }),
        put(&format!("{LEASES}/l"), {
            let mut body = lease("c");
            body["metadata"]["resourceVersion"] = json!("$lease");
            body
        }),
        delete(&format!("{LEASES}/l")),
        post(SNAPSHOTS, snapshot),
        merge(&s, json!({ "spec": { "volumeSnapshotClassName": "c" } })),
        merge(&s, json!({ "metadata": { "finalizers": ["a.example/s"] } })),
        merge(&s, json!({ "status": { "readyToUse": false } })),
        merge(
            &format!("{s}/status"),
            json!({ "status": { "readyToUse": false }, "spec": { "x": "y" }, "metadata": { "labels": { "a": "b" } } }),
        ),
        strategic(&s, json!({ "metadata": {} })),
        get(SNAPSHOTS),
        put(
            &s,
            json!({ "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "metadata": { "name": "s" } }),
        ),
        delete(&s),
        merge(&s, json!({ "metadata": { "finalizers": null } })),
        get(&s),
        post(
            SECRETS,
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "k" }, "stringData": { "a": "plain" } }),
        ),
        get(&format!("{SECRETS}/k")),
        delete(&format!("{SECRETS}/k")),
        post(EVENTS, event),
        strategic(&format!("{EVENTS}/e"), json!({ "count": 2 })),
        delete(&format!("{EVENTS}/e")),
        post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review("delete")),
    ]
}
