//! `mooring csidriver`: creates the CSIDriver object of a driver, or corrects it, from what the driver says of itself.
//!
//! ```text
//! mooring csidriver --csi-address=/csi/csi.sock --once
//! ```
//!
//! `attachRequired` follows from the capability PUBLISH_UNPUBLISH_VOLUME. A program without a Controller service does not say it, and
//! nobody can change the field later: there, `--attach-required` must be given. The other fields are no matter of capabilities: each
//! is written only if its flag is given, and left alone otherwise.
//!
//! `Differs:` cluster-driver-registrar, which did this until 2019, writes `v1beta1`, takes an existing object for right whatever it
//! says, fails for drivers without a Controller service, and deletes the object on SIGINT. Ours writes `v1`, corrects
//! what differs, asks for `--attach-required` beside a program without a Controller service, ends with 0 on SIGTERM and SIGINT, and does
//! not delete the object unless it may replace it (`--replace`).

mod decide;
mod flags;
mod replace;
mod run;

pub use flags::parse;
pub use run::main;
