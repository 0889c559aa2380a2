//! Volumes that are images in a Ceph cluster (RBD), interchangeable with ceph-csi's.
//!
//! ```text
//! operations   which calls are served                      flags, options: the command line
//!    │
//! controller   the calls about volumes as a whole        node: those about volumes on a node
//!    ├── class, credentials, config   what comes from a class, a Secret, the configuration file
//!    ├── handle, names, size, plan    plain functions: ids, names, sizes, what to do next
//!    ├── journal                      which name and id belong to which image, kept in Ceph
//!    ├── image, flatten               what is done with images
//!    ├── connections, deadline        connections that are kept; calls that are answered in time
//!    └── ceph                         librados and librbd, loaded when the driver starts
//! ```
//! The driver keeps nothing on its machine: several of them may work on one cluster, and ceph-csi beside them, if callers
//! do not ask two of them about the same volume at once. Behaviour follows ceph-csi v3.12; deviations carry `Differs:`.
//!
//! What is not here yet is refused or not advertised: encryption, topology, groups of snapshots.

mod ceph;
mod class;
mod config;
mod connections;
mod controller;
mod credentials;
mod deadline;
mod driver;
mod error;
pub mod flags;
mod flatten;
mod handle;
mod held;
mod image;
mod journal;
mod names;
mod node;
mod operations;
mod options;
pub mod parsers;
mod plan;
mod size;

pub use ceph::LoadError;
pub use driver::Rbd;
pub use options::RbdOptions;
