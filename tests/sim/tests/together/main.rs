//! csi-provisioner and csi-attacher in one world: on one host, as two processes, and with a standby each.

#![allow(clippy::indexing_slicing, reason = "a test that looks where nothing is fails, as it should")]

mod happen;
mod judge;
mod processes;
mod random;
