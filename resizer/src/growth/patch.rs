//! The bodies of the writes of a growth: strategic merge patches of the claim's status and of the volume.
//!
//! `Differs:` upstream's patches fail with a conflict if anybody has written to the claim since the cache saw it. Ours are
//! for the claim's uid, and name only what they change. And what the object says already is not written.

use base::quantity::Quantity;
use kubernetes::condition::{removed, set};
use kubernetes::object::annotation::{NODE_EXPANSION_NOT_REQUIRED, PRE_RESIZE_CAPACITY};
use kubernetes::object::{Claim, ClaimStatus, ConditionKind, ResizeState, Volume};
use serde_json::{Map, Value, json};

/// What users see while the file system waits for its node.
const WAITS_FOR_POD: &str =
    "Waiting for user to (re-)start a pod to finish file system resize of volume on node.";

/// The reason of condition ControllerResizeError when the driver's last answer was final.
const REFUSED: &str = "Refused";

/// Whether condition ControllerResizeError says that the driver's last answer was final.
///
/// `Differs:` upstream gives the condition no reason, and leaves it while it calls the driver again: its condition says nothing
/// about the last call. Ours has the reason `Refused`, unless the size is infeasible, which the state says. If the Go resizer
/// comes between two of ours and repeats the call in vain, it leaves our reason; so change over once, not back and forth.
pub(crate) fn is_refusal(status: &ClaimStatus) -> bool {
    status.condition(ConditionKind::ControllerResizeError).is_some_and(|known| *known.reason == *REFUSED)
}

/// Whether this is the size to which the last growth is or was going.
pub(crate) fn is_allocated(claim: &Claim, target: Quantity) -> bool {
    let allocated = claim.status.as_ref().and_then(|status| status.allocated.as_deref());
    allocated.and_then(|text| Quantity::parse(text).ok()) == Some(target)
}

/// Before the call: the claim is resizing, to this size. A new size also starts the state anew and removes what earlier
/// sizes left behind. `None` if the claim says so already.
pub(crate) fn marked(claim: &Claim, target: Quantity, now: &str) -> Option<Value> {
    let mut body = Body::of(claim);
    if !is_allocated(claim, target) {
        body.put("allocatedResources", json!({"storage": target.to_string()}));
        body.put_state(Some(ResizeState::ControllerResizeInProgress));
        body.remove(&[
            ConditionKind::FileSystemResizePending,
            ConditionKind::ControllerResizeError,
            ConditionKind::NodeResizeError,
        ]);
    }
    if !body.has(ConditionKind::Resizing) {
        body.set(ConditionKind::Resizing, "", now);
    }
    body.needs_node();
    body.done()
}

/// Before a call that repeats a refused one: removes the mark of the refusal. `None` if there is no mark.
///
/// `Differs:` upstream leaves the mark. If it then dies in the call, the volume may be growing to a size that the user, who
/// asks for less by now, is no longer charged for. So condition ControllerResizeError is gone during each call, and after a
/// call without an answer the user can ask for less only once the size before is answered.
///
/// `is_unsure`: the mark may be there although the cache does not show it, because the reply to its write was lost.
pub(crate) fn repeated(claim: &Claim, is_unsure: bool) -> Option<Value> {
    let mut body = Body::of(claim);
    if is_unsure || body.state() == Some(ResizeState::ControllerResizeInfeasible) {
        body.put_state(Some(ResizeState::ControllerResizeInProgress));
    }
    match is_unsure {
        true => body.conditions.push(removed(ConditionKind::ControllerResizeError.as_str())),
        false => body.remove(&[ConditionKind::ControllerResizeError]),
    }
    body.done()
}

/// After a call that leaves the rest to the node. If `is_repeated`, an earlier write of this may have arrived, and the node
/// may have finished since: then this one is for the version of the claim that the cache has.
pub(crate) fn left_to_node(claim: &Claim, is_repeated: bool, now: &str) -> Option<Value> {
    let mut body = Body::of(claim);
    body.version = is_repeated.then_some(claim.meta.version);
    if body.state() != Some(ResizeState::NodeResizePending) {
        body.put_state(Some(ResizeState::NodeResizePending));
    }
    if !body.has(ConditionKind::FileSystemResizePending) {
        body.set(ConditionKind::FileSystemResizePending, WAITS_FOR_POD, now);
    }
    body.needs_node();
    body.done()
}

/// After a call that leaves nothing to do: the claim has this size. The allocated size stays, as in upstream.
pub(crate) fn finished(claim: &Claim, size: Quantity) -> Option<Value> {
    let mut body = Body::of(claim);
    body.put("capacity", json!({"storage": size.to_string()}));
    if body.state().is_some() {
        body.put_state(None);
    }
    body.remove(&ConditionKind::RESIZE);
    body.annotations.insert(NODE_EXPANSION_NOT_REQUIRED.to_owned(), json!("true"));
    body.done()
}

/// After a final error. `None` if the status says so already.
pub(crate) fn refused(claim: &Claim, message: &str, is_infeasible: bool, now: &str) -> Option<Value> {
    let mut body = Body::of(claim);
    let infeasible = Some(ResizeState::ControllerResizeInfeasible);
    if is_infeasible && body.state() != infeasible {
        body.put_state(infeasible);
    }
    let known = body.status.and_then(|status| status.condition(ConditionKind::ControllerResizeError));
    // What is infeasible needs no reason: its state says so.
    let reason = if is_infeasible { "" } else { REFUSED };
    if known.is_none_or(|known| *known.message != *message || *known.reason != *reason) {
        body.refuse(message, reason, now);
    }
    body.done()
}

/// Sets the volume's size. `before` goes into annotation pre-resize-capacity, unless that is set. `None` if nothing changes.
pub(crate) fn resized(volume: &Volume, size: Quantity, before: Option<&str>) -> Option<Value> {
    let known = volume.size.as_ref().and_then(|known| Quantity::parse(&known.capacity).ok());
    let annotation = before.filter(|_| volume.meta.annotations.get(PRE_RESIZE_CAPACITY).is_none());
    let mut body = Map::new();
    if known != Some(size) {
        body.insert("spec".to_owned(), json!({"capacity": {"storage": size.to_string()}}));
    }
    if let Some(before) = annotation {
        body.insert("metadata".to_owned(), json!({"annotations": {PRE_RESIZE_CAPACITY: before}}));
    }
    (!body.is_empty()).then_some(Value::Object(body))
}

/// Removes annotation pre-resize-capacity.
pub(crate) fn without_former_size() -> Value {
    json!({"metadata": {"annotations": {PRE_RESIZE_CAPACITY: null}}})
}

/// A patch of a claim's status that is being put together.
struct Body<'a> {
    claim: &'a Claim,
    status: Option<&'a ClaimStatus>,
    fields: Map<String, Value>,
    conditions: Vec<Value>,
    annotations: Map<String, Value>,
    /// The only version of the claim that the patch is for.
    version: Option<u64>,
}

impl<'a> Body<'a> {
    fn of(claim: &'a Claim) -> Self {
        let status = claim.status.as_deref();
        let (fields, conditions, annotations) = (Map::new(), Vec::new(), Map::new());
        Self { claim, status, fields, conditions, annotations, version: None }
    }

    fn state(&self) -> Option<ResizeState> {
        self.status.and_then(|status| status.state)
    }

    fn has(&self, kind: ConditionKind) -> bool {
        self.status.is_some_and(|status| status.has(kind))
    }

    fn put(&mut self, field: &str, value: Value) {
        self.fields.insert(field.to_owned(), value);
    }

    fn put_state(&mut self, state: Option<ResizeState>) {
        self.put("allocatedResourceStatuses", json!({"storage": state.map(ResizeState::as_str)}));
    }

    fn set(&mut self, kind: ConditionKind, message: &str, now: &str) {
        self.conditions.push(set(kind.as_str(), message, now));
    }

    /// Sets condition ControllerResizeError, without a reason if that is empty.
    fn refuse(&mut self, message: &str, reason: &str, now: &str) {
        let mut condition = set(ConditionKind::ControllerResizeError.as_str(), message, now);
        let known = self.status.and_then(|status| status.condition(ConditionKind::ControllerResizeError));
        let known = known.map_or("", |known| &*known.reason);
        if let (true, Some(condition)) = (reason != known, condition.as_object_mut()) {
            let reason = if reason.is_empty() { Value::Null } else { json!(reason) };
            condition.insert("reason".to_owned(), reason);
        }
        self.conditions.push(condition);
    }

    fn remove(&mut self, kinds: &[ConditionKind]) {
        let present = kinds.iter().filter(|kind| self.has(**kind));
        let gone: Vec<Value> = present.map(|kind| removed(kind.as_str())).collect();
        self.conditions.extend(gone);
    }

    /// Takes the annotation off that says the opposite.
    fn needs_node(&mut self) {
        if self.claim.meta.annotations.get(NODE_EXPANSION_NOT_REQUIRED).is_some() {
            self.annotations.insert(NODE_EXPANSION_NOT_REQUIRED.to_owned(), Value::Null);
        }
    }

    fn done(mut self) -> Option<Value> {
        if !self.conditions.is_empty() {
            let conditions = Value::Array(std::mem::take(&mut self.conditions));
            self.put("conditions", conditions);
        }
        let mut metadata = Map::new();
        if !self.annotations.is_empty() {
            metadata.insert("annotations".to_owned(), Value::Object(self.annotations));
        }
        if self.fields.is_empty() && metadata.is_empty() {
            return None;
        }
        if let Some(version) = self.version {
            metadata.insert("resourceVersion".to_owned(), json!(version.to_string()));
        }
        let parts = [("status", self.fields), ("metadata", metadata)];
        let parts = parts.into_iter().filter(|(_, fields)| !fields.is_empty());
        Some(parts.map(|(name, fields)| (name.to_owned(), Value::Object(fields))).collect())
    }
}

#[cfg(test)]
mod tests;
