//! csi-lib-utils' cases (docs/upstream/conventions.md, "Test cases") against real servers: Unix sockets for
//! dialling, in-memory pipes for the rest.

mod calls;
mod dying;
mod identity;
mod link;
mod redaction;
mod scripted;
