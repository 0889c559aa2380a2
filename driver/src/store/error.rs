//! Why the state cannot be opened.

use std::io;

/// The state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The journal cannot be read or written.
    #[error("state in {folder}: {source}")]
    Journal {
        /// The state folder.
        folder: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A Go driver's state file cannot be taken over.
    #[error("{file}: {reason}")]
    Migration {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
}
