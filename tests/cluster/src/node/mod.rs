//! Nodes: as objects only, and as a real one.
//!
//! [`ControlPlane::node`](crate::ControlPlane::node) makes the objects of a node without a kubelet. [`RealNode`] runs kubelet,
//! containerd and runc beside a control plane, so that pods really run. What it needs: [`lack`], [`install`].

mod config;
mod error;
mod lack;
mod objects;
mod real;
mod space;

pub use error::NodeError;
pub(crate) use lack::program;
pub use lack::{PACKAGES, install, lack};
pub use objects::NodeDriver;
pub use real::RealNode;
pub use space::NODE_ADDRESS;

pub use crate::pki::NODE;
