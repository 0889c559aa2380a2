//! Objects of which nothing but the identity and the version are of interest.

use std::marker::PhantomData;

use super::{Meta, Object, Scope, Wire, version_number};

/// That there is an object of a kind, and in which version.
#[derive(Debug, Clone)]
pub struct Identity<W> {
    /// Identity and version.
    pub meta: Meta,
    kind: PhantomData<fn() -> W>,
}

/// resourceVersion of an object as the API server sent it, as a number.
pub fn version_of(wire: &impl Wire) -> u64 {
    version_number(wire.meta().resource_version.as_deref())
}

impl<W: Wire> Object for Identity<W> {
    type Wire = W;

    const METADATA_ONLY: bool = true;

    fn slim(wire: W, _: &Scope) -> Option<Self> {
        let mut metadata = wire.meta().clone();
        metadata.finalizers = None;
        Some(Self { meta: Meta::new(metadata, |_| false), kind: PhantomData })
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }
}
