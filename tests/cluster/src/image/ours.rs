//! Which images there are.

use std::path::Path;
use std::process::Command;

use super::archive::{Archive, Image};
use super::error::ImageError;
use super::layer::Layer;

/// Where our images are said to be from.
const REPOSITORY: &str = "docker.io/mooring";

/// The tag of our images: the version of the workspace.
pub const TAG: &str = concat!("v", env!("CARGO_PKG_VERSION"));

/// A shell and its tools, for pods of tests.
pub const BUSYBOX: &str = "mooring.invalid/busybox:v1";

/// What holds the namespaces of a pod.
pub const SANDBOX: &str = "mooring.invalid/pause:v1";

fn image(name: &str, executable: &str) -> Image {
    Image {
        name: format!("{REPOSITORY}/{name}:{TAG}"),
        entrypoint: vec![executable.to_owned()],
        user: "0".to_owned(),
    }
}

/// The names that `mooring --help` lists as sidecars.
fn sidecars(mooring: &Path) -> Result<Vec<String>, ImageError> {
    let silent = |why: String| ImageError::Silent { program: mooring.display().to_string(), why };
    let output = Command::new(mooring).arg("--help").output().map_err(|error| silent(error.to_string()))?;
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    let listed = help.lines().skip_while(|line| !line.starts_with("Sidecars:")).skip(1);
    let names: Vec<String> = listed
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect();
    if names.is_empty() { Err(silent("it lists no sidecar".to_owned())) } else { Ok(names) }
}

/// The images of Mooring: one for each sidecar, over one layer with the executable `mooring` and a link to it by each
/// sidecar's name; `mooring` itself, for its commands; and the driver's. Both files must be static.
///
/// # Errors
/// See [`ImageError`].
pub fn ours(mooring: &Path, driver: &Path) -> Result<Archive, ImageError> {
    let names = sidecars(mooring)?;
    let shared = Layer::new().executable("mooring", mooring)?;
    let shared = names.iter().fold(shared, |layer, name| layer.link(name, "mooring"));
    let mut images: Vec<Image> = names.iter().map(|name| image(name, &format!("/{name}"))).collect();
    images.push(image("mooring", "/mooring"));
    let mut archive = Archive::new();
    archive.add(&shared, &images)?;
    // The Go driver's image has its program under this name, and pods that set a command say so.
    let layer = Layer::new().executable("mooring-driver", driver)?.link("hostpathplugin", "mooring-driver");
    archive.add(&layer, &[image("mooring-driver", "/mooring-driver")])?;
    Ok(archive)
}

/// The images of pods of tests, made of the machine's static busybox.
///
/// # Errors
/// There is no busybox, or it cannot be read.
pub fn for_tests(busybox: &Path) -> Result<Archive, ImageError> {
    let silent = |why: String| ImageError::Silent { program: busybox.display().to_string(), why };
    let output = Command::new(busybox).arg("--list").output().map_err(|error| silent(error.to_string()))?;
    let list = String::from_utf8_lossy(&output.stdout).into_owned();
    let layer = Layer::new()
        .folder("tmp", 0o1777)
        .text("etc/passwd", "root:x:0:0:root:/:/bin/sh\n")
        .text("etc/group", "root:x:0:\n")
        .executable("bin/busybox", busybox)?;
    let tools = list.lines().filter(|name| *name != "busybox");
    let layer = tools.fold(layer, |layer, name| layer.link(&format!("bin/{name}"), "busybox"));
    let named = |name: &str, entrypoint: &[&str], user: &str| Image {
        name: name.to_owned(),
        entrypoint: entrypoint.iter().map(|&word| word.to_owned()).collect(),
        user: user.to_owned(),
    };
    let mut archive = Archive::new();
    // A sandbox only has to be there: containerd ends it with SIGKILL.
    archive.add(
        &layer,
        &[named(BUSYBOX, &[], "0"), named(SANDBOX, &["/bin/sleep", "2147483647"], "65535:65535")],
    )?;
    Ok(archive)
}
