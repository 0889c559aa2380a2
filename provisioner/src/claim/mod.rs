//! Creates volumes for claims. Decisions: which claim ([`eligible`]), which name ([`name`]), which request
//! ([`request`]), which object ([`object`]). [`reconcile`] carries them out.
//!
//! Promises:
//! - the same claim always leads to the same request under the same name;
//! - a request that the driver may still be working on is sent again until the driver gives a final answer. The claim or its
//!   class may be deleted or replaced meanwhile. After a restart the next process sends it ([`intent`](crate::intent));
//! - a volume that exists at the driver gets its object, however long that takes;
//! - a volume of the same name that belongs to another claim is never touched.

pub(crate) mod adopt;
pub(crate) mod background;
pub(crate) mod contest;
pub(crate) mod create;
pub(crate) mod eligible;
pub(crate) mod error;
mod former;
mod inherited;
pub(crate) mod memory;
pub(crate) mod name;
pub(crate) mod object;
pub(crate) mod outcome;
pub(crate) mod prefix;
pub(crate) mod protection;
pub(crate) mod queue;
pub(crate) mod reconcile;
pub(crate) mod request;
pub(crate) mod reschedule;
pub(crate) mod save;
pub(crate) mod source;
pub(crate) mod tell;
#[cfg(test)]
mod tests;
pub(crate) mod unplaced;
mod without_secret;
