//! Kubeconfigs: where they are, and what several of them say together.

use std::path::{Path, PathBuf};

use kube::config::{Kubeconfig, KubeconfigError};

/// Where kubectl looks, for commands that people run: the file of the flag, what `KUBECONFIG` names, or `~/.kube/config` if that
/// is there. `KUBECONFIG` may name several files, with colons between them.
pub fn as_kubectl(flag: &str) -> Option<PathBuf> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if !flag.is_empty() {
        return Some(flag.into());
    }
    let home = || Some(PathBuf::from(set("HOME")?).join(".kube/config"));
    set("KUBECONFIG").map(PathBuf::from).or_else(|| home().filter(|path| path.is_file()))
}

/// Reads the file, or those of a list with colons. Of a list, files that are not there are left out, and the first one to name
/// a cluster, a user or a context wins, as with kubectl.
pub(super) fn read(path: &Path) -> Result<Kubeconfig, KubeconfigError> {
    let paths: Vec<PathBuf> = std::env::split_paths(path).filter(|path| path.is_file()).collect();
    match paths.split_first() {
        Some((first, more)) if !path.is_file() => more
            .iter()
            .try_fold(Kubeconfig::read_from(first)?, |all, next| all.merge(Kubeconfig::read_from(next)?)),
        _ => Kubeconfig::read_from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {name}\ncontexts:\n- name: {name}\n  context: {{cluster: {name}, user: {name}}}\n\
             clusters:\n- name: {name}\n  cluster: {{server: \"https://{name}\"}}\nusers:\n- name: {name}\n  user: {{token: t}}\n"
        )
    }

    #[test]
    fn several_files_are_one_and_missing_ones_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["a", "b"] {
            std::fs::write(path(name), named(name)).unwrap();
        }
        let list = std::env::join_paths([path("none"), path("a"), path("b")]).unwrap();
        let both = read(Path::new(&list)).unwrap();
        let names: Vec<&str> = both.contexts.iter().map(|context| context.name.as_str()).collect();
        assert_eq!((names, both.current_context.as_deref()), (vec!["a", "b"], Some("a")));
        assert_eq!(read(&path("b")).unwrap().current_context.as_deref(), Some("b"));
        assert!(read(&path("none")).is_err());
    }
}
