//! What two Mooring sidecars share: Kubernetes and CSI, no sidecar of its own.
//!
//! Each module owns one idea and states its promises in its own documentation.

pub mod access;
pub mod csi;
pub mod event;
pub mod flag;
pub mod http;
pub mod kube;
pub mod lease;
pub mod log;
pub mod metrics;
pub mod name;
pub mod process;
pub mod quantity;
pub mod queue;
pub mod secret;
pub mod topology;
