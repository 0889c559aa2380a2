//! Claims become volumes: which claim ([`eligible`]), under which name ([`name`]), with which request
//! ([`request`]), as which object ([`object`]); and the one place that does it ([`reconcile`]).
//!
//! Promises: the same claim always leads to the same request under the same name; a claim whose call may
//! still run is worked on to a final answer, deleted or not; a volume that exists gets its object, however
//! long that takes; a volume of the same name that is not this claim's is never touched.

pub mod eligible;
pub mod error;
pub mod memory;
pub mod name;
pub mod object;
pub mod outcome;
pub mod reconcile;
pub mod request;
pub mod save;
#[cfg(test)]
mod tests;
