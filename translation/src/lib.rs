//! In-tree volumes as their CSI drivers know them.
//!
//! Pure: objects in, objects out, nothing read and nothing written. [`Plugin`] says which volumes belong to an
//! in-tree plugin that a CSI driver has replaced; a [`Translation`] turns classes and volumes into those of the driver,
//! and volumes back. [`Plugins`] is the one translation; it has a file for each plugin.
//!
//! Source: docs/upstream/migration.md. The tests in tests/cluster/tests/translation compare it with
//! csi-translation-lib.

mod class;
mod error;
#[cfg(test)]
mod fixture;
mod in_tree;
mod plugin;
mod plugins;
mod source;
mod topology;
mod translation;

pub use error::TranslationError;
pub use plugin::Plugin;
pub use translation::{Plugins, Translation};

#[cfg(test)]
mod tests;
