//! csi-provisioner and csi-attacher in one world: on one host, as two processes, and with a standby each; two seats on one
//! host; the life of an in-tree volume; alerts, dashboard and status page of a process with all of them.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that looks where nothing is fails, as it should"
)]

mod config;
mod happen;
mod host;
mod in_tree;
mod judge;
mod monitoring;
mod processes;
mod random;
mod status;
mod traces;
