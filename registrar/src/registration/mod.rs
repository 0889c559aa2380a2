//! csi-node-driver-registrar: offers the kubelet a socket on which it learns where the driver is.
//!
//! ```text
//! driver's name -> <folder>/<name>-reg.sock -> kubelet: GetInfo -> kubelet: NotifyRegistrationStatus
//! ```
//!
//! The kubelet finds the socket in its plugin folder, asks [`service`] for name and path, connects to the driver itself,
//! and says whether that worked. After a restart the kubelet looks through the folder again, so the socket stays.
//! Source: docs/upstream/node.md, "Registrar".
//!
//! Promises:
//! - a socket that vanishes is made again ([`socket`]);
//! - a refusal of the kubelet ends csi-node-driver-registrar with exit code 1 and its reason in the log: the restart is the
//!   retry; `mooring node`, which answers for the driver's container too, goes on and offers the driver again;
//! - `/healthz` fails when the socket is not there, when the driver's name is another one, or when the kubelet has not registered
//!   it for 5 min ([`health`]). Whether the driver answers is livenessprobe's matter.
//!
//! `Differs:` upstream serves a socket that nobody can find any more after the kubelet's folder was emptied. It handles
//! SIGTERM only, and only once the driver has said its name; ours takes SIGINT for the same, and ends with 0 at any time.

mod asked;
mod authority;
mod flags;
pub(crate) mod health;
mod run;
pub(crate) mod service;
pub(crate) mod socket;

pub use flags::parse;
pub(crate) use flags::{Flags, check, warn_of_ignored};
pub use run::main;
pub(crate) use run::{Registrar, RegistrarError};
