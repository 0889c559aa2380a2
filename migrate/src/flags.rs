//! The command line of `mooring migrate`.

use base::flag::{Dialect, Exit, FlagSet, Parsed};

base::flags! {
    /// The flags of `mooring migrate`.
    pub(crate) struct Flags {
        "dry-run" dry_run: bool = false, "Only show what would become of each in-tree volume.";
        "kubeconfig" kubeconfig: String = "", "Path of the kubeconfig. Empty: KUBECONFIG, else ~/.kube/config, else the pod's service account.";
        "volume" volume: String = "", "Only the PersistentVolume of this name.";
        "rbd" rbd: bool = false, "Volumes of kubernetes.io/rbd too.";
    }
}

/// Reads the command line (without the program's name).
///
/// # Errors
/// Help was asked for, or the command line is wrong.
pub fn parse(program: &str, args: Vec<String>) -> Result<Parsed, Exit> {
    let mut set = FlagSet::new(program, Dialect::Posix);
    set.group::<Flags>().check(check);
    set.parse(args)
}

fn check(parsed: &Parsed) -> Result<(), Exit> {
    let flags: Flags = parsed.read();
    if !flags.dry_run {
        return Err(Exit::refuse(
            "this release converts nothing: give --dry-run to see what would be converted",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_converted_without_being_shown() {
        let exit = parse("mooring migrate", vec![]).map(|_| ()).unwrap_err();
        assert!(exit.code == 1 && exit.stderr.contains("--dry-run"), "{}", exit.stderr);
        assert!(parse("mooring migrate", vec!["--dry-run".to_owned()]).is_ok());
    }
}
