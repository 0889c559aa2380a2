//! `cargo xtask image`: the container images of the build that ships, in one archive in the OCI image layout.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use cluster::image::ours;

use crate::dist;

/// Builds the executables and writes the archive: `FILE`, or one beside the executables.
pub(crate) fn run(file: Option<&str>) -> ExitCode {
    match image(file) {
        Ok(lines) => {
            println!("{lines}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn image(file: Option<&str>) -> Result<String> {
    let executables = dist::built()?;
    let [mooring, driver, ..] = executables.as_slice() else { bail!("nothing is built") };
    let file = file.map_or_else(|| mooring.with_file_name("images.tar"), PathBuf::from);
    let archive = ours(mooring, driver)?;
    archive.write(&file)?;
    let size = std::fs::metadata(&file).with_context(|| format!("cannot read {}", file.display()))?.len();
    Ok(told(&archive.names(), size, &file))
}

/// What there is now, and what can be done with it.
fn told(names: &[String], size: u64, file: &Path) -> String {
    let file = file.display();
    format!(
        "{}\n{:.1} MB {file}\n\nOn each node:\n  ctr --namespace k8s.io images import {file}",
        names.join("\n"),
        // A size for people.
        size as f64 / 1e6,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_works_is_told() {
        let told = told(&["mooring/node:v1".to_owned()], 1_500_000, Path::new("/a/images.tar"));
        assert!(told.starts_with("mooring/node:v1\n1.5 MB /a/images.tar\n"), "{told}");
        assert!(told.ends_with("\n  ctr --namespace k8s.io images import /a/images.tar"), "{told}");
        assert!(!told.contains("load"), "{told}");
    }
}
