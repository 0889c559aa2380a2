//! A sidecar as a program: alone in its process, or one of several.

use base::flag::{Exit, FlagSet, Parsed};
use futures::future::LocalBoxFuture;
use kubernetes::object::Keep;

use crate::caches::Caches;
use crate::duty::Duty;
use crate::lead::Election;
use crate::start::StartError;
use crate::work::{Capabilities, Started};

/// How the leader for a seat is elected, and what it does then.
pub type Seated = Result<(Election, Duty), StartError>;

/// What the one executable has to know of a sidecar. `parsed` always holds the sidecar's flags under their own names.
#[derive(Clone, Copy)]
pub struct Program {
    /// The name of its executable upstream, such as `csi-attacher`.
    pub name: &'static str,
    /// Reads the command line of the sidecar alone: the program as it was called, and its arguments.
    pub parse: fn(&str, Vec<String>) -> Result<Parsed, Exit>,
    /// The life of the sidecar alone, up to the exit code.
    pub main: for<'a> fn(&'a Parsed) -> LocalBoxFuture<'a, u8>,
    /// Adds the flags that only this sidecar has, and its feature gates.
    pub add_flags: fn(&mut FlagSet),
    /// What the caches must keep for it.
    pub keep: fn(&Parsed) -> Keep,
    /// Gives it a seat in a process that has started. The last argument is what the driver answered about its capabilities.
    pub take_seat:
        for<'a> fn(&'a Started, &'a mut Caches, &'a Parsed, &'a Capabilities) -> LocalBoxFuture<'a, Seated>,
}
