//! `cargo xtask image`: the container images of the build that ships, in one archive in the OCI image layout.
//!
//! Beside it: a bill of materials, and the file trees of the images, from which `Containerfile` makes the same images.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use cluster::image::{Build, PLATFORMS, Platform, TAG, ours, sidecars};

use crate::{dist, sbom};

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    file: Option<PathBuf>,
    platforms: Vec<Platform>,
    twice: bool,
}

/// Builds the executables and writes the archive: `FILE`, or one beside the executables.
pub(crate) fn run(words: &[&str]) -> ExitCode {
    match request(words).and_then(|request| image(&request)) {
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

fn request(words: &[&str]) -> Result<Request> {
    let mut request = Request { file: None, platforms: Vec::new(), twice: false };
    for word in words {
        match word.split_once('=') {
            Some(("--platforms", "all")) => request.platforms.extend(PLATFORMS),
            Some(("--platforms", names)) => {
                for name in names.split(',') {
                    request.platforms.push(Platform::named(name)?);
                }
            }
            _ if *word == "--twice" => request.twice = true,
            _ if word.starts_with('-') => bail!("cargo xtask image does not know {word}"),
            _ => request.file = Some(PathBuf::from(word)),
        }
    }
    if request.platforms.is_empty() {
        request.platforms.push(Platform::here()?);
    }
    Ok(request)
}

fn image(request: &Request) -> Result<String> {
    let target = dist::target_folder()?;
    let builds = builds(&request.platforms, &target)?;
    let mut lines = Vec::new();
    for build in &builds {
        lines.push(tried(build)?);
    }
    if request.twice {
        lines.extend(compared(&builds, &self::builds(&request.platforms, &target.join("again"))?)?);
    }
    let file = match &request.file {
        Some(file) => file.clone(),
        None => builds.first().context("no platform")?.mooring.with_file_name("images.tar"),
    };
    for build in &builds {
        let tree = |what: &str| file.with_file_name(format!("{what}-{}.tar", build.platform.architecture));
        build.sidecars_layer()?.write(&tree("mooring"))?;
        if let Some(layer) = build.driver_layer()? {
            layer.write(&tree("mooring-driver"))?;
        }
    }
    std::fs::write(file.with_extension("cdx.json"), sbom::written(&request.platforms)?)?;
    let archive = ours(&builds)?;
    let names = archive.names();
    archive.write(&file)?;
    let size = std::fs::metadata(&file).with_context(|| format!("cannot read {}", file.display()))?.len();
    lines.push(told(&names, size, &file));
    Ok(lines.join("\n"))
}

fn builds(platforms: &[Platform], into: &Path) -> Result<Vec<Build>> {
    platforms.iter().map(|platform| dist::built_for(platform, into)).collect()
}

/// Runs each program of a build, so that none is shipped that does not start.
fn tried(build: &Build) -> Result<String> {
    let platform = &build.platform;
    let names = sidecars(platform.command(&build.mooring))?;
    let says = |executable: &Path, words: &[&str], end: &str| -> Result<()> {
        let output = platform.command(executable).args(words).output().context("it cannot run")?;
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        if !said.lines().next().is_some_and(|line| line.ends_with(end)) {
            bail!("{} {} says {said:?}, not {end}", executable.display(), words.join(" "));
        }
        Ok(())
    };
    for name in &names {
        // As upstream's, it has no --version.
        match name.as_str() {
            "livenessprobe" => says(&build.mooring, &[name, "--help"], "Usage of livenessprobe:")?,
            _ => says(&build.mooring, &[name, "--version"], TAG)?,
        }
    }
    if let Some(driver) = &build.driver {
        says(driver, &["--version"], TAG)?;
    }
    let by = if platform.is_here() { String::new() } else { format!(" in {}", platform.emulator) };
    let programs = names.len() + usize::from(build.driver.is_some());
    Ok(format!("{}: {programs} programs of {TAG} run{by}", platform.name()))
}

/// Whether two builds of the same sources are the same bytes.
fn compared(builds: &[Build], again: &[Build]) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for (one, other) in builds.iter().zip(again) {
        let of = |build: &Build| {
            [Some(build.mooring.clone()), build.driver.clone()].into_iter().flatten().collect()
        };
        let (ones, others): (Vec<PathBuf>, Vec<PathBuf>) = (of(one), of(other));
        for (one, other) in ones.iter().zip(&others) {
            if std::fs::read(one)? != std::fs::read(other)? {
                bail!("not reproducible: {} and {} differ", one.display(), other.display());
            }
        }
        lines.push(format!("{}: two builds in two folders are the same bytes", one.platform.name()));
    }
    Ok(lines)
}

/// What there is now, and what can be done with it.
fn told(names: &[String], size: u64, file: &Path) -> String {
    let plain: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| !name.ends_with("-nonroot")).collect();
    let file = file.display();
    format!(
        "{}\nEach but the driver's also as {TAG}-nonroot, which runs as user 65532.\n{:.1} MB {file}\n\nOn each node:\n  \
         ctr --namespace k8s.io images import {file}",
        plain.join("\n"),
        // A size for people.
        size as f64 / 1e6,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_works_is_told() {
        let names = ["mooring/node:v1".to_owned(), "mooring/node:v1-nonroot".to_owned()];
        let told = told(&names, 1_500_000, Path::new("/a/images.tar"));
        assert!(told.starts_with("mooring/node:v1\nEach but"), "{told}");
        assert!(told.contains("\n1.5 MB /a/images.tar\n"), "{told}");
        assert!(told.ends_with("\n  ctr --namespace k8s.io images import /a/images.tar"), "{told}");
        assert!(!told.contains("load"), "{told}");
    }

    #[test]
    fn platforms_are_asked_for_by_name() {
        let all = request(&["--platforms=all", "a.tar", "--twice"]).expect("understood");
        assert_eq!((all.platforms.len(), all.twice, all.file), (5, true, Some(PathBuf::from("a.tar"))));
        let two = request(&["--platforms=linux/arm/v7,linux/s390x"]).expect("understood");
        assert_eq!(two.platforms.iter().map(|one| one.architecture).collect::<Vec<_>>(), ["arm", "s390x"]);
        assert_eq!(request(&[]).expect("understood").platforms, [Platform::here().expect("this machine's")]);
        for wrong in ["--platforms=windows/amd64", "--platform=all"] {
            let why = request(&[wrong]).map_err(|error| error.to_string());
            assert!(
                why.is_err_and(|why| why.contains(wrong.split('=').next_back().unwrap_or_default())),
                "{wrong}"
            );
        }
    }

    #[test]
    fn builds_that_differ_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let build = |name: &str, content: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, content).expect("written");
            Build { platform: PLATFORMS[1], mooring: file, driver: None }
        };
        let (one, same, other) = (build("one", "1"), build("same", "1"), build("other", "2"));
        let lines = compared(std::slice::from_ref(&one), &[same]).expect("the same");
        assert_eq!(lines, ["linux/arm64: two builds in two folders are the same bytes"]);
        let why = compared(&[one], &[other]).map_err(|error| error.to_string());
        assert!(why.is_err_and(|why| why.starts_with("not reproducible: ") && why.ends_with("other differ")));
    }
}
