//! Finds etcd, the Kubernetes binaries and csi-sanity, and builds what is missing.
//!
//! Each binary comes from the first of these that has it:
//! 1. the folder in `MOORING_KUBE_BIN`, whatever its version (you asked for it);
//! 2. the folder in `KUBEBUILDER_ASSETS` (the envtest convention), when its version is ours: binaries of two releases in
//!    one control plane fail in ways nobody wants to debug;
//! 3. our cache: `$XDG_CACHE_HOME/mooring/kubernetes-<release>-<hash>/` (`~/.cache` when unset);
//! 4. `PATH`, when its version is ours;
//! 5. a build from the Go module proxy (`go/kubernetes`, `go/sanity` beside this crate), into that cache.
//!
//! A lock file in the cache folder keeps two processes from building the same thing at once.

mod build;
mod progress;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use progress::Progress;

/// A Go module of ours: no Go code, only versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Module {
    /// What the cache folder's name begins with.
    pub(crate) name: &'static str,
    /// The module whose version names the release.
    main: &'static str,
    pub(crate) go_mod: &'static str,
    pub(crate) go_sum: &'static str,
}

const KUBERNETES: Module = Module {
    name: "kubernetes",
    main: "k8s.io/kubernetes",
    go_mod: include_str!("../../go/kubernetes/go.mod"),
    go_sum: include_str!("../../go/kubernetes/go.sum"),
};
const SANITY: Module = Module {
    name: "csi-sanity",
    main: "github.com/kubernetes-csi/csi-test/v5",
    go_mod: include_str!("../../go/sanity/go.mod"),
    go_sum: include_str!("../../go/sanity/go.sum"),
};

impl Module {
    /// The version of `module` in its go.mod; empty when it is not there.
    fn version_of(&self, module: &str) -> &'static str {
        let mut words = self.go_mod.lines().map(|line| line.trim().trim_start_matches("require "));
        words
            .find_map(|line| line.strip_prefix(module)?.strip_prefix(' ')?.split(' ').next())
            .unwrap_or_default()
    }

    /// The release that it builds, for example `v1.36.3`.
    pub(crate) fn release(&self) -> &'static str {
        self.version_of(self.main)
    }

    /// The cache folder's name: other versions in go.sum or other build flags are another folder.
    fn folder(&self) -> String {
        let parts = [self.go_mod, self.go_sum, build::FLAGS_VERSION];
        // FNV-1a: stable from one Rust release to the next, which the standard hasher is not.
        let hash =
            parts.iter().flat_map(|part| part.bytes()).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        format!("{}-{}-{:08x}", self.name, self.release(), hash & 0xffff_ffff)
    }
}

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Binary {
    /// The API server's store.
    Etcd,
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager: binds claims to volumes, makes VolumeAttachments.
    ControllerManager,
    /// kube-scheduler: chooses the node of a late-bound claim.
    Scheduler,
    /// kubectl.
    Kubectl,
    /// kubelet, for tests with real pods.
    Kubelet,
    /// The CSI conformance suite.
    CsiSanity,
}

impl Binary {
    /// What a control plane needs, and kubectl beside it.
    pub const CONTROL_PLANE: [Binary; 5] =
        [Binary::Etcd, Binary::ApiServer, Binary::ControllerManager, Binary::Scheduler, Binary::Kubectl];

    /// The file name.
    pub fn name(self) -> &'static str {
        match self {
            Binary::Etcd => "etcd",
            Binary::ApiServer => "kube-apiserver",
            Binary::ControllerManager => "kube-controller-manager",
            Binary::Scheduler => "kube-scheduler",
            Binary::Kubectl => "kubectl",
            Binary::Kubelet => "kubelet",
            Binary::CsiSanity => "csi-sanity",
        }
    }

    pub(crate) fn module(self) -> Module {
        match self {
            Binary::CsiSanity => SANITY,
            Binary::Etcd
            | Binary::ApiServer
            | Binary::ControllerManager
            | Binary::Scheduler
            | Binary::Kubectl
            | Binary::Kubelet => KUBERNETES,
        }
    }

    /// The Go package with its `main`.
    pub(crate) fn package(self) -> String {
        match self {
            Binary::Etcd => "go.etcd.io/etcd/server/v3".to_owned(),
            Binary::CsiSanity => "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity".to_owned(),
            Binary::ApiServer
            | Binary::ControllerManager
            | Binary::Scheduler
            | Binary::Kubectl
            | Binary::Kubelet => format!("k8s.io/kubernetes/cmd/{}", self.name()),
        }
    }

    /// Whether the executable `file` is of the release that we would build.
    fn is_our_release(self, file: &Path) -> bool {
        let (arguments, expected): (&[&str], String) = match self {
            Binary::Etcd => {
                let version = KUBERNETES.version_of("go.etcd.io/etcd/server/v3");
                (&["--version"], format!("etcd Version: {}", version.trim_start_matches('v')))
            }
            Binary::Kubectl => {
                (&["version", "--client"], format!("Client Version: {}", KUBERNETES.release()))
            }
            Binary::CsiSanity => (&["--version"], format!("Version = {}", SANITY.release())),
            Binary::ApiServer | Binary::ControllerManager | Binary::Scheduler | Binary::Kubelet => {
                (&["--version"], format!("Kubernetes {}", KUBERNETES.release()))
            }
        };
        let Ok(output) = Command::new(file).args(arguments).output() else {
            return false;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().any(|line| line.trim() == expected)
    }
}

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

/// The binaries cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BinariesError {
    /// Neither `XDG_CACHE_HOME` nor `HOME` says where to keep them.
    #[error(
        "no cache folder: set XDG_CACHE_HOME or HOME, or put the binaries into a folder named by MOORING_KUBE_BIN"
    )]
    NoCacheFolder,
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
        progress.note(&format!("{} is not {}: not used", file.display(), binary.module().release()));
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
    cache.join(binary.module().folder()).join(binary.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_releases_from_go_mod() {
        assert_eq!(KUBERNETES.release(), "v1.36.3");
        assert_eq!(SANITY.release(), "v5.6.0");
        assert!(KUBERNETES.version_of("go.etcd.io/etcd/server/v3").starts_with("v3."));
        assert_eq!(KUBERNETES.version_of("not.there/at/all"), "");
    }

    #[test]
    fn names_every_staging_module_at_the_release() {
        let staging = format!(" v0.{}", KUBERNETES.release().trim_start_matches("v1."));
        let replaced: Vec<&str> = KUBERNETES.go_mod.lines().filter(|line| line.contains(" => ")).collect();
        assert!(replaced.len() > 25, "only {} replaced", replaced.len());
        for line in replaced {
            assert!(line.ends_with(&staging), "{line}");
        }
    }

    #[test]
    fn every_binary_is_a_tool_of_its_module() {
        let all = [Binary::Kubelet, Binary::CsiSanity].into_iter().chain(Binary::CONTROL_PLANE);
        for binary in all {
            let go_mod = binary.module().go_mod;
            assert!(
                go_mod.lines().any(|line| line.trim().trim_start_matches("tool ") == binary.package()),
                "{binary:?}"
            );
        }
    }
}
