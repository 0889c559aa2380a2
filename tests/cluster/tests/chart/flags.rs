//! Our programs take the flags that the chart renders.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use cluster::built::executable;
use serde_json::Value;

use crate::helm::{all_values, render, sidecars};

/// What the program logs up to its version, which it says once it has read its flags; otherwise all that it says.
fn said(mooring: &Path, name: &str, container: &Value) -> String {
    let args = container["args"].as_array().expect("args").iter().map(|arg| {
        let arg = arg.as_str().expect("text");
        // Another test's port, or none at all.
        arg.strip_prefix("--http-endpoint=:")
            .map_or(arg.to_owned(), |_| "--http-endpoint=127.0.0.1:0".to_owned())
    });
    let mut command = Command::new(mooring);
    command.arg(name).args(args).env_remove("KUBERNETES_SERVICE_HOST").env_remove("KUBECONFIG");
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("started");
    let mut text = String::new();
    for line in BufReader::new(child.stderr.take().expect("its log")).lines() {
        text.push_str(&line.expect("text"));
        text.push('\n');
        if text.contains("\"Version\"") {
            break;
        }
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    text
}

#[test]
fn programs_take_the_flags_of_every_values_file() {
    let mooring = executable("mooring", "mooring").expect("mooring");
    let mut seen = std::collections::BTreeSet::new();
    for file in all_values() {
        let objects = render(&file, &[]).expect("rendered");
        for (name, container) in sidecars(&objects) {
            // One values file has an image of its own.
            let name = if name == "mooring" { "controller".to_owned() } else { name };
            let text = said(&mooring, &name, container);
            assert!(text.contains(&format!("\"Version\" program=\"{name}\"")), "{file:?} {name}: {text}");
            seen.insert(name);
        }
    }
    let all = [
        "controller",
        "csi-attacher",
        "csi-node-driver-registrar",
        "csi-provisioner",
        "csi-resizer",
        "livenessprobe",
        "node",
    ];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), all);
}

#[test]
fn flag_that_does_not_exist_is_noticed() {
    let mooring = executable("mooring", "mooring").expect("mooring");
    let container = serde_json::json!({"args": ["--csi-address=/csi/csi.sock", "--no-such-flag"]});
    let text = said(&mooring, "csi-provisioner", &container);
    assert!(text.contains("no-such-flag") && !text.contains("\"Version\""), "{text}");
}
