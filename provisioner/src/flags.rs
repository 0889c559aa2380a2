//! The command line of csi-provisioner (docs/upstream/provisioner.md, "Flags" and "Feature gates").

use std::time::Duration;

use base::flag::standard::StandardFlags;
use base::flag::{Dialect, Exit, FlagSet, Gate, Parsed};

use crate::claim::prefix::is_valid_prefix;

base::flags! {
    /// The flags that only csi-provisioner has.
    pub(crate) struct Flags {
        "timeout" timeout: Duration = Duration::from_secs(10), "Longest time one call to the driver may take.";
        "worker-threads" worker_threads: u32 = 100, "How many claims, and how many volumes, are worked on at once.";
        "retry-interval-start" retry_interval_start: Duration = Duration::from_secs(1), "Pause after the first failure of a claim or volume; it doubles with each further one.";
        "retry-interval-max" retry_interval_max: Duration = Duration::from_secs(300), "Longest pause between two tries.";
        "volume-name-prefix" volume_name_prefix: String = "pvc", "What volume names begin with.";
        "volume-name-uuid-length" volume_name_uuid_length: i32 = -1, "Characters of the claim's uid in volume names, without dashes; -1 means the whole uid.";
        "default-fstype" default_fstype: String = "", "File system of volumes whose class names none.";
        "extra-create-metadata" extra_create_metadata: bool = false, "Add the claim's name and namespace and the volume's name to the parameters of CreateVolume.";
        "strict-topology" strict_topology: bool = false, "With late binding, ask for the selected node's segment only.";
        "immediate-topology" immediate_topology: bool = true, "With immediate binding, ask for the segments of the cluster.";
        "cloning-protection-threads" cloning_protection_threads: u32 = 1, "Workers that remove the protection of cloned claims.";
        "snapshot-orphan-sweep-interval" snapshot_orphan_sweep_interval: Duration = Duration::from_secs(300), "Longest pause until a snapshot whose protection could not be removed is looked at again; 0: protection that an earlier process left is not looked for.";
        "prevent-volume-mode-conversion" prevent_volume_mode_conversion: bool = true, "Refuse to restore a snapshot in another volume mode unless its content allows it.";
        "controller-publish-readonly" controller_publish_readonly: bool = false, "Mark volumes read-only whose only access mode is ReadOnlyMany.";
        "enable-capacity" enable_capacity: bool = false, "Publish CSIStorageCapacity objects.";
        "capacity-threads" capacity_threads: u32 = 1, "Workers that refresh capacities.";
        "capacity-poll-interval" capacity_poll_interval: Duration = Duration::from_secs(60), "How often capacities are asked for.";
        "capacity-for-immediate-binding" capacity_for_immediate_binding: bool = false, "Publish capacities for classes with immediate binding too.";
        "capacity-ownerref-level" capacity_ownerref_level: i32 = 1, "Owner of the capacity objects: negative none, 0 the pod, 1 its controller, 2 that one's controller.";
        "kube-api-capacity-qps" kube_api_capacity_qps: f64 = 1.0, "Requests per second for capacity objects; 0: 5, negative: no limit.";
        "kube-api-capacity-burst" kube_api_capacity_burst: i32 = 5, "Burst above kube-api-capacity-qps; 0: 10.";
        "node-deployment" node_deployment: bool = false, "Run one provisioner on each node.";
        "node-deployment-immediate-binding" node_deployment_immediate_binding: bool = true, "On nodes, serve claims with immediate binding too.";
        "node-deployment-base-delay" node_deployment_base_delay: Duration = Duration::from_secs(20), "On nodes, first pause before a claim is made one's own.";
        "node-deployment-max-delay" node_deployment_max_delay: Duration = Duration::from_secs(60), "On nodes, longest pause before a claim is made one's own.";
        "volume-intents" volume_intents: bool = true, "Write each request down, in a Lease, before it is sent, so that no volume leaks when a claim is deleted and this process dies.";
        "enable-pprof" enable_pprof: bool = false, "Accepted for compatibility; there is no Go runtime to profile.";
    }
}

base::flags! {
    /// Where the API server is.
    pub(crate) struct ServerFlags {
        "master" master: String = "", "URL of the API server; replaces the one in the kubeconfig.";
    }
}

/// Gate: topology is used.
pub(crate) const TOPOLOGY: &str = "Topology";
/// Gate: claims may name a VolumeAttributesClass.
pub(crate) const VOLUME_ATTRIBUTES_CLASS: &str = "VolumeAttributesClass";
/// Gate: a data source may be in another namespace.
pub(crate) const CROSS_NAMESPACE: &str = "CrossNamespaceVolumeDataSource";
/// Gate: the lease is released on SIGTERM.
pub(crate) const RELEASE_LEASE: &str = "ReleaseLeaderElectionOnExit";
/// Gate: classes and volumes of kubernetes.io/rbd are translated too.
pub(crate) const MIGRATE_RBD: &str = "CSIMigrationRBD";

/// Upstream's gates, and our own for rbd, which upstream has dropped: `AllAlpha` does not turn it on. `Differs:` the lease is released on exit unless the gate is set to false.
const GATES: &[Gate] = &[
    Gate::ga(TOPOLOGY),
    Gate::ga(VOLUME_ATTRIBUTES_CLASS),
    Gate::alpha(CROSS_NAMESPACE),
    Gate::beta(RELEASE_LEASE, true),
    Gate::own(MIGRATE_RBD),
    Gate::removed("HonorPVReclaimPolicy"),
];

/// Reads the command line (without the program's name).
pub(crate) fn parse(program: &str, args: Vec<String>) -> Result<Parsed, Exit> {
    let mut set = FlagSet::new(program, Dialect::Posix);
    set.gate_code(FATAL.into()).group::<StandardFlags>().group::<ServerFlags>();
    add_flags(&mut set);
    set.parse(args)
}

/// Adds the flags that only csi-provisioner has, and its feature gates.
pub(crate) fn add_flags(set: &mut FlagSet) {
    set.group::<Flags>().feature_gates(GATES).check(check);
}

/// Exit code of what upstream calls fatal.
pub(crate) const FATAL: u8 = 255;

const NO_PROFILES: &str = "--enable-pprof serves no profiles, and /debug/pprof/ is not found: there is no Go runtime here; perf can profile this process";

/// What to log about `--enable-pprof`, if it is given.
///
/// `Differs:` upstream serves profiles of the Go runtime with `--enable-pprof`. Ours has none: it starts all the same, and one
/// log line says so.
pub(crate) fn no_profiles(parsed: &Parsed) -> Option<&'static str> {
    parsed.read::<Flags>().enable_pprof.then_some(NO_PROFILES)
}

/// Requests a second and burst of the client for capacity objects, as client-go reads them: 0 is its default, and a negative
/// rate is no limit.
pub(crate) fn capacity_rate(flags: &Flags) -> (f64, u32) {
    let qps = if flags.kube_api_capacity_qps == 0.0 { 5.0 } else { flags.kube_api_capacity_qps };
    let burst = u32::try_from(flags.kube_api_capacity_burst).ok().filter(|burst| *burst > 0).unwrap_or(10);
    (qps, burst)
}

/// Refuses values that cannot work, and names the flag.
///
/// `Differs:` upstream starts with all of these. With no workers it does nothing; with a timeout of zero or an empty prefix each
/// claim fails; with a pause of zero it works without pauses. A prefix that no PersistentVolume's name can begin with fails
/// only after CreateVolume. With a uuid length of 0 all claims get the same name, and with one that is out of range the
/// process ends at the first claim.
fn check(parsed: &Parsed) -> Result<(), Exit> {
    let flags: Flags = parsed.read();
    if flags.worker_threads == 0 {
        return Err(Exit::refuse("--worker-threads must be greater than zero"));
    }
    if flags.cloning_protection_threads == 0 {
        return Err(Exit::refuse("--cloning-protection-threads must be greater than zero"));
    }
    if flags.timeout.is_zero() {
        return Err(Exit::refuse("--timeout must be longer than 0"));
    }
    if flags.retry_interval_start.is_zero() || flags.retry_interval_max.is_zero() {
        return Err(Exit::refuse("--retry-interval-start and --retry-interval-max must be longer than 0"));
    }
    if flags.volume_name_prefix.is_empty() {
        return Err(Exit::refuse("--volume-name-prefix must not be empty; the default is pvc"));
    }
    if !is_valid_prefix(&flags.volume_name_prefix) {
        return Err(Exit::refuse(format!(
            "--volume-name-prefix={}: names of PersistentVolumes have lower-case letters, digits, - and . only, and begin \
             with a letter or digit; the default is pvc",
            flags.volume_name_prefix
        )));
    }
    if !(-1..=32).contains(&flags.volume_name_uuid_length) || flags.volume_name_uuid_length == 0 {
        return Err(Exit::refuse("--volume-name-uuid-length must be -1, or between 1 and 32"));
    }
    if flags.enable_capacity {
        check_capacity(&flags)?;
    }
    Ok(())
}

/// Refuses values with which no capacity could be published.
fn check_capacity(flags: &Flags) -> Result<(), Exit> {
    let refused = [
        (flags.capacity_threads == 0, "--capacity-threads must be greater than zero"),
        (flags.capacity_poll_interval.is_zero(), "--capacity-poll-interval must be longer than 0"),
        (
            !flags.kube_api_capacity_qps.is_finite(),
            "--kube-api-capacity-qps must be a number of requests per second",
        ),
        (flags.kube_api_capacity_burst < 0, "--kube-api-capacity-burst must not be negative"),
    ];
    match refused.into_iter().find(|(is_wrong, _)| *is_wrong) {
        Some((_, why)) => Err(Exit::refuse(why)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(arg: &str) -> Exit {
        parse("csi-provisioner", arg.split(' ').map(str::to_owned).collect()).map(|_| ()).unwrap_err()
    }

    #[test]
    fn profiling_is_accepted_and_said_to_be_missing() {
        let parsed = |args: &[&str]| {
            parse("csi-provisioner", args.iter().map(|arg| (*arg).to_owned()).collect()).unwrap()
        };
        assert_eq!(no_profiles(&parsed(&["--enable-pprof"])), Some(NO_PROFILES));
        assert_eq!(no_profiles(&parsed(&["--enable-pprof=false"])), None);
        assert_eq!(no_profiles(&parsed(&[])), None);
    }

    #[test]
    fn values_that_make_every_claim_fail_are_refused_at_start() {
        for arg in [
            "--volume-name-prefix=",
            "--volume-name-prefix=My_PVC",
            "--volume-name-uuid-length=0",
            "--volume-name-uuid-length=33",
            "--worker-threads=0",
            "--cloning-protection-threads=0",
            "--timeout=0s",
            "--retry-interval-start=0s",
            "--retry-interval-max=0s",
            "--capacity-threads=0 --enable-capacity",
            "--capacity-poll-interval=0s --enable-capacity",
            "--kube-api-capacity-qps=NaN --enable-capacity",
            "--kube-api-capacity-burst=-1 --enable-capacity",
        ] {
            let exit = refused(arg);
            assert_eq!(exit.code, 1, "{arg}");
            let flag = arg.split('=').next().unwrap();
            assert!(exit.stderr.contains(flag), "{arg}: {}", exit.stderr);
        }
    }

    #[test]
    fn capacity_rate_is_read_as_client_go_reads_it() {
        for (args, expected) in [
            ("", (1.0, 5)),
            ("--kube-api-capacity-qps=0", (5.0, 5)),
            ("--kube-api-capacity-qps=-1", (-1.0, 5)),
            ("--kube-api-capacity-qps=2.5 --kube-api-capacity-burst=0", (2.5, 10)),
            ("--capacity-ownerref-level=-2", (1.0, 5)),
        ] {
            let args = format!("--enable-capacity {args}");
            let parsed = parse("csi-provisioner", args.split_whitespace().map(str::to_owned).collect());
            assert_eq!(capacity_rate(&parsed.unwrap().read()), expected, "{args}");
        }
    }

    #[test]
    fn all_alpha_gates_turn_on_those_of_upstream_only() {
        for (gates, cross, rbd) in [
            ("AllAlpha=true", true, false),
            ("AllAlpha=true,CSIMigrationRBD=true", true, true),
            ("AllAlpha=true,CrossNamespaceVolumeDataSource=false", false, false),
            ("CrossNamespaceVolumeDataSource=true", true, false),
            ("AllBeta=true", false, false),
        ] {
            let parsed = parse("csi-provisioner", vec![format!("--feature-gates={gates}")]).unwrap();
            let on = |gate| parsed.gates().is_enabled(gate);
            assert_eq!((on(CROSS_NAMESPACE), on(MIGRATE_RBD)), (cross, rbd), "{gates}");
        }
    }

    #[test]
    fn single_dash_and_unknown_flags_exit_with_2() {
        for arg in ["-csi-address=/x", "--no-such-flag", "--logtostderr", "--timeout=10"] {
            assert_eq!(refused(arg).code, 2, "{arg}");
        }
    }

    #[test]
    fn removed_gate_is_accepted_and_an_unknown_one_exits_with_255() {
        let arg = "--feature-gates=HonorPVReclaimPolicy=true".to_owned();
        let parsed = parse("csi-provisioner", vec![arg]).unwrap();
        let notice = "--feature-gates sets HonorPVReclaimPolicy=true: the gate is gone and changes nothing";
        assert_eq!(parsed.notices(), [notice]);
        let exit = refused("--feature-gates=Honor=true");
        assert_eq!(exit.code, 255);
        assert!(!exit.stderr.contains("HonorPV"), "only gates that work are offered: {}", exit.stderr);
    }

    #[test]
    fn help_names_every_flag_of_upstream() {
        let help = refused("--help");
        assert_eq!(help.code, 0);
        let text = format!("{}{}", help.stdout, help.stderr);
        for flag in "csi-address master kubeconfig version timeout worker-threads retry-interval-start \
            retry-interval-max volume-name-prefix volume-name-uuid-length default-fstype extra-create-metadata \
            strict-topology immediate-topology feature-gates cloning-protection-threads \
            snapshot-orphan-sweep-interval prevent-volume-mode-conversion controller-publish-readonly \
            enable-capacity capacity-threads capacity-poll-interval capacity-for-immediate-binding \
            capacity-ownerref-level kube-api-capacity-qps kube-api-capacity-burst node-deployment \
            node-deployment-immediate-binding node-deployment-base-delay node-deployment-max-delay kube-api-qps \
            kube-api-burst leader-election leader-election-namespace leader-election-lease-duration \
            leader-election-renew-deadline leader-election-retry-period leader-election-labels http-endpoint \
            metrics-address metrics-path enable-pprof automaxprocs vmodule logging-format log-flush-frequency \
            log-text-split-stream log-json-split-stream log-text-info-buffer-size log-json-info-buffer-size"
            .split_whitespace()
        {
            assert!(text.contains(&format!("--{flag} ")) || text.contains(&format!("--{flag}\n")), "{flag}");
        }
    }
}
