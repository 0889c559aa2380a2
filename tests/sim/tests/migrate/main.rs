//! `mooring migrate` in a small cluster: what it shows, and what it does when users and the API server get in its way.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod again;
mod attached;
mod meanwhile;
mod new_form;
mod plan;
mod refused;
mod site;
