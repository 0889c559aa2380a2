//! A real Kubernetes control plane for tests and for `cargo xtask up`.
//!
//! What it promises:
//! - [`binaries`]: etcd, the API server and their friends are there, built from the Go module proxy when nothing else
//!   has them, once per machine.
//! - [`ControlPlane`]: one control plane on free loopback ports in a temporary folder, ready in seconds, gone with the
//!   value that owns it: on drop, on panic, and when the process that started it is killed.
//! - [`wait`], [`apply`], [`account`], [`node`]: what a test needs to say what it wants and to see that it came.
//! - [`node::RealNode`]: a kubelet and containerd beside it, so that pods run; [`image`]: the images they run.
//! - [`ceph`]: a Ceph of one monitor and one OSD.
//! - [`browser`], [`tls`], [`prometheus`]: who reads what the sidecars serve; [`plot`]: its figures as a picture.
//! - [`stand`]: a control plane with our driver and our sidecars beside it.
//! - [`skip`]: what a test leaves out is said, and is a failure where everything must run.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use cluster::{ControlPlane, Options};
//! let control_plane = ControlPlane::start(Options::default()).await?;
//! let namespace = control_plane.fresh_namespace("example").await?;
//! let kubeconfig = control_plane
//!     .service_account(&namespace, "csi-provisioner", include_str!("../testdata/reader.yaml"))
//!     .await?;
//! println!("KUBECONFIG={}", kubeconfig.display());
//! # Ok(()) }
//! ```

pub mod account;
pub mod apply;
pub mod binaries;
pub mod browser;
pub mod built;
pub mod ceph;
mod component;
mod control_plane;
mod error;
mod files;
pub mod gate;
mod grpc;
mod guard;
pub mod image;
pub mod implementation;
pub mod node;
mod options;
mod packages;
pub mod page;
mod pki;
pub mod plot;
mod ports;
pub mod process;
pub mod prometheus;
pub mod skip;
pub mod snapshots;
pub mod stand;
pub mod tls;
pub mod wait;

pub use apply::ApplyError;
pub use control_plane::ControlPlane;
pub use error::StartError;
pub use options::Options;
pub use process::Process;
pub use rustix::process::Signal;
