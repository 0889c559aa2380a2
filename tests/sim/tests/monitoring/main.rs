//! The files of `manifests/monitoring`: the alerts and the dashboard, tried by promtool on pages of our sidecars.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds nothing fails, as it should"
)]

#[path = "../together/config.rs"]
mod config;
mod dashboard;
mod page;
mod process;
mod promtool;
mod rules;
