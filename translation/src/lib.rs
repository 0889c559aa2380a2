//! In-tree volumes as their CSI drivers know them.
//!
//! Pure: objects in, objects out, nothing read and nothing written. [`plugin`] says which volumes belong to an
//! in-tree plugin that a CSI driver has replaced; a [`Translation`] turns them into CSI volumes. The only one
//! so far is [`NotAvailable`], which turns down each volume with an error that says so.
//!
//! Source: docs/upstream/conventions.md, "In-tree plugins" and "Translation".

pub mod plugin;
mod translation;

pub use plugin::Plugin;
pub use translation::{NotAvailable, Translation, TranslationError};
