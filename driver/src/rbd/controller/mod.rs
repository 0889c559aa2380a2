//! The Controller service's calls on images.

mod capabilities;
mod capacity;
mod clone;
mod create;
mod delete;
mod expand;
mod list;
mod snapshot;
