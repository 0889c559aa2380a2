//! The files of `manifests/monitoring`: the alerts and the dashboard, tried by promtool on pages of our sidecars.

mod burst;
mod dashboard;
mod page;
pub(crate) mod process;
mod promtool;
mod rules;
