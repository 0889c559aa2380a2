//! Finds etcd, the Kubernetes binaries, csi-sanity, the Go csi-provisioner, csi-attacher and csi-resizer, and our program
//! around csi-translation-lib, and builds what is missing.
//!
//! Each binary comes from the first of these that has it:
//! 1. the folder in `MOORING_KUBE_BIN`, whatever its version (you asked for it);
//! 2. the folder in `KUBEBUILDER_ASSETS` (the envtest convention), when its version fits ([`Fit`]): binaries of two
//!    releases in one control plane fail in ways nobody wants to debug;
//! 3. our cache: `$XDG_CACHE_HOME/mooring/kubernetes-<release>-<hash>/` (`~/.cache` when unset);
//! 4. `PATH`, when its version fits;
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
pub use recipe::{Binary, Fit, kubernetes_release};

/// Where the binaries are.
#[derive(Debug, Clone, Default)]
pub struct Binaries {
    found: BTreeMap<Binary, Found>,
}

/// Where a binary is.
#[derive(Debug, Clone)]
struct Found {
    file: PathBuf,
    /// What led there, in words.
    by: &'static str,
}

impl Binaries {
    /// The executable file of `binary`; just its name (found through `PATH`, or not) when it was not asked for.
    pub fn path(&self, binary: Binary) -> &Path {
        self.found.get(&binary).map_or(Path::new(binary.name()), |found| &found.file)
    }

    /// Whether `binary` is there.
    pub fn has(&self, binary: Binary) -> bool {
        self.found.contains_key(&binary)
    }

    /// These and `others`.
    pub fn with(mut self, others: Binaries) -> Binaries {
        self.found.extend(others.found);
        self
    }

    /// One line for each binary: its version, where it is, and why that one.
    pub fn origins(&self) -> Vec<String> {
        let line = |(binary, found): (&Binary, &Found)| {
            let version = binary.version_of(&found.file).unwrap_or_else(|| "of no known version".to_owned());
            format!("{} {version} {}: {}", binary.name(), found.by, found.file.display())
        };
        self.found.iter().map(line).collect()
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
fn find(binary: Binary, fit: Fit, cached: &Path, progress: &Progress) -> Option<Found> {
    let in_folder = |variable: &str| {
        let file = PathBuf::from(std::env::var_os(variable)?).join(binary.name());
        file.is_file().then_some(file)
    };
    if let Some(file) = in_folder("MOORING_KUBE_BIN") {
        return Some(Found { file, by: "from MOORING_KUBE_BIN" });
    }
    let fits = |file: &Path| binary.version_of(file).is_some_and(|version| binary.fits(&version, fit));
    if let Some(file) = in_folder("KUBEBUILDER_ASSETS") {
        if fits(&file) {
            return Some(Found { file, by: "from KUBEBUILDER_ASSETS" });
        }
        let version = binary.version_of(&file).unwrap_or_else(|| "of no known version".to_owned());
        let ours = binary.our_version();
        progress.note(&format!("{} is {version}, {ours} is wanted: not used", file.display()));
    }
    if cached.is_file() {
        return Some(Found { file: cached.to_owned(), by: "built earlier" });
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut files = std::env::split_paths(&path).map(|folder| folder.join(binary.name()));
    let file = files.find(|file| file.is_file() && fits(file))?;
    Some(Found { file, by: "from PATH" })
}

/// Those of `wanted` that are there already. Builds nothing.
///
/// # Errors
/// See [`BinariesError`].
pub fn present(wanted: &[Binary], fit: Fit, progress: &Progress) -> Result<Binaries, BinariesError> {
    recipe::check_choice()?;
    let cache = cache_folder()?;
    let found = |&binary: &Binary| Some((binary, find(binary, fit, &cached_file(&cache, binary), progress)?));
    Ok(Binaries { found: wanted.iter().filter_map(found).collect() })
}

/// Makes sure that all of `wanted` exist in the release that the tests run, building what does not, and tells where they
/// are.
///
/// Blocks: some ten minutes of two cores for a cold control plane, an instant after that.
///
/// # Errors
/// See [`BinariesError`].
pub fn ensure(wanted: &[Binary], progress: &Progress) -> Result<Binaries, BinariesError> {
    complete(present(wanted, Fit::Release, progress)?, wanted, progress)
}

/// Builds those of `wanted` that `binaries` lacks. Blocks as [`ensure`] does.
///
/// # Errors
/// See [`BinariesError`].
pub fn complete(
    mut binaries: Binaries,
    wanted: &[Binary],
    progress: &Progress,
) -> Result<Binaries, BinariesError> {
    let cache = cache_folder()?;
    let missing: Vec<Binary> = wanted.iter().copied().filter(|binary| !binaries.has(*binary)).collect();
    for (index, &binary) in missing.iter().enumerate() {
        let file = cached_file(&cache, binary);
        let step =
            build::Step { binary, number: index + 1, of: missing.len(), interval: progress.interval() };
        build::build(&step, &file, progress)?;
        binaries.found.insert(binary, Found { file, by: "built now" });
    }
    Ok(binaries)
}

fn cached_file(cache: &Path, binary: Binary) -> PathBuf {
    cache.join(binary.recipe().module.folder()).join(binary.name())
}
