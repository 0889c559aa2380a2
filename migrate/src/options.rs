//! What a command is told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use translation::Plugins;

use crate::decide::Scope;

/// What `--policy-lag` is unless it is given.
pub(crate) const LAG: Duration = Duration::from_secs(3);

/// What is to be done, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub(crate) scope: Scope,
    /// Only the PersistentVolume of this name.
    pub only: Option<String>,
    /// The undo file.
    pub file: PathBuf,
    /// How long the other API servers may take longer than ours to follow a new policy.
    pub lag: Duration,
    /// The API server's address, by which people know the cluster.
    pub server: String,
    /// The kubeconfig that was named.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context that was named.
    pub(crate) context: Option<String>,
}

impl Options {
    /// Those for every volume of the plugins that Kubernetes translates, with this undo file.
    pub fn with_file(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), ..Self::default() }
    }

    /// Those for the volumes of these plugins.
    pub fn of(mut self, plugins: Plugins) -> Self {
        self.scope.plugins = plugins;
        self
    }

    /// Those for volumes in use too.
    pub fn in_use(mut self) -> Self {
        self.scope.in_use = true;
        self
    }

    /// Those for disks of this project of GCE.
    pub fn in_project(mut self, project: impl Into<String>) -> Self {
        self.scope.gce_project = Some(project.into());
        self
    }

    /// The command that does the same with this flag and this undo file, for a shell.
    pub(crate) fn command(&self, flag: &str, file: &Path) -> String {
        let mut words = vec![format!("{flag}={}", file.display())];
        words.extend(self.only.as_ref().map(|name| format!("--volume={name}")));
        words.extend(self.scope.in_use.then(|| "--in-use".to_owned()));
        words.extend(self.scope.hand_made.then(|| "--hand-made".to_owned()));
        words.extend(self.scope.gce_project.as_ref().map(|project| format!("--gce-project={project}")));
        words.extend(self.scope.plugins.rbd.then(|| "--rbd".to_owned()));
        if self.lag != LAG {
            words.push(format!("--policy-lag={}ms", self.lag.as_millis()));
        }
        if let Some(path) = &self.kubeconfig {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            words.push(format!("--kubeconfig={}", path.display()));
        }
        words.extend(self.context.as_ref().map(|context| format!("--context={context}")));
        words.iter().fold("mooring migrate".to_owned(), |all, word| format!("{all} {}", quoted(word)))
    }

    /// Whether the PersistentVolume of this name is meant.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == name)
    }
}

/// The word as a shell reads it.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_=./:,@+".contains(letter);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_goes_on_has_every_flag_that_was_given() {
        let mut options = Options { lag: LAG, ..Options::with_file("f") };
        let command = |options: &Options| options.command("--undo", Path::new("/it's f"));
        assert_eq!(command(&options), r"mooring migrate '--undo=/it'\''s f'");
        options = options.of(Plugins { rbd: true }).in_use().in_project("p");
        options.only = Some("x".to_owned());
        options.scope.hand_made = true;
        options.kubeconfig = Some("/k".into());
        options.context = Some("prod".to_owned());
        options.lag = Duration::ZERO;
        let all = " --volume=x --in-use --hand-made --gce-project=p --rbd --policy-lag=0ms --kubeconfig=/k --context=prod";
        assert!(command(&options).ends_with(all), "{}", command(&options));
    }
}
