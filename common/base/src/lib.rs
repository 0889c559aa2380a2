//! Code that every Mooring program can use. Nothing here knows Kubernetes or CSI.
//!
//! Each module owns one idea and states its promises in its own documentation.

pub mod apart;
pub mod flag;
pub mod http;
pub mod in_flight;
pub mod leadership;
pub mod log;
pub mod metrics;
pub mod name;
pub mod noted;
pub mod quantity;
pub mod queue;
pub mod secret;
pub mod status;
pub mod trace;
