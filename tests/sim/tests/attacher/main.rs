//! csi-attacher against the in-memory API server and the scripted driver: upstream's cases
//! (docs/upstream/attacher.md, "Test cases"), takeover from the Go attacher, faults, crashes at every point,
//! and a burst of detaches.

#![allow(clippy::indexing_slicing, reason = "a test that looks where nothing is fails, as it should")]

mod anew;
mod attach;
mod burst;
mod crashes;
mod detach;
mod failures;
mod forced;
mod harness;
mod in_tree;
mod intake;
mod listing;
mod objects;
mod pairs;
mod random;
mod rights;
mod secrets;
mod stale;
mod takeover;
mod turns;
mod volumes;
