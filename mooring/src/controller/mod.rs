//! `mooring controller`: several sidecars in one process, with one set of watches, one driver connection and one metrics
//! page. Called as `csi-sidecars`, it takes the flags that upstream plans for its combined sidecar (KEP-4958).
//!
//! It takes every lease that the sidecars would take alone, in one fixed order ([`select::Controller::ALL`]). So it may replace
//! separate sidecars one replica at a time, Go ones too, and be replaced by them. When one lease is lost, all stop.

mod config;
mod flags;
mod run;
mod select;

pub(crate) use flags::parse;
pub(crate) use run::main;
pub(crate) use select::{NodeSide, node_side};
