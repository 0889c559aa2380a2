//! `mooring explain`: why a claim, a volume, an attachment or a snapshot is not ready, what it waits for, and who must act.
//!
//! ```text
//! mooring explain pvc data -n team       also: kubectl mooring explain pvc data -n team
//! mooring explain va csi-0123 --watch    prints the answer again whenever it changes
//! mooring explain pv pvc-0123 -o json    for programs; docs/explain.md has the shape
//! ```
//!
//! It only reads: objects, their events, and the Leases of the sidecars, whether those are ours or the Go ones. Of a
//! Secret it reads whether it exists.
//!
//! `decide.rs` and the files that it uses are plain functions of a [`view`]; `read.rs` alone talks to the API server.
//! `status.rs` reads the status pages that `--status` names.
//!
//! `Differs:` upstream has no such command.

mod ask;
mod attachment;
mod attributes;
mod claim;
mod decide;
mod event;
mod field;
mod finding;
#[cfg(test)]
mod fixture;
mod flags;
mod growth;
mod in_use;
mod node;
mod place;
mod pod;
mod print;
mod provisioning;
mod quota;
mod read;
mod removal;
mod run;
mod secret;
mod sidecar;
mod snapshot;
mod snapshot_removal;
mod source;
mod status;
mod topology;
mod tries;
mod view;
mod volume;

pub use flags::{Request, parse};
pub use run::main;
