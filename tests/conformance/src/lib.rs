//! The driver as a process, for tests that treat it as its callers do.
//!
//! - [`Running`]: a driver process on a temporary folder, with a client; killed with the value.
//! - [`Disk`]: an ext4 file system that forgets what was not synced.
//! - [`Folder`]: where a driver works; nothing of it outlives the test.
//! - [`in_own_mounts!`]: a test in a mount namespace of its own, so that nothing it mounts outlives it.
//! - [`Dice`]: seeded randomness.
//! - [`request`]: requests that differ from a good one in what a test is about.

mod dice;
mod disk;
mod folder;
mod namespace;
pub mod request;
mod running;

pub use dice::Dice;
pub use disk::Disk;
pub use folder::Folder;
pub use namespace::{devices_of, is_in_own_mounts, loop_devices_below, mounts_below};
pub use running::Running;
