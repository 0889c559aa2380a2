//! The command line of csi-attacher (docs/upstream/attacher.md, "Flags" and "Feature gates").

use std::time::Duration;

use base::flag::standard::StandardFlags;
use base::flag::{Dialect, Exit, FlagSet, Gate, Parsed};

base::flags! {
    /// The flags that only csi-attacher has.
    pub struct Flags {
        "timeout" timeout: Duration = Duration::from_secs(15), "Longest time one call to the driver may take; also of one pass over the driver's list of volumes.";
        "worker-threads" worker_threads: u32 = 10, "How many volumes are attached or detached at once. One node has a quarter of them while others wait.";
        "retry-interval-start" retry_interval_start: Duration = Duration::from_secs(1), "Pause after the first failure of an attachment; it doubles with each further one.";
        "retry-interval-max" retry_interval_max: Duration = Duration::from_secs(300), "Longest pause between two tries.";
        "resync" resync: Duration = Duration::from_secs(600), "How often everything unfinished is looked at again; 0 disables it.";
        "reconcile-sync" reconcile_sync: Duration = Duration::from_secs(60), "Pause between comparisons of the attachments with the driver's list of volumes.";
        "max-entries" max_entries: i32 = 0, "Volumes per page of that list; 0 lets the driver choose.";
        "default-fstype" default_fstype: String = "", "File system of volumes that name none.";
    }
}

base::flags! {
    /// How calls are logged.
    pub(crate) struct LogFlags {
        "max-grpc-log-length" max_grpc_log_length: i32 = -1, "Cut calls in the log to this many bytes; 0 or less does not cut.";
    }
}

/// Gate: `status.attachError.errorCode` is written.
pub(crate) const ERROR_CODE: &str = "MutableCSINodeAllocatableCount";
/// Gate: the lease is released on SIGTERM.
pub(crate) const RELEASE_LEASE: &str = "ReleaseLeaderElectionOnExit";

/// Gate: volumes of kubernetes.io/rbd are translated too.
pub(crate) const MIGRATE_RBD: &str = "CSIMigrationRBD";

/// Upstream's gates, and our own for rbd. `Differs:` the lease is released on exit unless the gate is set to false.
const GATES: &[Gate] = &[Gate::ga(ERROR_CODE), Gate::beta(RELEASE_LEASE, true), Gate::own(MIGRATE_RBD)];

/// Reads the command line (without the program's name).
pub(crate) fn parse(program: &str, args: Vec<String>) -> Result<Parsed, Exit> {
    let mut set = FlagSet::new(program, Dialect::Go);
    set.group::<StandardFlags>().group::<LogFlags>();
    add_flags(&mut set);
    set.parse(args)
}

/// Adds the flags that only csi-attacher has, and its feature gates.
pub(crate) fn add_flags(set: &mut FlagSet) {
    set.group::<Flags>().feature_gates(GATES).check(check);
}

/// Refuses values that cannot work, and names the flag.
///
/// `Differs:` upstream refuses only zero workers. It starts with a timeout of zero and then fails each call;
/// with a pause of zero and then works without pause; and with a negative page size, which no driver accepts.
fn check(parsed: &Parsed) -> Result<(), Exit> {
    let flags: Flags = parsed.read();
    if flags.worker_threads == 0 {
        return Err(Exit::refuse("--worker-threads must be greater than zero"));
    }
    for (flag, duration) in [
        ("timeout", flags.timeout),
        ("retry-interval-start", flags.retry_interval_start),
        ("retry-interval-max", flags.retry_interval_max),
        ("reconcile-sync", flags.reconcile_sync),
    ] {
        if duration.is_zero() {
            return Err(Exit::refuse(format!("--{flag} must be longer than 0")));
        }
    }
    if flags.max_entries < 0 {
        return Err(Exit::refuse("--max-entries must not be negative; 0 lets the driver choose"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(arg: &str) -> Exit {
        parse("csi-attacher", vec![arg.to_owned()]).map(|_| ()).unwrap_err()
    }

    #[test]
    fn values_that_cannot_work_are_refused_at_start() {
        for arg in [
            "--worker-threads=0",
            "-timeout=0s",
            "--max-entries=-1",
            "--reconcile-sync=0",
            "-retry-interval-start=0",
            "--retry-interval-max=0s",
        ] {
            assert_eq!(refused(arg).code, 1, "{arg}");
        }
    }

    #[test]
    fn unknown_flags_and_values_exit_with_2() {
        for arg in [
            "--no-such-flag",
            "--logtostderr",
            "--timeout=10",
            "--worker-threads=-1",
            "--master=x",
            "--attach",
        ] {
            assert_eq!(refused(arg).code, 2, "{arg}");
        }
    }

    #[test]
    fn unknown_gate_and_two_addresses_exit_with_1() {
        assert_eq!(refused("--feature-gates=Topology=true").code, 1);
        let both = ["--http-endpoint=:1", "--metrics-address=:2"].map(str::to_owned);
        assert_eq!(parse("csi-attacher", both.into()).map(|_| ()).unwrap_err().code, 1);
    }

    #[test]
    fn defaults_are_those_of_upstream() {
        let parsed = parse("csi-attacher", Vec::new()).unwrap();
        let flags: Flags = parsed.read();
        let seconds = [
            flags.timeout,
            flags.retry_interval_start,
            flags.retry_interval_max,
            flags.resync,
            flags.reconcile_sync,
        ];
        assert_eq!(seconds.map(|duration| duration.as_secs()), [15, 1, 300, 600, 60]);
        assert_eq!((flags.worker_threads, flags.max_entries), (10, 0));
        assert_eq!(parsed.read::<LogFlags>().max_grpc_log_length, -1);
        assert!(parsed.gates().is_enabled(ERROR_CODE) && parsed.gates().is_enabled(RELEASE_LEASE));
        let off = vec![
            "--feature-gates=MutableCSINodeAllocatableCount=false,ReleaseLeaderElectionOnExit=false"
                .to_owned(),
        ];
        let parsed = parse("csi-attacher", off).unwrap();
        assert!(!parsed.gates().is_enabled(ERROR_CODE) && !parsed.gates().is_enabled(RELEASE_LEASE));
    }

    #[test]
    fn help_names_every_flag_of_upstream() {
        let help = refused("--help");
        assert_eq!(help.code, 0);
        let text = format!("{}{}", help.stdout, help.stderr);
        for flag in "timeout worker-threads retry-interval-start retry-interval-max resync reconcile-sync max-entries \
            default-fstype max-grpc-log-length feature-gates csi-address kubeconfig version http-endpoint \
            metrics-address metrics-path kube-api-qps kube-api-burst leader-election leader-election-namespace \
            leader-election-lease-duration leader-election-renew-deadline leader-election-retry-period \
            leader-election-labels automaxprocs v vmodule logging-format log-flush-frequency log-text-split-stream \
            log-json-split-stream log-text-info-buffer-size log-json-info-buffer-size"
            .split_whitespace()
        {
            assert!(text.contains(&format!("-{flag} ")) || text.contains(&format!("-{flag}\n")), "{flag}");
        }
    }
}
