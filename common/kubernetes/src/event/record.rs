//! Events, and what they are about.

use crate::object::{Meta, Uid};

/// Normal or Warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Something happened as it should.
    Normal,
    /// Something needs attention.
    Warning,
}

impl Kind {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRef {
    /// Such as `v1`.
    pub api_version: &'static str,
    /// Such as `PersistentVolumeClaim`.
    pub kind: &'static str,
    /// Empty for cluster-wide kinds; their events lie in `default`.
    pub namespace: Box<str>,
    /// The object's name.
    pub name: Box<str>,
    /// The object's uid.
    pub uid: Uid,
    /// The object's resourceVersion; 0 when not known.
    pub version: u64,
}

impl ObjectRef {
    /// An object of the core group, such as a PersistentVolumeClaim.
    pub fn core(kind: &'static str, meta: &Meta) -> Self {
        Self {
            api_version: "v1",
            kind,
            namespace: meta.namespace().into(),
            name: meta.name().into(),
            uid: meta.uid.clone(),
            version: meta.version,
        }
    }
}

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    /// What it is about.
    pub object: ObjectRef,
    /// Normal or Warning.
    pub kind: Kind,
    /// Upstream's word for it.
    pub reason: &'static str,
    /// For people. Never contains secrets.
    pub message: String,
}
