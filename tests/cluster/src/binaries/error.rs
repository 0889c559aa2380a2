//! Why the binaries cannot be had.

use std::path::PathBuf;

/// The binaries cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BinariesError {
    /// Neither `XDG_CACHE_HOME` nor `HOME` says where to keep them.
    #[error(
        "no cache folder: set XDG_CACHE_HOME or HOME, or put the binaries into a folder named by MOORING_KUBE_BIN"
    )]
    NoCacheFolder,
    /// `MOORING_KUBERNETES` names a release that no module here builds.
    #[error("MOORING_KUBERNETES={choice} is not built here: unset it, or set it to {}", .releases.join(" or "))]
    NoSuchRelease {
        /// What the variable says.
        choice: String,
        /// The releases that there are.
        releases: [&'static str; 2],
    },
    /// A folder or file of the cache cannot be used.
    #[error("cannot use the cache at {path}: {source}")]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no Go.
    #[error(
        "{binary} must be built, and there is no `go` to build it with ({source}): install Go 1.26 or newer \
         (https://go.dev/dl), or put the binaries into a folder named by MOORING_KUBE_BIN"
    )]
    NoGo {
        /// What was to be built.
        binary: &'static str,
        /// Why `go` did not start.
        source: std::io::Error,
    },
    /// `go build` failed.
    #[error("building {binary} failed:\n{output}")]
    Build {
        /// What was to be built.
        binary: &'static str,
        /// The last lines that `go` said.
        output: String,
    },
}
