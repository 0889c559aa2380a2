//! Finds etcd, the Kubernetes binaries, csi-sanity and the Go csi-attacher, and builds what is missing.
//!
//! Each binary comes from the first of these that has it:
//! 1. the folder in `MOORING_KUBE_BIN`, whatever its version (you asked for it);
//! 2. the folder in `KUBEBUILDER_ASSETS` (the envtest convention), when its version is ours: binaries of two releases in
//!    one control plane fail in ways nobody wants to debug;
//! 3. our cache: `$XDG_CACHE_HOME/mooring/kubernetes-<release>-<hash>/` (`~/.cache` when unset);
//! 4. `PATH`, when its version is ours;
//! 5. a build from the Go module proxy (the modules in `go` beside this crate), into that cache.
//!
//! The release is the one of `go/kubernetes`; `MOORING_KUBERNETES=v1.36.3` asks for the one of `go/kubernetes-before`.
//!
//! A lock file in the cache folder keeps two processes from building the same thing at once.

mod build;
mod error;
mod progress;
mod recipe;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use error::BinariesError;
pub use progress::Progress;
pub use recipe::{Binary, kubernetes_release};

/// Where the binaries are.
#[derive(Debug, Clone, Default)]
pub struct Binaries {
    paths: BTreeMap<Binary, PathBuf>,
}

impl Binaries {
    /// The executable file of `binary`; just its name (found through `PATH`, or not) when it was not asked for.
    pub fn path(&self, binary: Binary) -> &Path {
        self.paths.get(&binary).map_or(Path::new(binary.name()), PathBuf::as_path)
    }
}

/// The folder for everything that outlives `cargo clean`: `$XDG_CACHE_HOME/mooring`, or `~/.cache/mooring`.
///
/// # Errors
/// Neither variable is set.
pub fn cache_folder() -> Result<PathBuf, BinariesError> {
    let set =
        |name: &str| std::env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    base.map(|base| base.join("mooring")).ok_or(BinariesError::NoCacheFolder)
}

/// Where `binary` already is; `None` when it must be built. The reason why a folder that was named is not used goes to
/// `progress`.
fn find(binary: Binary, cached: &Path, progress: &Progress) -> Option<PathBuf> {
    let in_folder = |variable: &str| {
        let file = PathBuf::from(std::env::var_os(variable)?).join(binary.name());
        file.is_file().then_some(file)
    };
    if let Some(file) = in_folder("MOORING_KUBE_BIN") {
        return Some(file);
    }
    if let Some(file) = in_folder("KUBEBUILDER_ASSETS") {
        if binary.is_our_release(&file) {
            return Some(file);
        }
        progress.note(&format!("{} is not {}: not used", file.display(), binary.recipe().module.release()));
    }
    if cached.is_file() {
        return Some(cached.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut files = std::env::split_paths(&path).map(|folder| folder.join(binary.name()));
    files.find(|file| file.is_file() && binary.is_our_release(file))
}

/// Makes sure that all of `wanted` exist, building what does not, and tells where they are.
///
/// Blocks: some ten minutes of two cores for a cold control plane, an instant after that.
///
/// # Errors
/// See [`BinariesError`].
pub fn ensure(wanted: &[Binary], progress: &Progress) -> Result<Binaries, BinariesError> {
    recipe::check_choice()?;
    let cache = cache_folder()?;
    let mut binaries = Binaries::default();
    let mut missing = Vec::new();
    for &binary in wanted {
        match find(binary, &cached_file(&cache, binary), progress) {
            Some(file) => {
                binaries.paths.insert(binary, file);
            }
            None => missing.push(binary),
        }
    }
    for (index, &binary) in missing.iter().enumerate() {
        let file = cached_file(&cache, binary);
        let step =
            build::Step { binary, number: index + 1, of: missing.len(), interval: progress.interval() };
        build::build(&step, &file, progress)?;
        binaries.paths.insert(binary, file);
    }
    Ok(binaries)
}

fn cached_file(cache: &Path, binary: Binary) -> PathBuf {
    cache.join(binary.recipe().module.folder()).join(binary.name())
}
