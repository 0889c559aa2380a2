//! The objects that sidecars watch, cut to the fields they read.
//!
//! Each kind has two types: a private *wire* type, which serde fills from the API server's JSON and
//! which ignores every field it does not name, and the public slim type kept in a [`Store`](super::store::Store).
//! [`Object::slim`] turns one into the other and drops what is not this driver's business.

pub mod annotation;
mod attachment;
mod claim;
mod class;
mod csi_node;
mod event;
mod meta;
mod secret;
mod uid;
mod volume;
mod wire;
mod word;

pub use attachment::{Attachment, AttachmentSource, StatusError, WireAttachment};
pub use claim::{Claim, DataSource, WireClaim};
pub use class::{AllowedValues, BindingMode, Class, TopologyTerm, WireClass};
pub use csi_node::{CsiNode, DriverOnNode, WireCsiNode};
pub use event::WireEvent;
pub(crate) use meta::version_number;
pub use meta::{Key, Meta, Pairs};
pub use secret::WireSecret;
pub use uid::Uid;
pub use volume::{
    ATTACHER_FINALIZER, ClaimRef, CsiSource, ReclaimPolicy, Volume, VolumePhase, VolumeSpec, WireVolume,
    WireVolumeSpec,
};
pub use wire::{Guarded, Malformed, NoObject, Wire};
pub use word::Words;

/// What a process keeps of the objects it sees.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// The driver's name, as GetPluginInfo gives it.
    pub driver: Box<str>,
    /// The in-tree plugin that this driver replaces, if it is one of the migrated drivers.
    pub in_tree: Option<Box<str>>,
    /// Keep of a volume what ControllerPublishVolume needs (attributes, flags, access modes), and nothing that
    /// only provisioning needs.
    pub attach: bool,
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

    /// Cuts the object to size; `None` when this process has no use for it.
    fn slim(wire: Self::Wire, scope: &Scope) -> Option<Self>;

    /// Identity and version.
    fn meta(&self) -> &Meta;
}
