//! What a command is told.

use std::path::PathBuf;
use std::time::Duration;

use translation::Plugins;

use crate::decide::Told;

/// What is to be done, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub(crate) told: Told,
    /// Only the PersistentVolume of this name.
    pub only: Option<String>,
    /// The undo file.
    pub file: PathBuf,
    /// How long the other API servers may take longer than ours to follow a new policy.
    pub lag: Duration,
    /// The API server's address, by which people know the cluster.
    pub server: String,
}

impl Options {
    /// Those for every volume of the plugins that Kubernetes translates, with this undo file.
    pub fn with_file(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), ..Self::default() }
    }

    /// Those for the volumes of these plugins.
    pub fn of(mut self, plugins: Plugins) -> Self {
        self.told.plugins = plugins;
        self
    }

    /// Those for volumes in use too.
    pub fn in_use(mut self) -> Self {
        self.told.in_use = true;
        self
    }

    /// Those for disks of this project of GCE.
    pub fn in_project(mut self, project: impl Into<String>) -> Self {
        self.told.gce_project = Some(project.into());
        self
    }

    /// Whether the PersistentVolume of this name is meant.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == name)
    }
}
