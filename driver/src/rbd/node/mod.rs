//! The Node service's calls: an image becomes a device of this node, and a folder or a file that pods see.
//!
//! ```text
//! stage     stash written → image mapped → file system made → mounted at <staging>/<volume id>, as ceph-csi has it
//! unstage   unmounted → unmapped → stash removed
//! publish   <staging>/<volume id> bound to the target
//! ```
//! Nothing is remembered but the stash beside the mount. After a kill each step is found done or is done again.

mod command;
mod device;
mod fuse;
mod info;
mod mapper;
mod mappers;
mod ours;
mod publish;
mod rbd_command;
mod source;
mod stage;
mod stash;
mod usage;

pub(crate) use mapper::Kind as MapperKind;
pub(crate) use mappers::Mappers;
pub use rbd_command::mapped;
pub use stash::stashed;
