//! The command line of csi-resizer (docs/upstream/resizer.md, "Flags" and "Feature gates").

use std::time::Duration;

use base::flag::standard::StandardFlags;
use base::flag::{Dialect, Exit, FlagSet, Gate, Parsed};

base::flags! {
    /// The flags that only csi-resizer has.
    pub(crate) struct Flags {
        "timeout" timeout: Duration = Duration::from_secs(10), "Longest time for a probe. If it is given, it replaces resize-timeout and modify-timeout too.";
        "resize-timeout" resize_timeout: Duration = Duration::from_secs(10), "Longest time one ControllerExpandVolume may take.";
        "modify-timeout" modify_timeout: Duration = Duration::from_secs(10), "Longest time one ControllerModifyVolume may take.";
        "workers" workers: u32 = 10, "How many volumes are expanded at once, and how many are modified at once.";
        "retry-interval-start" retry_interval_start: Duration = Duration::from_secs(1), "Pause after the first failure of a claim; it doubles with each further one.";
        "retry-interval-max" retry_interval_max: Duration = Duration::from_secs(300), "Longest pause between two tries, and the pause after the driver said that it cannot (INVALID_ARGUMENT, OUT_OF_RANGE, NOT_FOUND).";
        "resync-period" resync_period: Duration = Duration::from_secs(600), "How often everything unfinished is looked at again; 0 disables it.";
        "handle-volume-inuse-error" handle_in_use: bool = true, "If the driver expands only unused volumes, wait until no pod uses the claim.";
        "extra-modify-metadata" extra_modify_metadata: bool = false, "Add the names of claim and volume to the parameters of ControllerModifyVolume.";
    }
}

base::flags! {
    /// Where the API server is.
    pub(crate) struct ServerFlags {
        "master" master: String = "", "URL of the API server; replaces the one in the kubeconfig.";
    }
}

/// Gate: claims may name a VolumeAttributesClass.
pub(crate) const VOLUME_ATTRIBUTES_CLASS: &str = "VolumeAttributesClass";
/// Gate: a volume remembers the size before an expansion that the node has to finish.
pub(crate) const ANNOTATE: &str = "AnnotateFsResize";
/// Gate: the lease is released on SIGTERM.
pub(crate) const RELEASE_LEASE: &str = "ReleaseLeaderElectionOnExit";
/// Gate: volumes of kubernetes.io/rbd are translated too.
pub(crate) const MIGRATE_RBD: &str = "CSIMigrationRBD";

/// Upstream's gates, and our own for rbd. `Differs:` the lease is released on exit unless the gate is set to false. And
/// upstream ends when `RecoverVolumeExpansionFailure` is named, which charts still do. Here recovery is always on, and either
/// value is accepted with one log line. With `false`, upstream asked for an infeasible size again after each back-off; here it
/// is asked for after `--retry-interval-max`, and a shorter pause comes with a smaller value of that flag.
const GATES: &[Gate] = &[
    Gate::ga(VOLUME_ATTRIBUTES_CLASS),
    Gate::beta(ANNOTATE, true),
    Gate::beta(RELEASE_LEASE, true),
    Gate::own(MIGRATE_RBD),
    Gate::removed("RecoverVolumeExpansionFailure"),
];

/// Longest time of each kind of call to the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeouts {
    /// Probe and GetPluginInfo.
    pub(crate) identity: Duration,
    /// ControllerExpandVolume, and the questions for capabilities.
    pub(crate) expand: Duration,
    /// ControllerModifyVolume.
    pub(crate) modify: Duration,
}

/// `--timeout` on the command line, even with its default, replaces the other two. A `--timeout` that is shared with other
/// sidecars of the process stands in for those of the two that are not given.
pub(crate) fn timeouts(parsed: &Parsed) -> Timeouts {
    let flags: Flags = parsed.read();
    let identity = flags.timeout;
    let or_own = |name: &str, own: Duration| match (parsed.is_set("timeout"), parsed.is_shared("timeout")) {
        (true, true) if parsed.is_set(name) => own,
        (true, _) => identity,
        (false, _) => own,
    };
    let expand = or_own("resize-timeout", flags.resize_timeout);
    Timeouts { identity, expand, modify: or_own("modify-timeout", flags.modify_timeout) }
}

/// Reads the command line (without the program's name).
pub(crate) fn parse(program: &str, args: Vec<String>) -> Result<Parsed, Exit> {
    let mut set = FlagSet::new(program, Dialect::Go);
    set.group::<StandardFlags>().group::<ServerFlags>();
    add_flags(&mut set);
    set.parse(args)
}

/// Adds the flags that only csi-resizer has, and its feature gates.
pub(crate) fn add_flags(set: &mut FlagSet) {
    set.group::<Flags>().feature_gates(GATES).check(check);
}

/// Refuses values that cannot work, and names the flag.
///
/// `Differs:` upstream starts with no workers and then does nothing, with a timeout of zero and then fails each call, and
/// with a pause of zero and then works without pause.
fn check(parsed: &Parsed) -> Result<(), Exit> {
    let flags: Flags = parsed.read();
    if flags.workers == 0 {
        return Err(Exit::refuse("--workers must be greater than zero"));
    }
    for (flag, duration) in [
        ("timeout", flags.timeout),
        ("resize-timeout", flags.resize_timeout),
        ("modify-timeout", flags.modify_timeout),
        ("retry-interval-start", flags.retry_interval_start),
        ("retry-interval-max", flags.retry_interval_max),
    ] {
        if duration.is_zero() {
            return Err(Exit::refuse(format!("--{flag} must be longer than 0")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Parsed {
        parse("csi-resizer", args.iter().map(|arg| (*arg).to_owned()).collect()).unwrap()
    }

    fn refused(arg: &str) -> Exit {
        parse("csi-resizer", vec![arg.to_owned()]).map(|_| ()).unwrap_err()
    }

    #[test]
    fn timeout_replaces_the_other_two_when_it_is_given() {
        for (args, expected) in [
            (&[][..], [10, 10, 10]),
            (&["--resize-timeout=300s", "-modify-timeout=1800s"], [10, 300, 1800]),
            (&["--resize-timeout=300s", "--modify-timeout=1800s", "--timeout=120s"], [120, 120, 120]),
            (&["-timeout=10s", "-resize-timeout=300s", "-modify-timeout=1800s"], [10, 10, 10]),
        ] {
            let Timeouts { identity, expand, modify } = timeouts(&parsed(args));
            assert_eq!([identity, expand, modify].map(|time| time.as_secs()), expected, "{args:?}");
        }
    }

    #[test]
    fn removed_gate_is_accepted_with_either_value_and_one_line() {
        for value in ["true", "false"] {
            let parsed = parsed(&[&format!("--feature-gates=RecoverVolumeExpansionFailure={value}")]);
            let [notice] = parsed.notices() else { panic!("{:?}", parsed.notices()) };
            assert!(notice.contains(&format!("RecoverVolumeExpansionFailure={value}")), "{notice}");
        }
    }

    #[test]
    fn values_that_cannot_work_are_refused_at_start() {
        for arg in [
            "--workers=0",
            "-timeout=0s",
            "--resize-timeout=0",
            "--modify-timeout=0",
            "-retry-interval-start=0",
            "--retry-interval-max=0s",
        ] {
            assert_eq!(refused(arg).code, 1, "{arg}");
        }
    }

    #[test]
    fn unknown_flags_and_values_exit_with_2_and_gates_with_1() {
        for arg in
            ["--no-such-flag", "--logtostderr", "--timeout=10", "--workers=-1", "--max-grpc-log-length=1"]
        {
            assert_eq!(refused(arg).code, 2, "{arg}");
        }
        assert_eq!(refused("--feature-gates=Topology=true").code, 1);
        let both = ["--http-endpoint=:1", "--metrics-address=:2"].map(str::to_owned);
        assert_eq!(parse("csi-resizer", both.into()).map(|_| ()).unwrap_err().code, 1);
    }

    #[test]
    fn defaults_are_those_of_upstream() {
        let parsed = parsed(&[]);
        let flags: Flags = parsed.read();
        let seconds = [flags.retry_interval_start, flags.retry_interval_max, flags.resync_period];
        assert_eq!(seconds.map(|duration| duration.as_secs()), [1, 300, 600]);
        assert_eq!((flags.workers, flags.handle_in_use, flags.extra_modify_metadata), (10, true, false));
        for gate in [VOLUME_ATTRIBUTES_CLASS, ANNOTATE, RELEASE_LEASE] {
            assert!(parsed.gates().is_enabled(gate), "{gate}");
        }
    }

    #[test]
    fn help_names_every_flag_of_upstream() {
        let help = refused("--help");
        assert_eq!(help.code, 0);
        let text = format!("{}{}", help.stdout, help.stderr);
        for flag in "timeout resize-timeout modify-timeout workers retry-interval-start retry-interval-max \
            resync-period handle-volume-inuse-error extra-modify-metadata master feature-gates csi-address kubeconfig \
            version http-endpoint metrics-address metrics-path kube-api-qps kube-api-burst leader-election \
            leader-election-namespace leader-election-lease-duration leader-election-renew-deadline \
            leader-election-retry-period leader-election-labels automaxprocs v vmodule logging-format \
            log-flush-frequency log-text-split-stream log-json-split-stream log-text-info-buffer-size \
            log-json-info-buffer-size"
            .split_whitespace()
        {
            assert!(text.contains(&format!("-{flag} ")) || text.contains(&format!("-{flag}\n")), "{flag}");
        }
    }
}
