//! `mooring migrate`: turns in-tree PersistentVolumes into CSI volumes for good.
//!
//! This release plans only: it reads volumes, claims, pods and attachments, and says of each in-tree volume what it would
//! become, as a difference, and what stands against that now. It writes nothing.
//!
//! ```text
//! mooring migrate --dry-run --kubeconfig=~/.kube/config
//! ```

mod cluster;
mod decide;
mod diff;
mod flags;
mod report;
mod run;

pub use flags::parse;
pub use report::{Entry, Report};
pub use run::{MigrateError, main, plan};
