//! Vendors' own command lines, roles and drivers: each starts ours as it starts Go's.
//!
//! The tables are of `testdata/vendors`; `docs/vendors.md` says what is different and why.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

mod audit;
mod container;
mod controller;
mod driver;
mod line;
mod live;
mod node;
mod pod;
mod switch;
