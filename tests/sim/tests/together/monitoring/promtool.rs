//! promtool, as the tests call it.

use std::path::{Path, PathBuf};
use std::process::Command;

use cluster::skip::{Lack, left_out};
use serde_json::{Value, json};

/// The folder of the files.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests/monitoring")
}

/// The text of one of the files.
pub(crate) fn file(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).expect("a file of manifests/monitoring")
}

/// Whether promtool runs. If not, says that `what` is left out.
pub(crate) fn is_here(what: &str) -> bool {
    let runs = Command::new("promtool").arg("--version").output().is_ok_and(|output| output.status.success());
    if !runs {
        left_out(what, Lack::Tool("promtool"));
    }
    runs
}

/// Runs `promtool` with `arguments` and a file; what it says is the error.
pub(crate) fn run(arguments: &[&str], file: &Path) -> Result<(), String> {
    let output = Command::new("promtool").args(arguments).arg(file).output().expect("promtool runs");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// Runs `promtool test rules` on these series, one sample a minute, with our rules. Each expectation is an expression, the
/// minute that it is asked for, and whether it is 1 (`true`) or has no result (`false`).
pub(crate) fn ask(series: &[(String, String)], expected: &[(String, usize, bool)]) -> Result<(), String> {
    let input: Vec<Value> =
        series.iter().map(|(series, values)| json!({"series": series, "values": values})).collect();
    let expected: Vec<Value> = expected
        .iter()
        .map(|(expression, minute, is_one)| {
            let one = json!([{"labels": "{}", "value": 1}]);
            let samples = if *is_one { one } else { json!([]) };
            json!({"expr": expression, "eval_time": format!("{minute}m"), "exp_samples": samples})
        })
        .collect();
    let rules = folder().join("rules.yaml");
    let tests = json!({
        "rule_files": [rules], "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": input, "promql_expr_test": expected}],
    });
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tests.yaml");
    std::fs::write(&file, tests.to_string()).expect("written");
    run(&["test", "rules"], &file)
}
