//! The objects that sidecars watch, cut to the fields they read.
//!
//! Each kind has two types: a private *wire* type, which serde fills from the API server's JSON and
//! which ignores every field it does not name, and the public slim type kept in a [`Store`](super::store::Store).
//! [`Object::slim`] turns the first into the second, and drops objects that this driver does not need.

pub mod annotation;
mod attachment;
mod attributes_class;
mod capacity;
mod claim;
mod claim_status;
mod class;
mod csi_node;
mod event;
mod grant;
mod identity;
mod meta;
pub(crate) mod name;
mod node;
mod pod;
mod secret;
mod segment;
mod source;
mod uid;
mod volume;
mod wire;
mod word;

pub use attachment::{Attachment, AttachmentSource, StatusError, WireAttachment};
pub use attributes_class::{
    AttributesClass, AttributesVersion, WireAttributesClass, WireAttributesClassBeta,
};
pub use capacity::{Capacity, DRIVER_NAME, MANAGED_BY, WireCapacity};
pub use claim::{CLONING_PROTECTION, Claim, DataSource, WireClaim};
pub use claim_status::{ClaimStatus, Condition, ConditionKind, ModifyPhase, ModifyStatus, ResizeState};
pub use class::{AllowedValues, BindingMode, Class, TopologyTerm, WireClass};
pub use csi_node::{CsiNode, DriverOnNode, WireCsiNode};
pub use event::WireEvent;
pub use grant::{GrantFrom, GrantSpec, GrantTo, WireGrant};
pub use identity::{Identity, version_of};
pub(crate) use meta::version_number;
pub use meta::{Key, Meta, Pairs};
pub use name::{is_label, is_subdomain};
pub use node::{Labels, Node, WireNode};
pub use pod::{Pod, WirePod};
pub use secret::WireSecret;
pub use segment::{NODE_NAME, is_exact, is_in};
pub use source::{
    ALLOW_MODE_CHANGE, HeldSnapshot, SNAPSHOT_PROTECTION, Snapshot, SnapshotContent, SnapshotRef,
    SourceClaim, WireSnapshot, WireSnapshotContent, WireSourceClaim,
};
pub use uid::Uid;
pub use volume::{
    ATTACHER_FINALIZER, ClaimRef, CsiSource, ReclaimPolicy, Volume, VolumePhase, VolumeSize, VolumeSpec,
    WireVolume, WireVolumeSpec,
};
pub use wire::{Guarded, Malformed, NoObject, Wire};
pub use word::Words;

/// What a process keeps of the objects it sees: the union of what its sidecars read.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// The driver's name, as GetPluginInfo gives it.
    pub driver: Box<str>,
    /// The in-tree plugin that this driver replaces, if it is one of the migrated drivers.
    pub in_tree: Option<Box<str>>,
    /// For whom objects are kept.
    pub keep: Keep,
}

/// A set of purposes that objects are kept for. What each costs in bytes is tested in `tests/footprint.rs`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep(u8);

impl Keep {
    /// Claims without a volume; of volumes what their deletion needs.
    pub const PROVISION: Self = Self(1);
    /// Attachments whole; of volumes what ControllerPublishVolume needs (attributes, flags, access modes).
    pub const ATTACH: Self = Self(2);
    /// Claims with a volume, and their status; of volumes the size, the claim, and what ControllerExpandVolume needs.
    pub const RESIZE: Self = Self(4);

    /// Of volumes the topology segments that they are in.
    pub const PLACE: Self = Self(8);

    /// The purposes of both sets.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the set has every purpose of the other.
    pub const fn has(self, purpose: Self) -> bool {
        self.0 & purpose.0 == purpose.0
    }
}

impl Scope {
    /// Whether `name` is the driver's name or that of the in-tree plugin it replaces.
    pub fn is_ours(&self, name: &str) -> bool {
        name == &*self.driver || self.in_tree.as_deref() == Some(name)
    }
}

/// A kind of object that can be cached.
pub trait Object: Send + Sync + Sized + 'static {
    /// What the API server sends.
    type Wire: Wire;

    /// Whether nothing but the metadata is read: then nothing else is sent.
    const METADATA_ONLY: bool = false;

    /// Cuts the object to size; `None` when no sidecar of this process has a use for it. An object that is kept need
    /// not concern every sidecar: each asks the object itself.
    fn slim(wire: Self::Wire, scope: &Scope) -> Option<Self>;

    /// The object of another kind without which no sidecar of this process has a use for this one; `None` if it is kept in any case.
    /// See [`Store::pass_over_without`](super::store::Store::pass_over_without).
    fn needs(&self, scope: &Scope) -> Option<Key> {
        let _ = scope;
        None
    }

    /// Identity and version.
    fn meta(&self) -> &Meta;
}
