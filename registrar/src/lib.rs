//! What runs beside a CSI driver on each node, without Kubernetes' API.
//!
//! - [`registration`]: csi-node-driver-registrar tells the kubelet where the driver's socket is.
//! - [`liveness`]: livenessprobe asks the driver, whenever the kubelet asks, whether it is alive.
//! - [`node`]: both in one process, with one HTTP server (`mooring node`).
//!
//! Each has its flags (`parse`) and its life (`main`, which returns the exit code).

mod driver;
mod end;
mod endpoint;
mod liveness;
mod node;
mod registration;

pub use liveness::{main as probe, parse as parse_probe};
pub use node::{main as node, parse as parse_node};
pub use registration::{main as register, parse as parse_registrar};
