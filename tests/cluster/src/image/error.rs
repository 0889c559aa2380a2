//! Why there is no image.

use std::path::Path;

/// An image could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The layer's tar file cannot be written.
    #[error("cannot write a layer: {0}")]
    Layer(std::io::Error),
    /// There are no images for this platform.
    #[error("there are no images for {name}: choose from {known}")]
    NoPlatform {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// An executable that tells what goes into the image does not.
    #[error("{program} does not say what it has: {why}")]
    Silent {
        /// The program.
        program: String,
        /// What is wrong.
        why: String,
    },
}

impl ImageError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> ImageError {
        let path = path.display().to_string();
        |source| ImageError::File { path, source }
    }
}
