//! The pods that use a claim, and why they do not run.

use serde_json::Value;

use crate::ask::Kind;
use crate::field::{few, list, name, namespace, text};
use crate::view::View;

/// The pods that use the claim and have not ended; `None` if they cannot be read.
pub(crate) fn users<'a>(view: &'a View, claim: &Value) -> Option<Vec<&'a Value>> {
    let pods = view.all(Kind::Pod, namespace(claim))?;
    let mut found: Vec<&Value> =
        pods.iter().filter(|pod| has_not_ended(pod) && mounts(pod, name(claim))).collect();
    found.sort_by_key(|pod| name(pod));
    Some(found)
}

fn has_not_ended(pod: &Value) -> bool {
    !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// Whether the pod mounts the claim of this name. The claim of an ephemeral volume is named after the pod.
pub(crate) fn mounts(pod: &Value, claim: &str) -> bool {
    list(pod, "/spec/volumes").iter().any(|volume| match text(volume, "/persistentVolumeClaim/claimName") {
        "" => volume.get("ephemeral").is_some() && claim == format!("{}-{}", name(pod), name_of(volume)),
        mounted => mounted == claim,
    })
}

fn name_of(volume: &Value) -> &str {
    text(volume, "/name")
}

/// The condition of this type, whatever its status.
pub(crate) fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a Value> {
    list(pod, "/status/conditions").iter().find(|condition| text(condition, "/type") == kind)
}

/// The names of objects, as a sentence has them.
pub(crate) fn names(objects: &[&Value]) -> String {
    few(&objects.iter().map(|object| name(object)).collect::<Vec<_>>())
}
