//! The conformance list of csi-lib-utils §10, against real servers: Unix sockets for dialling,
//! in-memory pipes for the rest.

mod calls;
mod dying;
mod identity;
mod link;
mod redaction;
mod scripted;
