//! What a control plane is to have.

use crate::binaries::{Binaries, Binary, Progress};

/// What to start. The default is etcd, the API server and the controller manager.
#[derive(Debug, Clone)]
pub struct Options {
    /// Start kube-scheduler too: late-bound claims get their node, pods theirs.
    pub scheduler: bool,
    /// Start kube-controller-manager: binding, attach-detach, garbage collection, tokens.
    pub controller_manager: bool,
    /// Feature gates of all components, each `Name=true` or `Name=false`.
    pub feature_gates: Vec<String>,
    /// Further flags of kube-apiserver, each `--flag=value`.
    pub api_server_flags: Vec<String>,
    /// klog level of all components.
    pub verbosity: u8,
    /// How the building of missing binaries is shown.
    pub progress: Progress,
    /// Binaries to use; those of the release under test are found or built where it has none.
    pub binaries: Binaries,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            scheduler: false,
            controller_manager: true,
            feature_gates: Vec::new(),
            api_server_flags: Vec::new(),
            verbosity: 1,
            progress: Progress::auto(),
            binaries: Binaries::default(),
        }
    }
}

impl Options {
    /// What is started.
    pub fn components(&self) -> Vec<Binary> {
        let asked =
            [(self.controller_manager, Binary::ControllerManager), (self.scheduler, Binary::Scheduler)];
        let asked = asked.into_iter().filter_map(|(wanted, binary)| wanted.then_some(binary));
        [Binary::Etcd, Binary::ApiServer].into_iter().chain(asked).collect()
    }
}
