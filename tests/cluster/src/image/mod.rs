//! Container images from files of this machine: no daemon, no registry, and the same bytes each time.
//!
//! [`Layer`] is a file tree, [`Archive`] a tar file in the OCI image layout that `ctr images import`, `podman load` and
//! `docker load` take, with the images of several [`Platform`]s in it. [`ours`] are the images of Mooring; [`for_tests`] are those that a real node needs besides.

mod archive;
mod error;
mod layer;
mod ours;
mod platform;

pub use archive::{Archive, Image};
pub use error::ImageError;
pub use layer::Layer;
pub use ours::{BUSYBOX, Build, SANDBOX, TAG, for_tests, ours, sidecars};
pub use platform::{PLATFORMS, Platform};
