//! The bill of materials of the images, as CycloneDX 1.5: every crate that is in an executable, with its licence and checksum.
//!
//! It comes from Cargo.lock and from what cargo says of the crates. Nothing in it tells when or where it was made.

#![allow(clippy::indexing_slicing, reason = "JSON that is asked for a name it has not gives null")]

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use cluster::built::cargo;
use cluster::image::Platform;
use serde_json::{Value, json};

use crate::tool::root;

/// The packages whose executables are in the images.
const SHIPPED: [&str; 2] = ["mooring", "driver"];

/// The bill of what is in the images of any of these platforms.
///
/// # Errors
/// Cargo cannot say what it builds from.
pub(crate) fn written(platforms: &[Platform]) -> Result<String> {
    let mut metadata = cargo();
    metadata
        .args(["metadata", "--format-version=1", "--locked", "--manifest-path"])
        .arg(root().join("Cargo.toml"));
    metadata.args(platforms.iter().flat_map(|platform| ["--filter-platform", platform.target]));
    let output = metadata.output().context("cargo metadata cannot run")?;
    if !output.status.success() {
        bail!("cargo metadata fails: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).context("Cargo.lock")?;
    let bill = bill(&metadata, &checksums(&lock)).context("cargo metadata has changed its form")?;
    Ok(serde_json::to_string_pretty(&bill)? + "\n")
}

/// The checksum of each crate, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let blocks = lock.split("[[package]]").skip(1);
    let read = |block: &str| {
        let field = |name: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""));
            line.map(|value| value.trim_end_matches('"').to_owned())
        };
        Some(((field("name")?, field("version")?), field("checksum")?))
    };
    blocks.filter_map(read).collect()
}

fn bill(metadata: &Value, checksums: &BTreeMap<(String, String), String>) -> Option<Value> {
    let packages: BTreeMap<&str, &Value> = metadata["packages"]
        .as_array()?
        .iter()
        .filter_map(|package| Some((package["id"].as_str()?, package)))
        .collect();
    let uses = uses(metadata)?;
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = packages
        .iter()
        .filter(|(_, package)| {
            package["source"].is_null() && SHIPPED.iter().any(|name| package["name"] == *name)
        })
        .map(|(id, _)| *id)
        .collect();
    while let Some(id) = next.pop() {
        if reached.insert(id) {
            next.extend(uses.get(id).into_iter().flatten().copied());
        }
    }
    let url = |id: &str| {
        let package = packages.get(id)?;
        Some(format!("pkg:cargo/{}@{}", package["name"].as_str()?, package["version"].as_str()?))
    };
    let mut components = Vec::new();
    let mut dependencies = Vec::new();
    for id in &reached {
        components.push(component(packages.get(id)?, &url(id)?, checksums));
        let of_it: BTreeSet<String> = uses.get(id).into_iter().flatten().filter_map(|id| url(id)).collect();
        dependencies.push(json!({ "ref": url(id)?, "dependsOn": of_it }));
    }
    components.sort_by_key(|one| one["bom-ref"].as_str().map(str::to_owned));
    dependencies.sort_by_key(|one| one["ref"].as_str().map(str::to_owned));
    let version = packages.values().find(|package| package["name"] == "mooring")?["version"].clone();
    Some(json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": { "type": "container", "name": "mooring", "version": version } },
        "components": components,
        "dependencies": dependencies,
    }))
}

/// What each package is linked with: not what only builds or tests it.
fn uses(metadata: &Value) -> Option<BTreeMap<&str, Vec<&str>>> {
    let mut uses = BTreeMap::new();
    for node in metadata["resolve"]["nodes"].as_array()? {
        let is_linked = |dependency: &&Value| {
            dependency["dep_kinds"]
                .as_array()
                .is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
        };
        let linked = node["deps"].as_array()?.iter().filter(is_linked);
        uses.insert(
            node["id"].as_str()?,
            linked.filter_map(|dependency| dependency["pkg"].as_str()).collect(),
        );
    }
    Some(uses)
}

fn component(package: &Value, url: &str, checksums: &BTreeMap<(String, String), String>) -> Value {
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let mut component = json!({
        "type": "library",
        "bom-ref": url,
        "name": package["name"],
        "version": package["version"],
        "purl": url,
        // Some crates still separate licences with a slash, which means OR.
        "licenses": [{ "expression": text("license").replace('/', " OR ") }],
    });
    if let (Some(component), Some(checksum)) =
        (component.as_object_mut(), checksums.get(&(text("name"), text("version"))))
    {
        component.insert("hashes".to_owned(), json!([{ "alg": "SHA-256", "content": checksum }]));
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::image::PLATFORMS;

    #[test]
    fn bill_names_what_is_linked_and_nothing_else() {
        let text = written(&PLATFORMS).expect("a bill");
        assert_eq!(written(&PLATFORMS).expect("again"), text, "the same each time");
        let bill: Value = serde_json::from_str(&text).expect("JSON");
        let components = bill["components"].as_array().expect("components");
        let named = |name: &str| components.iter().find(|one| one["name"] == name);
        let tokio = named("tokio").expect("tokio is linked");
        assert_eq!(tokio["licenses"][0]["expression"], "MIT");
        assert_eq!(tokio["hashes"][0]["content"].as_str().map(str::len), Some(64));
        assert_eq!(
            tokio["purl"],
            format!("pkg:cargo/tokio@{}", tokio["version"].as_str().expect("a version"))
        );
        for linked in ["mooring", "driver", "provisioner", "ring", "kube"] {
            assert!(named(linked).is_some(), "{linked}");
        }
        for only_builds_or_tests in ["cc", "prost-build", "cluster", "xtask", "proptest", "tempfile"] {
            assert!(named(only_builds_or_tests).is_none(), "{only_builds_or_tests}");
        }
        for one in components {
            assert_ne!(one["licenses"][0]["expression"], "", "{one}");
        }
        let refs: BTreeSet<_> = components.iter().map(|one| one["bom-ref"].as_str()).collect();
        for dependency in bill["dependencies"].as_array().expect("dependencies") {
            for on in dependency["dependsOn"].as_array().expect("a list") {
                assert!(refs.contains(&on.as_str()), "{dependency}");
            }
        }
    }

    #[test]
    fn checksum_is_read_by_name_and_version() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"s\"\nchecksum = \"12\"\n\n\
                    [[package]]\nname = \"ours\"\nversion = \"0.1.0\"\n";
        let read = checksums(lock);
        assert_eq!(
            read.into_iter().collect::<Vec<_>>(),
            [(("a".to_owned(), "1.0.0".to_owned()), "12".to_owned())]
        );
    }
}
