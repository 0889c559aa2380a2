//! What makes the same sources the same executables, wherever they are built.

use std::path::{Path, PathBuf};

/// Cargo's variable `name` for this target.
pub fn variable(target: &str, name: &str) -> String {
    format!("CARGO_TARGET_{}_{name}", target.replace('-', "_").to_uppercase())
}

/// The variable that tells cargo which flags make executables of `target` the same ones in every target folder and static, beside those
/// that the caller has set; and its value.
pub fn same_everywhere(target: &str, target_folder: &Path) -> (String, String) {
    flags(&variable(target, "RUSTFLAGS"), &same_flags(target_folder), |name| std::env::var(name).ok())
}

/// The repository's folder.
fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap_or(root)
}

/// Names that tell each instance of a generic function from the others, and no path of this machine.
fn same_flags(target_folder: &Path) -> Vec<String> {
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let folders =
        [(cargo, "/cargo"), (Some(root()), "/mooring"), (Some(target_folder.to_owned()), "/target")];
    let mut flags =
        vec!["-Csymbol-mangling-version=v0".to_owned(), "-Ctarget-feature=+crt-static".to_owned()];
    for (folder, name) in folders {
        flags.extend(folder.map(|folder| format!("--remap-path-prefix={}={name}", folder.display())));
    }
    flags
}

/// The flags `ours` beside what the caller has set: cargo takes the first variable that is there. A flag with a space cannot be said
/// in all of them, so a folder whose name has one stays in the executables.
fn flags(of_target: &str, ours: &[String], set: impl Fn(&str) -> Option<String>) -> (String, String) {
    let ours: Vec<&str> = ours.iter().map(String::as_str).filter(|flag| !flag.contains(' ')).collect();
    for (name, between) in [("CARGO_ENCODED_RUSTFLAGS", "\u{1f}"), ("RUSTFLAGS", " "), (of_target, " ")] {
        if let Some(flags) = set(name).filter(|flags| !flags.is_empty()) {
            return (name.to_owned(), [&[flags.as_str()], &ours[..]].concat().join(between));
        }
    }
    (of_target.to_owned(), ours.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_the_caller_sets_stay() {
        let flags_with = |set: &[(&str, &str)]| {
            let of = |name: &str| {
                set.iter().find(|(known, _)| *known == name).map(|(_, flags)| (*flags).to_owned())
            };
            let ours = ["-Cours".to_owned(), "--remap=/a b=c".to_owned()];
            let (name, flags) = flags("CARGO_TARGET_X_RUSTFLAGS", &ours, of);
            format!("{name}={flags}")
        };
        assert_eq!(flags_with(&[]), "CARGO_TARGET_X_RUSTFLAGS=-Cours");
        assert_eq!(
            flags_with(&[("RUSTFLAGS", "-Dwarnings"), ("CARGO_TARGET_X_RUSTFLAGS", "-g")]),
            "RUSTFLAGS=-Dwarnings -Cours"
        );
        assert_eq!(
            flags_with(&[("CARGO_ENCODED_RUSTFLAGS", "-g")]),
            "CARGO_ENCODED_RUSTFLAGS=-g\u{1f}-Cours"
        );
    }

    #[test]
    fn no_path_of_this_machine_is_in_an_executable() {
        let flags = same_flags(Path::new("/somewhere/target"));
        assert!(flags.contains(&"--remap-path-prefix=/somewhere/target=/target".to_owned()), "{flags:?}");
        assert!(flags.contains(&format!("--remap-path-prefix={}=/mooring", root().display())), "{flags:?}");
        assert!(flags.iter().any(|flag| flag.ends_with("=/cargo")), "{flags:?}");
    }
}
