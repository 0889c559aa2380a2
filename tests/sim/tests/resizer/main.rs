//! csi-resizer against the in-memory API server and the scripted driver: upstream's cases (docs/upstream/resizer.md, "Test
//! cases"), takeover from the Go resizer, volumes in use, attributes classes, faults and crashes at every point.

#![allow(clippy::indexing_slicing, reason = "a test that looks where nothing is fails, as it should")]

mod crashes;
mod growth;
mod harness;
mod in_tree;
mod in_use;
mod intake;
mod modification;
mod outcomes;
mod pairs;
mod races;
mod recovery;
mod rights;
mod unknown;
