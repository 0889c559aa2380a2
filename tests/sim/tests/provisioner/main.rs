//! csi-provisioner against the in-memory API server and the scripted driver: upstream's cases
//! (docs/upstream/provisioner.md, "Test cases"), faults, and crashes at every point.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "objects of tests are written just above")]

mod attributes;
mod background;
mod capacity;
mod cases;
mod crashes;
mod deletion;
mod errors;
mod harness;
mod in_tree;
mod intents;
mod leadership;
mod lists;
mod metrics;
mod names;
mod on_nodes;
mod pairs;
mod rights;
mod sources;
mod topology;
mod unbound;
mod unsaved;
mod upstream;
