//! Which images there are.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::archive::{Archive, Image};
use super::error::ImageError;
use super::layer::Layer;
use super::platform::Platform;

/// Where our images are said to be from.
const REPOSITORY: &str = "docker.io/mooring";

/// The tag of our images: the version of the workspace.
pub const TAG: &str = concat!("v", env!("CARGO_PKG_VERSION"));

/// A shell and its tools, for pods of tests.
pub const BUSYBOX: &str = "mooring.invalid/busybox:v1";

/// What holds the namespaces of a pod.
pub const SANDBOX: &str = "mooring.invalid/pause:v1";

/// The releases of the Go sidecars that ours stand for: manifests that name upstream's tag find it.
const UPSTREAM: [(&str, &str); 5] = [
    ("csi-provisioner", "v6.4.0"),
    ("csi-attacher", "v4.13.0"),
    ("csi-resizer", "v2.3.0"),
    ("csi-node-driver-registrar", "v2.18.0"),
    ("livenessprobe", "v2.20.0"),
];

/// The user of images whose tag ends with `-nonroot`.
const NOBODY: &str = "65532:65532";

/// The executables of one platform. They must be static.
#[derive(Debug, Clone)]
pub struct Build {
    /// Whose they are.
    pub platform: Platform,
    /// `mooring`.
    pub mooring: PathBuf,
    /// `mooring-driver`, where it runs.
    pub driver: Option<PathBuf>,
}

impl Build {
    /// Executables of this machine.
    ///
    /// # Errors
    /// There are no images for it.
    pub fn here(mooring: &Path, driver: &Path) -> Result<Build, ImageError> {
        Ok(Build {
            platform: Platform::here()?,
            mooring: mooring.to_owned(),
            driver: Some(driver.to_owned()),
        })
    }

    /// The file tree of the sidecars' images: the executable `mooring`, and a link to it by each sidecar's name. The manifests of KEP-4958
    /// have `csi-sidecars` as the command, which is looked for in the PATH.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn sidecars_layer(&self) -> Result<Layer, ImageError> {
        let layer = Layer::new().executable("mooring", &self.mooring)?;
        let names = sidecars(self.platform.command(&self.mooring))?;
        let layer = names.iter().fold(layer, |layer, name| layer.link(name, "mooring"));
        Ok(layer.link("bin/csi-sidecars", "../mooring"))
    }

    /// The file tree of the driver's image, where it runs. The Go driver's image has its program under another name, and pods that set a command
    /// say so.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn driver_layer(&self) -> Result<Option<Layer>, ImageError> {
        let Some(driver) = &self.driver else { return Ok(None) };
        Ok(Some(Layer::new().executable("mooring-driver", driver)?.link("hostpathplugin", "mooring-driver")))
    }
}

/// An image and its twin that runs as nobody.
///
/// As upstream's, the images run as root: the pods of most vendors name no user, and a driver's socket is mostly root's alone. A
/// pod's `runAsUser` overrides either.
fn images(name: &str) -> [Image; 2] {
    let upstream = UPSTREAM.iter().find(|(known, _)| *known == name).map(|(_, tag)| *tag);
    let tags: Vec<&str> = [TAG].into_iter().chain(upstream).collect();
    [("", "0"), ("-nonroot", NOBODY)].map(|(end, user)| Image {
        names: tags.iter().map(|tag| format!("{REPOSITORY}/{name}:{tag}{end}")).collect(),
        entrypoint: vec![format!("/{name}")],
        user: user.to_owned(),
    })
}

/// The names that `mooring --help` lists as sidecars. The command is `mooring`'s.
///
/// # Errors
/// It does not run, or lists none.
pub fn sidecars(mut mooring: Command) -> Result<Vec<String>, ImageError> {
    let program = format!("{:?}", mooring.get_program());
    let silent = |why: String| ImageError::Silent { program: program.clone(), why };
    let output = mooring.arg("--help").output().map_err(|error| silent(error.to_string()))?;
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    let listed = help.lines().skip_while(|line| !line.starts_with("Sidecars:")).skip(1);
    let names: Vec<String> = listed
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect();
    if names.is_empty() { Err(silent("it lists no sidecar".to_owned())) } else { Ok(names) }
}

/// The images of Mooring: one for each sidecar, over one layer with the executable `mooring` and a link to it by each
/// sidecar's name; `mooring` itself, for its commands; and the driver's.
///
/// # Errors
/// See [`ImageError`].
pub fn ours(builds: &[Build]) -> Result<Archive, ImageError> {
    let mut archive = Archive::new();
    for build in builds {
        let mut names = sidecars(build.platform.command(&build.mooring))?;
        names.push("mooring".to_owned());
        let of_sidecars: Vec<Image> = names.iter().flat_map(|name| images(name)).collect();
        archive.add(&build.platform, &build.sidecars_layer()?, &of_sidecars)?;
        if let Some(layer) = build.driver_layer()? {
            let [of_driver, _] = images("mooring-driver");
            archive.add(&build.platform, &layer, &[of_driver])?;
        }
    }
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
        names: vec![name.to_owned()],
        entrypoint: entrypoint.iter().map(|&word| word.to_owned()).collect(),
        user: user.to_owned(),
    };
    let mut archive = Archive::new();
    // A sandbox only has to be there: containerd ends it with SIGKILL.
    archive.add(
        &Platform::here()?,
        &layer,
        &[named(BUSYBOX, &[], "0"), named(SANDBOX, &["/bin/sleep", "2147483647"], "65535:65535")],
    )?;
    Ok(archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_has_upstreams_tag_and_a_twin_without_root() {
        let [image, twin] = images("csi-attacher");
        assert_eq!(
            image.names,
            [
                format!("docker.io/mooring/csi-attacher:{TAG}"),
                "docker.io/mooring/csi-attacher:v4.13.0".to_owned()
            ]
        );
        assert_eq!(
            (image.user.as_str(), image.entrypoint.as_slice()),
            ("0", &["/csi-attacher".to_owned()][..])
        );
        assert!(twin.names.iter().all(|name| name.ends_with("-nonroot")), "{twin:?}");
        assert_eq!((twin.user.as_str(), &twin.entrypoint), (NOBODY, &image.entrypoint));
        let [ours, _] = images("node");
        assert_eq!(ours.names, [format!("docker.io/mooring/node:{TAG}")], "upstream has none");
    }
}
