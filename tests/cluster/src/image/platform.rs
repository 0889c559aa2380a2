//! The platforms that images are made for, and what builds and runs executables of each.

use std::path::Path;
use std::process::Command;

use super::error::ImageError;

/// A platform, in the words of OCI, of Rust and of Debian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Platform {
    /// As OCI says it.
    pub architecture: &'static str,
    /// The same; only Arm's has one.
    pub variant: Option<&'static str>,
    /// As Rust says it. Where Rust ships no standard library for musl, it is glibc's, linked statically.
    pub target: &'static str,
    /// As `std::env::consts::ARCH` says it.
    machine: &'static str,
    /// The C compiler on machines of another kind: ring has C and assembly, and it links.
    pub compiler: &'static str,
    /// Debian's packages of that compiler.
    pub packages: [&'static str; 2],
    /// What runs the executables on machines of another kind.
    pub emulator: &'static str,
}

/// Every one.
pub const PLATFORMS: [Platform; 5] = [
    Platform {
        architecture: "amd64",
        variant: None,
        target: "x86_64-unknown-linux-musl",
        machine: "x86_64",
        compiler: "x86_64-linux-gnu-gcc",
        packages: ["gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross"],
        emulator: "qemu-x86_64-static",
    },
    Platform {
        architecture: "arm64",
        variant: None,
        target: "aarch64-unknown-linux-musl",
        machine: "aarch64",
        compiler: "aarch64-linux-gnu-gcc",
        packages: ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
        emulator: "qemu-aarch64-static",
    },
    Platform {
        architecture: "arm",
        variant: Some("v7"),
        target: "armv7-unknown-linux-gnueabihf",
        machine: "arm",
        compiler: "arm-linux-gnueabihf-gcc",
        packages: ["gcc-arm-linux-gnueabihf", "libc6-dev-armhf-cross"],
        emulator: "qemu-arm-static",
    },
    Platform {
        architecture: "ppc64le",
        variant: None,
        target: "powerpc64le-unknown-linux-gnu",
        machine: "powerpc64",
        compiler: "powerpc64le-linux-gnu-gcc",
        packages: ["gcc-powerpc64le-linux-gnu", "libc6-dev-ppc64el-cross"],
        emulator: "qemu-ppc64le-static",
    },
    Platform {
        architecture: "s390x",
        variant: None,
        target: "s390x-unknown-linux-gnu",
        machine: "s390x",
        compiler: "s390x-linux-gnu-gcc",
        packages: ["gcc-s390x-linux-gnu", "libc6-dev-s390x-cross"],
        emulator: "qemu-s390x-static",
    },
];

fn none_of(name: &str) -> ImageError {
    let known = PLATFORMS.map(|platform| platform.name()).join(", ");
    ImageError::NoPlatform { name: name.to_owned(), known }
}

impl Platform {
    /// This machine's.
    ///
    /// # Errors
    /// There are no images for machines of its kind.
    pub fn here() -> Result<Platform, ImageError> {
        let here = PLATFORMS.into_iter().find(Platform::is_here);
        here.ok_or_else(|| none_of(std::env::consts::ARCH))
    }

    /// Whether it is this machine's.
    pub fn is_here(&self) -> bool {
        self.machine == std::env::consts::ARCH
    }

    /// Whether our driver runs there: it knows librbd's structures as 64-bit machines have them.
    pub fn has_driver(&self) -> bool {
        self.architecture != "arm"
    }

    /// The one of this name, such as `linux/arm64` or `linux/arm/v7`.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<Platform, ImageError> {
        let named = PLATFORMS.into_iter().find(|platform| platform.name() == name);
        named.ok_or_else(|| none_of(name))
    }

    /// Its name.
    pub fn name(&self) -> String {
        let variant = self.variant.map_or_else(String::new, |variant| format!("/{variant}"));
        format!("linux/{}{variant}", self.architecture)
    }

    /// The command that runs an executable of it on this machine.
    pub fn command(&self, executable: &Path) -> Command {
        if self.is_here() {
            return Command::new(executable);
        }
        let mut command = Command::new(self.emulator);
        command.arg(executable);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platform_has_the_name_that_container_tools_give_it() {
        let names = PLATFORMS.map(|platform| platform.name());
        assert_eq!(names, ["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/ppc64le", "linux/s390x"]);
        for platform in PLATFORMS {
            assert_eq!(Platform::named(&platform.name()).expect("itself"), platform);
        }
        let why = Platform::named("windows/amd64").map_err(|error| error.to_string());
        assert!(
            why.as_ref().is_err_and(|why| why.contains("windows/amd64") && why.contains("linux/s390x")),
            "{why:?}"
        );
    }

    #[test]
    fn executable_of_another_machine_runs_in_an_emulator() {
        let other = PLATFORMS.into_iter().find(|platform| !platform.is_here()).expect("another");
        let command = other.command(Path::new("/program"));
        assert_eq!(command.get_program(), other.emulator);
        let here = Platform::here().expect("this machine's").command(Path::new("/program"));
        assert_eq!((here.get_program().to_str(), here.get_args().count()), (Some("/program"), 0));
    }
}
