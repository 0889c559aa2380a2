//! Which binaries there are: what each is called, where it comes from, how it tells its version.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use super::error::BinariesError;

/// A Go module of ours: versions, and in one case a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Module {
    /// What the cache folder's name begins with.
    name: &'static str,
    /// The module whose version names the release.
    main: &'static str,
    pub(super) go_mod: &'static str,
    pub(super) go_sum: &'static str,
    /// A program of our own in it; `None` for what upstream makes.
    pub(super) program: Option<&'static str>,
}

/// The release that the tests run.
const KUBERNETES: Module = Module {
    name: "kubernetes",
    main: "k8s.io/kubernetes",
    go_mod: include_str!("../../go/kubernetes/go.mod"),
    go_sum: include_str!("../../go/kubernetes/go.sum"),
    program: None,
};
/// The release before it, for one run of the tests before each release of Mooring.
const KUBERNETES_BEFORE: Module = Module {
    go_mod: include_str!("../../go/kubernetes-before/go.mod"),
    go_sum: include_str!("../../go/kubernetes-before/go.sum"),
    ..KUBERNETES
};
pub(super) const SANITY: Module = Module {
    name: "csi-sanity",
    main: "github.com/kubernetes-csi/csi-test/v5",
    go_mod: include_str!("../../go/sanity/go.mod"),
    go_sum: include_str!("../../go/sanity/go.sum"),
    program: None,
};
pub(super) const ATTACHER: Module = Module {
    name: "csi-attacher",
    main: "github.com/kubernetes-csi/external-attacher/v4",
    go_mod: include_str!("../../go/attacher/go.mod"),
    go_sum: include_str!("../../go/attacher/go.sum"),
    program: None,
};
pub(super) const PROVISIONER: Module = Module {
    name: "csi-provisioner",
    main: "github.com/kubernetes-csi/external-provisioner/v6",
    go_mod: include_str!("../../go/provisioner/go.mod"),
    go_sum: include_str!("../../go/provisioner/go.sum"),
    program: None,
};
pub(super) const RESIZER: Module = Module {
    name: "csi-resizer",
    main: "github.com/kubernetes-csi/external-resizer/v2",
    go_mod: include_str!("../../go/resizer/go.mod"),
    go_sum: include_str!("../../go/resizer/go.sum"),
    program: None,
};
pub(super) const TRANSLATION: Module = Module {
    name: "csi-translation",
    main: "k8s.io/csi-translation-lib",
    go_mod: include_str!("../../go/translation/go.mod"),
    go_sum: include_str!("../../go/translation/go.sum"),
    program: Some(include_str!("../../go/translation/main.go")),
};

pub(super) const HELM: Module = Module {
    name: "helm",
    main: "helm.sh/helm/v3",
    go_mod: include_str!("../../go/helm/go.mod"),
    go_sum: include_str!("../../go/helm/go.sum"),
    program: None,
};

/// Changes with the linker flags of `build.rs`, so that binaries built with other flags are not taken for ours.
const FLAGS_VERSION: &str = "1";

const ETCD: &str = "go.etcd.io/etcd/server/v3";

/// Names the Kubernetes release to run: empty or unset for the usual one.
const CHOICE: &str = "MOORING_KUBERNETES";

/// The module of the Kubernetes release that `choice` names; the usual one for no choice, `None` for one that no module
/// here builds.
fn kubernetes_of(choice: &str) -> Option<Module> {
    if choice.is_empty() {
        return Some(KUBERNETES);
    }
    [KUBERNETES, KUBERNETES_BEFORE].into_iter().find(|module| module.release() == choice)
}

fn choice() -> String {
    std::env::var(CHOICE).unwrap_or_default()
}

/// Refuses a choice that no module here builds.
pub(super) fn check_choice() -> Result<(), BinariesError> {
    let choice = choice();
    match kubernetes_of(&choice) {
        Some(_) => Ok(()),
        None => Err(BinariesError::NoSuchRelease {
            choice,
            releases: [KUBERNETES.release(), KUBERNETES_BEFORE.release()],
        }),
    }
}

/// The Kubernetes release that the binaries are of: the one in `MOORING_KUBERNETES`, or the usual one. Tests compare with
/// it what the API server says.
pub fn kubernetes_release() -> &'static str {
    kubernetes().release()
}

/// The module chosen. What is no choice counts as the usual one here: `ensure` has refused it before.
fn kubernetes() -> Module {
    kubernetes_of(&choice()).unwrap_or(KUBERNETES)
}

impl Module {
    /// The version of `module` in its go.mod; empty when it is not there.
    pub(super) fn version_of(&self, module: &str) -> &'static str {
        let mut words = self.go_mod.lines().map(|line| line.trim().trim_start_matches("require "));
        words
            .find_map(|line| line.strip_prefix(module)?.strip_prefix(' ')?.split(' ').next())
            .unwrap_or_default()
    }

    /// The release that it builds, for example `v1.37.2`.
    pub(crate) fn release(&self) -> &'static str {
        self.version_of(self.main)
    }

    /// The cache folder's name: other versions in go.sum or other build flags are another folder.
    pub(super) fn folder(&self) -> String {
        let parts = [self.go_mod, self.go_sum, self.program.unwrap_or_default(), FLAGS_VERSION];
        // FNV-1a: stable from one Rust release to the next, which the standard hasher is not.
        let hash =
            parts.iter().flat_map(|part| part.bytes()).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        format!("{}-{}-{:08x}", self.name, self.release(), hash & 0xffff_ffff)
    }
}

/// Which version of a binary that somebody else made will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// The very release that we would build: the tests compare with what it does.
    Release,
    /// The same minor release (for etcd the one before too, for kubectl the ones beside it): enough to show something.
    Minor,
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
    /// The Go csi-provisioner, which ours takes over from and is compared with.
    CsiProvisioner,
    /// The Go csi-attacher, which ours takes over from and is measured against.
    CsiAttacher,
    /// The Go csi-resizer, likewise.
    CsiResizer,
    /// A program of ours that answers with upstream's translation of in-tree volumes.
    CsiTranslation,
    /// helm, which renders our chart.
    Helm,
}

/// What makes a binary know its version: without it `/version` is wrong and clients misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stamp {
    /// Its code says it.
    InCode,
    /// This variable of its.
    Variable(&'static str),
    /// The variables of the Kubernetes components.
    Kubernetes,
}

/// How a binary is made and recognised.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recipe {
    pub(super) name: &'static str,
    pub(super) module: Module,
    /// The Go package with its `main`.
    pub(super) package: &'static str,
    pub(super) stamp: Stamp,
    /// The arguments with which it says its version.
    asked: &'static [&'static str],
    /// What it says before the version.
    says: &'static str,
}

/// A Go sidecar, or our program in its manner. What it says before the version is its argv[0], which is its name whatever file it is.
fn sidecar(name: &'static str, module: Module, package: &'static str, says: &'static str) -> Recipe {
    Recipe { name, module, package, stamp: Stamp::Variable("main.version"), asked: &["--version"], says }
}

/// A program of Kubernetes.
fn component(name: &'static str, package: &'static str) -> Recipe {
    let (stamp, module) = (Stamp::Kubernetes, kubernetes());
    Recipe { name, module, package, stamp, asked: &["--version"], says: "Kubernetes " }
}

impl Binary {
    /// What a control plane needs, and kubectl beside it.
    pub const CONTROL_PLANE: [Binary; 5] =
        [Binary::Etcd, Binary::ApiServer, Binary::ControllerManager, Binary::Scheduler, Binary::Kubectl];

    /// All that the tests of the workspace run.
    pub const TESTS: [Binary; 11] = [
        Binary::Etcd,
        Binary::ApiServer,
        Binary::ControllerManager,
        Binary::Scheduler,
        Binary::Kubectl,
        Binary::CsiSanity,
        Binary::CsiProvisioner,
        Binary::CsiAttacher,
        Binary::CsiResizer,
        Binary::CsiTranslation,
        Binary::Helm,
    ];

    /// All that there are.
    pub const ALL: [Binary; 12] = [
        Binary::Etcd,
        Binary::ApiServer,
        Binary::ControllerManager,
        Binary::Scheduler,
        Binary::Kubectl,
        Binary::Kubelet,
        Binary::CsiSanity,
        Binary::CsiProvisioner,
        Binary::CsiAttacher,
        Binary::CsiResizer,
        Binary::CsiTranslation,
        Binary::Helm,
    ];

    /// The file name.
    pub fn name(self) -> &'static str {
        self.recipe().name
    }

    pub(super) fn recipe(self) -> Recipe {
        match self {
            Binary::Etcd => Recipe {
                name: "etcd",
                module: kubernetes(),
                package: ETCD,
                stamp: Stamp::InCode,
                asked: &["--version"],
                says: "etcd Version: ",
            },
            Binary::ApiServer => component("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
            Binary::ControllerManager => {
                component("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager")
            }
            Binary::Scheduler => component("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
            Binary::Kubelet => component("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
            Binary::Kubectl => Recipe {
                asked: &["version", "--client"],
                says: "Client Version: ",
                ..component("kubectl", "k8s.io/kubernetes/cmd/kubectl")
            },
            Binary::CsiSanity => Recipe {
                name: "csi-sanity",
                module: SANITY,
                package: "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity",
                stamp: Stamp::Variable("main.VERSION"),
                asked: &["--version"],
                says: "Version = ",
            },
            Binary::CsiProvisioner => sidecar(
                "csi-provisioner",
                PROVISIONER,
                "github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner",
                "csi-provisioner ",
            ),
            Binary::CsiAttacher => sidecar(
                "csi-attacher",
                ATTACHER,
                "github.com/kubernetes-csi/external-attacher/v4/cmd/csi-attacher",
                "csi-attacher ",
            ),
            Binary::CsiResizer => sidecar(
                "csi-resizer",
                RESIZER,
                "github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer",
                "csi-resizer ",
            ),
            Binary::CsiTranslation => sidecar("csi-translation", TRANSLATION, ".", "csi-translation-lib "),
            Binary::Helm => Recipe {
                name: "helm",
                module: HELM,
                package: "helm.sh/helm/v3/cmd/helm",
                stamp: Stamp::Variable("helm.sh/helm/v3/internal/version.version"),
                asked: &["version", "--template={{.Version}}\n"],
                says: "",
            },
        }
    }

    /// The version that the executable `file` says it is of; `None` when it does not run, or says none.
    pub(super) fn version_of(self, file: &Path) -> Option<String> {
        let Recipe { name, asked, says, .. } = self.recipe();
        let output = Command::new(file).arg0(name).args(asked).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().find_map(|line| line.trim().strip_prefix(says)).map(str::to_owned)
    }

    /// The version that we would build, as the binary says it.
    pub(super) fn our_version(self) -> &'static str {
        let module = self.recipe().module;
        match self {
            Binary::Etcd => module.version_of(ETCD).trim_start_matches('v'),
            _ => module.release(),
        }
    }

    /// Whether a binary that says `version` will do.
    pub(super) fn fits(self, version: &str, fit: Fit) -> bool {
        let ours = self.our_version();
        if fit == Fit::Release {
            return version == ours;
        }
        let (Some((major, minor)), Some((our_major, our_minor))) = (line(version), line(ours)) else {
            return false;
        };
        let minors = match self {
            // The API server speaks to the etcd before, and kubectl to the API servers beside its own.
            Binary::Etcd => our_minor.saturating_sub(1)..=our_minor,
            Binary::Kubectl => our_minor.saturating_sub(1)..=our_minor + 1,
            _ => our_minor..=our_minor,
        };
        major == our_major && minors.contains(&minor)
    }
}

/// Major and minor of a version.
fn line(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim_start_matches('v').split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests;
