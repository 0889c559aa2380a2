//! Creates volumes for claims. Decisions: which claim ([`eligible`]), which name ([`name`]), which request
//! ([`request`]), which object ([`object`]). [`reconcile`] carries them out.
//!
//! Promises:
//! - the same claim always leads to the same request under the same name;
//! - a claim whose call may still be running is retried until the driver gives a final answer, deleted or
//!   not;
//! - a volume that exists at the driver gets its object, however long that takes;
//! - a volume of the same name that belongs to another claim is never touched.

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
