//! Creates volumes for claims. Decisions: which claim ([`eligible`]), which name ([`name`]), which request
//! ([`request`]), which object ([`object`]). [`reconcile`] carries them out.
//!
//! Promises:
//! - the same claim always leads to the same request under the same name;
//! - a claim whose call may still be running is retried until the driver gives a final answer, deleted or
//!   not;
//! - a volume that exists at the driver gets its object, however long that takes;
//! - a volume of the same name that belongs to another claim is never touched.

pub(crate) mod eligible;
pub(crate) mod error;
pub(crate) mod memory;
pub(crate) mod name;
pub(crate) mod object;
pub(crate) mod outcome;
pub(crate) mod reconcile;
pub(crate) mod request;
pub(crate) mod save;
#[cfg(test)]
mod tests;
