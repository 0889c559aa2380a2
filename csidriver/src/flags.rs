//! The command line of `mooring csidriver`.

use std::time::Duration;

use base::flag::standard::add_logging;
use base::flag::{Dialect, Exit, FlagSet, Parsed};
use serde_json::json;

use crate::decide::Wanted;

base::flags! {
    /// The flags of `mooring csidriver`.
    pub(crate) struct Flags {
        "csi-address" csi_address: String = "/run/csi/socket", "Address of the CSI driver's socket.";
        "kubeconfig" kubeconfig: String = "", "Path of the kubeconfig. Empty: the pod's service account.";
        "timeout" timeout: Duration = Duration::from_secs(15), "Longest time that one call of the driver may take.";
        "once" once: bool = false, "End when the object is right. Otherwise it is looked at again every resync.";
        "resync" resync: Duration = Duration::from_secs(120), "How often the object is looked at.";
        "replace" replace: bool = false, "Delete the object and create it anew where the API server lets nobody change a field.";
        "attach-required" attach_required: bool = false, "spec.attachRequired. Not given: what the Controller service says, with PUBLISH_UNPUBLISH_VOLUME or without.";
        "pod-info-on-mount" pod_info: bool = false, "spec.podInfoOnMount.";
        "storage-capacity" storage_capacity: bool = false, "spec.storageCapacity.";
        "requires-republish" republish: bool = false, "spec.requiresRepublish.";
        "fs-group-policy" fs_group_policy: String = "", "spec.fsGroupPolicy: ReadWriteOnceWithFSType, File or None.";
        "volume-lifecycle-modes" modes: String = "", "spec.volumeLifecycleModes by comma: Persistent, Ephemeral.";
    }
}

/// Reads the command line (without the program's name).
///
/// # Errors
/// Help was asked for, or the command line is wrong.
pub fn parse(program: &str, args: Vec<String>) -> Result<Parsed, Exit> {
    let mut set = FlagSet::new(program, Dialect::Go);
    set.group::<Flags>().check(check);
    add_logging(&mut set);
    set.parse(args)
}

fn check(parsed: &Parsed) -> Result<(), Exit> {
    let flags: Flags = parsed.read();
    for (flag, value) in [("timeout", flags.timeout), ("resync", flags.resync)] {
        if value.is_zero() {
            return Err(Exit::refuse(format!("--{flag} must be longer than 0")));
        }
    }
    let policies = ["", "ReadWriteOnceWithFSType", "File", "None"];
    if !policies.contains(&flags.fs_group_policy.as_str()) {
        return Err(Exit::refuse("--fs-group-policy must be ReadWriteOnceWithFSType, File or None"));
    }
    if let Some(other) =
        modes(&flags.modes).into_iter().find(|mode| !["Persistent", "Ephemeral"].contains(mode))
    {
        return Err(Exit::refuse(format!(
            "--volume-lifecycle-modes: {other:?} is neither Persistent nor Ephemeral"
        )));
    }
    Ok(())
}

fn modes(text: &str) -> Vec<&str> {
    text.split(',').map(str::trim).filter(|mode| !mode.is_empty()).collect()
}

/// What the flags that were given want of the object. An empty value, as a chart writes that has none, wants nothing: the API server would
/// put its default in its place, and the object would never be right.
pub(crate) fn wanted(parsed: &Parsed) -> Wanted {
    let flags: Flags = parsed.read();
    let mut wanted = Wanted::default();
    let mut set = |flag: &str, field: &'static str, value: serde_json::Value| {
        if parsed.is_set(flag) && value != json!("") && value != json!([]) {
            wanted.set(field, value);
        }
    };
    set("attach-required", "attachRequired", json!(flags.attach_required));
    set("pod-info-on-mount", "podInfoOnMount", json!(flags.pod_info));
    set("storage-capacity", "storageCapacity", json!(flags.storage_capacity));
    set("requires-republish", "requiresRepublish", json!(flags.republish));
    set("fs-group-policy", "fsGroupPolicy", json!(flags.fs_group_policy));
    set("volume-lifecycle-modes", "volumeLifecycleModes", json!(modes(&flags.modes)));
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Parsed, Exit> {
        parse("mooring csidriver", args.iter().map(|arg| (*arg).to_owned()).collect())
    }

    #[test]
    fn only_flags_that_are_given_want_something() {
        assert_eq!(wanted(&parsed(&[]).unwrap()), Wanted::default());
        let some = wanted(
            &parsed(&["--pod-info-on-mount=false", "--volume-lifecycle-modes=Persistent, Ephemeral"])
                .unwrap(),
        );
        let mut expected = Wanted::default();
        expected.set("podInfoOnMount", json!(false));
        expected.set("volumeLifecycleModes", json!(["Persistent", "Ephemeral"]));
        assert_eq!(some, expected);
        let empty = ["--fs-group-policy=", "--volume-lifecycle-modes="];
        assert_eq!(wanted(&parsed(&empty).unwrap()), Wanted::default());
    }

    #[test]
    fn values_that_cannot_be_name_their_flag() {
        for flag in
            ["--fs-group-policy=file", "--volume-lifecycle-modes=Forever", "--timeout=0s", "--resync=0s"]
        {
            let exit = parsed(&[flag]).map(|_| ()).unwrap_err();
            assert!(exit.code == 1 && exit.stderr.contains(flag.split('=').next().unwrap()), "{exit:?}");
        }
    }
}
