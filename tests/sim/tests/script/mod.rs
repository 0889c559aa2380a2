//! The requests that are sent to both servers, and how answers are made comparable.
#![allow(clippy::indexing_slicing)]

mod objects;
mod others;
mod requests;

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
            let generated = map.get("generateName").and_then(Value::as_str);
            if generated.is_some_and(|prefix| name.starts_with(prefix) && name.len() == prefix.len() + 5) {
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

pub(crate) use requests::exchanges;
