//! What runs on every node stays small: it knows no Kubernetes API client.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};
use cluster::built::cargo;

use super::complaint::Complaint;
use super::source::Source;

/// The crates of the node's side; those that do not exist yet are passed over.
const CRATES: &[&str] = &["base", "csi", "csc", "driver", "registrar", "liveness"];
/// What none of them may need.
const FORBIDDEN: &[&str] = &["kube", "k8s-openapi", "hyper-rustls"];

/// Asks cargo what each crate of the node's side needs.
pub(crate) fn check(files: &[Source]) -> Result<Vec<Complaint>> {
    let exists = |name: &&&str| {
        let named = format!("name = \"{name}\"");
        let manifests = files.iter().filter(|file| file.path.ends_with("/Cargo.toml"));
        manifests.into_iter().any(|file| file.text.lines().any(|line| line == named))
    };
    let mut found = Vec::new();
    for name in CRATES.iter().filter(exists) {
        let mut tree = cargo();
        tree.current_dir(super::source::root());
        tree.args(["tree", "--package", name, "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
        let output = tree.output().context("cargo tree cannot run")?;
        if !output.status.success() {
            bail!("cargo tree of {name} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        found.extend(judge(name, &String::from_utf8_lossy(&output.stdout)));
    }
    Ok(found)
}

/// Complains of what `name` may not need, by the list of all that it needs.
fn judge(name: &str, tree: &str) -> Vec<Complaint> {
    let needed: BTreeSet<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let wrong = FORBIDDEN.iter().filter(|package| needed.contains(*package));
    wrong
        .map(|package| {
            let how = format!("cargo tree -p {name} -e normal -i {package}");
            Complaint::of(name, format!("needs {package}; see `{how}`"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_side_crate_may_not_need_kube() {
        let tree = "csc v0.1.0 (/src/csc)\nkubelet-like v1.0.0\nhyper-rustls v0.27.10\nkube v5.0.0 (*)\n";
        let found: Vec<String> = judge("csc", tree).into_iter().map(|it| it.text).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().any(|text| text.starts_with("needs kube;")), "{found:?}");
        assert_eq!(judge("csc", "csc v0.1.0\ntonic v0.14.9\n"), []);
    }
}
