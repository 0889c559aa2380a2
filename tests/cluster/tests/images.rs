//! What the images and the Containerfile promise of each sidecar.

#![allow(clippy::expect_used, reason = "a test")]

use std::path::Path;
use std::process::Command;

use cluster::built::{executable, statically};
use cluster::image::{Build, TAG, ours, sidecars};
use cluster::skip::{Lack, left_out};

const CONTAINERFILE: &str = include_str!("../../../Containerfile");

#[test]
fn every_sidecar_has_its_image_and_its_stage() {
    let mooring = executable("mooring", "mooring").expect("mooring");
    let names = sidecars(Command::new(&mooring)).expect("sidecars");
    // Only the names matter: any file will do for the layers.
    let small = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let build = Build::here(&mooring, &small).expect("a platform");
    let images = ours(&[build]).expect("images").names();
    for name in names.iter().map(String::as_str).chain(["mooring", "mooring-driver"]) {
        let image = format!("docker.io/mooring/{name}:{TAG}");
        assert!(images.contains(&image), "{image}: {images:?}");
        let stage = format!(" AS {name}\n");
        let (_, of_stage) = CONTAINERFILE.split_once(&stage).expect("a stage");
        let entrypoint = format!("ENTRYPOINT [\"/{name}\"]\n");
        assert!(
            of_stage.split("\n\n").next().is_some_and(|stage| format!("{stage}\n").contains(&entrypoint)),
            "{name}"
        );
    }
    assert_eq!(CONTAINERFILE.matches(" AS ").count(), names.len() + 2);
}

#[test]
fn upstreams_tag_is_of_the_release_that_help_names() {
    let mooring = executable("mooring", "mooring").expect("mooring");
    let help = Command::new(&mooring).arg("--help").output().expect("help").stdout;
    let help = String::from_utf8_lossy(&help).into_owned();
    let small = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let images = ours(&[Build::here(&mooring, &small).expect("a platform")]).expect("images").names();
    let is_upstreams = |image: &&String| !image.contains(&format!(":{TAG}")) && !image.ends_with("-nonroot");
    let tagged: Vec<(&str, &str)> = images
        .iter()
        .filter(is_upstreams)
        .map(|image| image.trim_start_matches("docker.io/mooring/").split_once(':').expect("a tag"))
        .collect();
    assert_eq!(tagged.len(), 5, "{images:?}");
    for (name, tag) in tagged {
        let line =
            help.lines().find(|line| line.trim_start().starts_with(&format!("{name} "))).expect("its line");
        let release = tag.trim_start_matches('v').rsplit_once('.').expect("a release").0;
        assert!(line.ends_with(&format!(" {release})")), "{name}:{tag}: {line}");
    }
}

/// Unoptimised, for one platform: `cargo xtask image --twice` compares what ships, which takes some ten minutes.
#[test]
fn two_builds_in_two_folders_give_the_same_images() {
    let what = "images of two builds";
    if !statically::can_build() {
        return left_out(what, Lack::Musl);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let archive = |name: &str, [mooring, driver]: [std::path::PathBuf; 2]| {
        let file = folder.path().join(name);
        let build = Build::here(&mooring, &driver).expect("a platform");
        ours(&[build]).expect("images").write(&file).expect("written");
        std::fs::read(file).expect("an archive")
    };
    let one = archive("one.tar", statically::for_images().expect("built"));
    let other = archive("other.tar", statically::for_images_again().expect("built"));
    assert!(one.len() > 1_000_000, "{} bytes", one.len());
    assert!(one == other, "the same sources give the same digests, wherever they are built");
}
