//! A CSI driver for the local disk: complete, crash-safe, and a reference for driver authors. And one for images in Ceph.
//!
//! ```text
//! service   the gRPC edge: logs, threads            serve, listen, flags: the process
//!    │
//! operations   the trait that a driver implements        rbd: the driver for images in Ceph
//!    │
//! plugin    operations on volumes, snapshots, publications (controller, node, identity, metadata)
//!    ├── check     the specification's limits        ├── lock    who works on what
//!    ├── health    what is wrong, from what was seen │
//!    ├── store     records, journal, tables          ├── mount   bind mounts, the table of mounts
//!    │                                               └── folder  who works in the state folder
//!    └── backend   the trait that storage implements: hostpath (loopdev, sys); filesystem for device backends
//! ```
//! Behaviour follows csi-driver-host-path v1.18 and CSI 1.13; deviations carry `Differs:`.

pub mod backend;
mod boot;
pub mod check;
mod controller;
pub mod filesystem;
pub mod flags;
mod folder;
pub mod health;
mod identity;
pub mod listen;
pub mod lock;
mod loopdev;
pub mod metadata;
pub mod mount;
mod node;
pub mod operations;
pub mod options;
pub mod plugin;
pub mod rbd;
pub mod refusal;
pub mod rights;
mod serve;
pub mod service;
pub mod store;
mod sys;

pub use serve::{ServeError, open, proxy, serve, serve_rbd};

/// Lets the process open as many files as it may: copies of deep folder trees need many.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // A process that may not is told when it runs out.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
