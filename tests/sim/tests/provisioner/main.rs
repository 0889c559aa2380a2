//! csi-provisioner against the in-memory API server and the scripted driver: upstream's cases
//! (provisioner-cases.md), faults, and crashes at every point.

mod cases;
mod crashes;
mod deletion;
mod errors;
mod harness;
mod leadership;
