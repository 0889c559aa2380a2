//! Input that nobody would write: one function for each parser, which takes any bytes and must not panic.
//!
//! [`TARGETS`] lists them. `cargo xtask fuzz` runs each under cargo-fuzz, which looks for inputs that reach new code. CI
//! runs the same functions on stable, with random inputs from a seed: `tests/short.rs`. A function also checks what must
//! hold for whatever was understood; where it does not, it panics.

mod archive;
mod driver_state;
mod endpoint_requests;
mod kubernetes_text;
mod numbers;
mod rbd;
mod replies;
mod text;
mod trace_variables;
mod used;

pub mod random;

pub use archive::archive;
pub use driver_state::journal;
pub use endpoint_requests::{bearer_header, status_query};
pub use kubernetes_text::{secret_templates, selectors};
pub use numbers::{durations, quantities};
pub use rbd::{rbd_class, rbd_files, rbd_ids};
pub use replies::csi_replies;
pub use text::{endpoint, go_flags};
pub use trace_variables::trace_variables;
pub use used::csi_replies_used;

/// A parser under test.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, as cargo-fuzz knows it.
    pub name: &'static str,
    /// Gives it these bytes. Panics when something is wrong.
    pub body: fn(&[u8]),
    /// Inputs to begin with, as a user or a driver would write them.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// How many random inputs it gets in CI. The slow ones get fewer.
    pub tries: u32,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "go_flags", body: go_flags, seeds: text::flag_seeds, tries: 5_000 },
    Target { name: "durations", body: durations, seeds: numbers::duration_seeds, tries: 20_000 },
    Target { name: "quantities", body: quantities, seeds: numbers::quantity_seeds, tries: 20_000 },
    Target { name: "selectors", body: selectors, seeds: kubernetes_text::selector_seeds, tries: 10_000 },
    Target { name: "csi_replies", body: csi_replies, seeds: replies::seeds, tries: 10_000 },
    Target { name: "csi_replies_used", body: csi_replies_used, seeds: replies::seeds, tries: 200 },
    Target { name: "journal", body: journal, seeds: driver_state::seeds, tries: 5_000 },
    Target { name: "archive", body: archive, seeds: archive::seeds, tries: 1_000 },
    Target { name: "endpoint", body: endpoint, seeds: text::endpoint_seeds, tries: 10_000 },
    Target {
        name: "secret_templates",
        body: secret_templates,
        seeds: kubernetes_text::template_seeds,
        tries: 10_000,
    },
    Target {
        name: "bearer_header",
        body: bearer_header,
        seeds: endpoint_requests::bearer_seeds,
        tries: 20_000,
    },
    Target { name: "status_query", body: status_query, seeds: endpoint_requests::query_seeds, tries: 2_000 },
    Target { name: "trace_variables", body: trace_variables, seeds: trace_variables::seeds, tries: 10_000 },
    Target { name: "rbd_class", body: rbd_class, seeds: rbd::class_seeds, tries: 10_000 },
    Target { name: "rbd_files", body: rbd_files, seeds: rbd::file_seeds, tries: 10_000 },
    Target { name: "rbd_ids", body: rbd_ids, seeds: rbd::id_seeds, tries: 20_000 },
];
