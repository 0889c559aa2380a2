//! The status of a claim, as far as resizing and modifying its volume read it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::word::word;

/// The status of a claim that has a volume.
#[derive(Debug, Clone, Default)]
pub struct ClaimStatus {
    /// Whether `phase` is Bound.
    pub bound: bool,
    /// `capacity.storage` as written; empty when not set.
    pub capacity: Arc<str>,
    /// `allocatedResources.storage` as written.
    pub allocated: Option<Arc<str>>,
    /// `allocatedResourceStatuses.storage`; `None` when not set or not known.
    pub state: Option<ResizeState>,
    /// The conditions about resizing and modifying whose status is True.
    pub conditions: Box<[Condition]>,
    /// `currentVolumeAttributesClassName`; empty when not set.
    pub attributes_class: Box<str>,
    /// `modifyVolumeStatus`.
    pub modify: Option<Box<ModifyStatus>>,
}

/// How far the expansion to the allocated size has come. The first two are the resizer's words; the kubelet writes the last
/// two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResizeState {
    /// The driver is asked, or about to be.
    ControllerResizeInProgress,
    /// The driver cannot do it.
    ControllerResizeInfeasible,
    /// The driver has done it; the node has not begun.
    NodeResizePending,
    /// The node is at it.
    NodeResizeInProgress,
    /// The node cannot do it.
    NodeResizeInfeasible,
}

impl ResizeState {
    const ALL: [Self; 5] = [
        Self::ControllerResizeInProgress,
        Self::ControllerResizeInfeasible,
        Self::NodeResizePending,
        Self::NodeResizeInProgress,
        Self::NodeResizeInfeasible,
    ];

    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ControllerResizeInProgress => "ControllerResizeInProgress",
            Self::ControllerResizeInfeasible => "ControllerResizeInfeasible",
            Self::NodeResizePending => "NodeResizePending",
            Self::NodeResizeInProgress => "NodeResizeInProgress",
            Self::NodeResizeInfeasible => "NodeResizeInfeasible",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A condition that resizers write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Its type.
    pub kind: ConditionKind,
    /// Empty when not set.
    pub reason: Box<str>,
    /// Empty when not set.
    pub message: Box<str>,
}

/// The types of conditions that resizers write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionKind {
    /// The driver expands the volume.
    Resizing,
    /// The node has still to expand the file system.
    FileSystemResizePending,
    /// The driver could not expand the volume.
    ControllerResizeError,
    /// The node could not expand it.
    NodeResizeError,
    /// The driver modifies the volume.
    ModifyingVolume,
    /// The driver could not modify the volume.
    ModifyVolumeError,
}

impl ConditionKind {
    /// The conditions about the size.
    pub const RESIZE: [Self; 4] =
        [Self::Resizing, Self::FileSystemResizePending, Self::ControllerResizeError, Self::NodeResizeError];
    /// The conditions about the attributes.
    pub const MODIFY: [Self; 2] = [Self::ModifyingVolume, Self::ModifyVolumeError];

    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resizing => "Resizing",
            Self::FileSystemResizePending => "FileSystemResizePending",
            Self::ControllerResizeError => "ControllerResizeError",
            Self::NodeResizeError => "NodeResizeError",
            Self::ModifyingVolume => "ModifyingVolume",
            Self::ModifyVolumeError => "ModifyVolumeError",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::RESIZE.into_iter().chain(Self::MODIFY).find(|kind| kind.as_str() == text)
    }
}

/// How far a modification has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModifyStatus {
    /// `status`.
    pub phase: ModifyPhase,
    /// `targetVolumeAttributesClassName`; empty when not set.
    pub target: Box<str>,
}

/// The phase of a modification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModifyPhase {
    /// The class is missing, or a word that we do not know.
    Pending,
    /// The driver is asked, or about to be.
    InProgress,
    /// The driver cannot do it.
    Infeasible,
}

impl ModifyPhase {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::InProgress => "InProgress",
            Self::Infeasible => "Infeasible",
        }
    }
}

impl ClaimStatus {
    /// The condition of this type, if its status is True.
    pub fn condition(&self, kind: ConditionKind) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }

    /// Whether the condition of this type is True.
    pub fn has(&self, kind: ConditionKind) -> bool {
        self.condition(kind).is_some()
    }
}

/// A claim's status as the API server sends it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WireStatus {
    phase: Box<str>,
    capacity: BTreeMap<Box<str>, Box<str>>,
    allocated_resources: BTreeMap<Box<str>, Box<str>>,
    allocated_resource_statuses: BTreeMap<Box<str>, Box<str>>,
    conditions: Vec<WireCondition>,
    current_volume_attributes_class_name: Option<Box<str>>,
    modify_volume_status: Option<WireModify>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct WireCondition {
    r#type: Box<str>,
    status: Box<str>,
    reason: Box<str>,
    message: Box<str>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireModify {
    status: Box<str>,
    target_volume_attributes_class_name: Box<str>,
}

impl From<WireStatus> for ClaimStatus {
    fn from(wire: WireStatus) -> Self {
        let storage = |map: &BTreeMap<Box<str>, Box<str>>| map.get("storage").map(|text| word(text));
        let condition = |wire: WireCondition| {
            let kind = ConditionKind::parse(&wire.r#type).filter(|_| &*wire.status == "True")?;
            Some(Condition { kind, reason: wire.reason, message: wire.message })
        };
        let modify = |wire: WireModify| {
            let phase = match &*wire.status {
                "InProgress" => ModifyPhase::InProgress,
                "Infeasible" => ModifyPhase::Infeasible,
                _ => ModifyPhase::Pending,
            };
            Box::new(ModifyStatus { phase, target: wire.target_volume_attributes_class_name })
        };
        let state = wire.allocated_resource_statuses.get("storage");
        Self {
            bound: &*wire.phase == "Bound",
            capacity: storage(&wire.capacity).unwrap_or_else(|| word("")),
            allocated: storage(&wire.allocated_resources),
            state: state.and_then(|text| ResizeState::parse(text)),
            conditions: wire.conditions.into_iter().filter_map(condition).collect(),
            attributes_class: wire.current_volume_attributes_class_name.unwrap_or_default(),
            modify: wire.modify_volume_status.map(modify),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(status: Value) -> ClaimStatus {
        serde_json::from_value::<WireStatus>(status).unwrap().into()
    }

    #[test]
    fn status_is_read_as_the_api_server_writes_it() {
        let conditions = json!([
            {"type": "Unused", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            {"type": "Resizing", "status": "True", "lastProbeTime": null},
            {"type": "ModifyVolumeError", "status": "True", "reason": "Internal", "message": "m"},
            {"type": "ControllerResizeError", "status": "False"},
        ]);
        let status = read(json!({
            "phase": "Bound", "accessModes": ["ReadWriteOnce"], "conditions": conditions,
            "capacity": {"storage": "1Gi"}, "allocatedResources": {"storage": "2Gi"},
            "allocatedResourceStatuses": {"storage": "NodeResizePending"},
            "currentVolumeAttributesClassName": "gold",
            "modifyVolumeStatus": {"status": "InProgress", "targetVolumeAttributesClassName": "silver"},
        }));
        assert_eq!((&*status.capacity, status.allocated.as_deref()), ("1Gi", Some("2Gi")));
        assert_eq!((status.bound, status.state), (true, Some(ResizeState::NodeResizePending)));
        let kinds: Vec<_> = status.conditions.iter().map(|condition| condition.kind).collect();
        assert_eq!(kinds, [ConditionKind::Resizing, ConditionKind::ModifyVolumeError]);
        assert_eq!(&*status.conditions[1].reason, "Internal");
        assert_eq!(
            (&*status.attributes_class, status.modify.unwrap().phase),
            ("gold", ModifyPhase::InProgress)
        );
    }

    #[test]
    fn words_of_a_later_kubernetes_are_no_error() {
        let status = read(json!({
            "phase": "Lost", "allocatedResourceStatuses": {"storage": "NodeResizeDreamt", "other": "x"},
            "modifyVolumeStatus": {"status": "Dreamt"},
        }));
        assert_eq!((status.bound, status.state), (false, None));
        assert_eq!(status.modify.unwrap().phase, ModifyPhase::Pending);
        assert!(read(json!({})).modify.is_none());
    }
}
