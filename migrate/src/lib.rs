//! `mooring migrate`: turns in-tree PersistentVolumes into CSI volumes for good, and back.
//!
//! It shows of each in-tree volume what it would become, as a difference, and what stands against that now. Told to convert, it
//! replaces the volumes one after the other. What it promises, wherever it is killed and whatever others do meanwhile: each
//! volume ends as it was or converted, once the same command has been run to its end; its claim stays Bound; no volume is
//! deleted.
//!
//! ```text
//! mooring migrate --dry-run                  what would become of each
//! mooring migrate --undo-file=before.jsonl   converts, or goes on where it was interrupted
//! mooring migrate --undo before.jsonl        gives each converted volume its in-tree source again
//! ```
//!
//! What changes of size or labels came after the conversion stay when it is undone.
//!
//! `Differs:` upstream has no such command: Kubernetes translates in-tree volumes for ever and converts none.

mod change;
mod cluster;
mod convert;
mod decide;
mod diff;
mod error;
#[cfg(test)]
mod fixture;
mod flags;
mod hold;
mod journal;
mod options;
mod prepare;
mod progress;
mod record;
mod report;
mod requests;
mod run;
mod swap;
mod work;

pub use convert::{convert, undo};
pub use error::MigrateError;
pub use flags::parse;
pub use options::Options;
pub use progress::Progress;
pub use report::{Outcome, Report};
pub use run::{main, plan};
