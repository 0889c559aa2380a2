//! Runs helm.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use cluster::apply::documents;
use cluster::binaries::{Binaries, Binary, Progress, ensure, kubernetes_release};
use serde_json::Value;

pub(crate) const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/mooring");

/// The namespace that the chart is rendered for.
pub(crate) const NAMESPACE: &str = "csi";

fn helm() -> Command {
    static HELM: OnceLock<Binaries> = OnceLock::new();
    let binaries = HELM.get_or_init(|| ensure(&[Binary::Helm], &Progress::auto()).expect("helm"));
    Command::new(binaries.path(Binary::Helm))
}

/// Every file of values beside the chart.
pub(crate) fn all_values() -> Vec<PathBuf> {
    let files = std::fs::read_dir(Path::new(CHART).join("ci")).expect("the chart's values");
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    files
}

/// One of them.
pub(crate) fn values(name: &str) -> PathBuf {
    Path::new(CHART).join("ci").join(format!("{name}.yaml"))
}

fn run(command: &str, before: &[&str], values: &Path, set: &[&str]) -> Result<String, String> {
    let mut helm = helm();
    helm.arg(command).args(before).arg(CHART).arg("--values").arg(values);
    helm.args(["--namespace", NAMESPACE, "--kube-version", kubernetes_release()]);
    helm.args(set.iter().flat_map(|value| ["--set", value]));
    let output = helm.output().expect("helm runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stdout) + &text(&output.stderr)),
    }
}

/// What `helm lint --strict` says, or complains of.
pub(crate) fn lint(values: &Path) -> Result<String, String> {
    run("lint", &["--strict"], values, &[])
}

/// The objects that the chart makes of these values and settings, or what helm says instead.
pub(crate) fn render(values: &Path, set: &[&str]) -> Result<Vec<Value>, String> {
    run("template", &["site"], values, set).map(|text| documents(&text).expect("YAML"))
}

/// The objects of one kind.
pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// The containers of all workloads that run our images, with the image's name.
pub(crate) fn sidecars(objects: &[Value]) -> Vec<(String, &Value)> {
    let containers = objects
        .iter()
        .filter_map(|object| object.pointer("/spec/template/spec/containers").and_then(Value::as_array));
    let ours = containers.flatten().filter(|one| one["name"] != "driver" && one["name"] != "ebs-plugin");
    ours.map(|one| {
        let image = one["image"].as_str().expect("an image");
        let name = image.rsplit('/').next().expect("a name").split([':', '@']).next();
        (name.expect("a name").to_owned(), one)
    })
    .collect()
}
