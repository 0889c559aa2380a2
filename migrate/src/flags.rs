//! The command line of `mooring migrate`.

use std::time::Duration;

use base::flag::{Dialect, Exit, FlagSet, Parsed};

use crate::options::LAG;

base::flags! {
    /// The flags of `mooring migrate`.
    pub(crate) struct Flags {
        "dry-run" dry_run: bool = false, "Only show what would become of each in-tree volume.";
        "undo-file" undo_file: String = "", "Convert, and write into this file what everything was. With the file of an interrupted run: go on with it.";
        "undo" undo: String = "", "Give each volume that was converted with this undo file its in-tree source again; later changes of size or labels stay.";
        "kubeconfig" kubeconfig: String = "", "Path of the kubeconfig. Empty: what KUBECONFIG lists, else ~/.kube/config, else the pod's service account.";
        "context" context: String = "", "Context of the kubeconfig. Empty: the current one.";
        "volume" volume: String = "", "Only the PersistentVolume of this name.";
        "in-use" in_use: bool = false, "Volumes too that are attached or that pods use. Running pods keep them; one that starts in the moment of the change waits.";
        "hand-made" hand_made: bool = false, "Volumes too that somebody made by hand with reclaim policy Delete: their CSI driver will delete them with their claims, which nobody does now.";
        "gce-project" gce_project: String = "", "The project of the disks of kubernetes.io/gce-pd: their handles need one.";
        "policy-lag" policy_lag: Duration = LAG, "How long to wait, once our API server enforces the new ValidatingAdmissionPolicy, for the other API servers. 0 if there is only one API server.";
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
    match (flags.dry_run, flags.undo_file.is_empty(), flags.undo.is_empty()) {
        (true, true, true) | (false, false, true) | (false, true, false) => Ok(()),
        (false, true, true) => Err(Exit::refuse(
            "give --dry-run to see what would be converted, or --undo-file=FILE to convert it",
        )),
        _ => Err(Exit::refuse("give one of --dry-run, --undo-file and --undo")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_thing_is_to_be_done() {
        for (args, expected) in [
            ("", Some("--dry-run")),
            ("--dry-run", None),
            ("--undo-file=a", None),
            ("--undo a", None),
            ("--dry-run --undo-file=a", Some("one of")),
            ("--undo-file=a --undo=a", Some("one of")),
            ("--dry-run --undo=a", Some("one of")),
        ] {
            let found = parse("mooring migrate", args.split_whitespace().map(str::to_owned).collect());
            match (found.map(|_| ()), expected) {
                (Ok(()), None) => {}
                (Err(exit), Some(text)) => {
                    assert!(exit.code == 1 && exit.stderr.contains(text), "{args}: {}", exit.stderr);
                    assert_eq!(exit.stderr.matches('\n').count(), 1);
                }
                (found, _) => panic!("{args}: {found:?}"),
            }
        }
    }
}
