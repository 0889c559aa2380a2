//! The chart `charts/mooring`, rendered by the real helm: it is linted, the API server takes every object, the schema refuses
//! wrong values by their names, our programs take the flags, and the rights are those of `manifests/rbac`.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

mod flags;
mod helm;
mod objects;
mod pods;
mod rights;
mod schema;
