//! Both dialects on one set of flags, against what Go prints.

use std::time::Duration;

use super::standard::StandardFlags;
use super::*;

crate::flags! {
    /// A few flags of every kind.
    struct Flags {
        "timeout" timeout: Duration = Duration::from_secs(15), "Longest time one call may take.";
        "worker-threads" worker_threads: u32 = 10, "How many workers.";
        "level" level: i32 = -1, "A signed number.";
        "strict" strict: bool = false, "Whether to be strict.";
        "on" on: bool = true, "Whether to be on.";
        "prefix" prefix: String = "pvc", "A text\nof two lines.";
        "qps" qps: Option<f64> = 5.0, "A rate.";
        "labels" labels: Labels = "", "Labels.";
        "b" b: bool = false, "One letter.";
    }
}

const GATES: &[Gate] = &[
    Gate::ga("Topology"),
    Gate::alpha("Alpha"),
    Gate::beta("Beta", true),
    Gate { locked: true, ..Gate::ga("Locked") },
];

fn parse(dialect: Dialect, args: &[&str]) -> Result<Parsed, Exit> {
    let mut set = FlagSet::new("prog", dialect);
    set.group::<Flags>().group::<StandardFlags>().feature_gates(GATES);
    set.parse(args.iter().copied())
}

fn go(args: &[&str]) -> (Flags, Parsed) {
    let parsed = parse(Dialect::Go, args).unwrap_or_else(|exit| panic!("{args:?}: {exit:?}"));
    (parsed.read(), parsed)
}

fn refused(dialect: Dialect, args: &[&str]) -> Exit {
    match parse(dialect, args) {
        Err(exit) => exit,
        Ok(_) => panic!("{args:?} was taken"),
    }
}

#[test]
fn defaults_stand_when_nothing_is_given() {
    let (flags, parsed) = go(&[]);
    assert_eq!(flags.timeout, Duration::from_secs(15));
    assert_eq!((flags.worker_threads, flags.level), (10, -1));
    assert_eq!((flags.strict, flags.on, flags.b), (false, true, false));
    assert_eq!((flags.prefix.as_str(), flags.qps), ("pvc", None));
    assert!(!parsed.is_set("timeout") && parsed.notices().is_empty());
}

#[test]
fn one_dash_or_two_and_either_way_to_give_a_value() {
    let (flags, parsed) = go(&[
        "-timeout",
        "1m30s",
        "--worker-threads=0x10",
        "-level=-5",
        "--prefix",
        "-x",
        "-qps=5",
        "-strict",
        "--on=F",
        "-labels=a:b, c:d",
    ]);
    assert_eq!(flags.timeout, Duration::from_secs(90));
    assert_eq!((flags.worker_threads, flags.level), (16, -5));
    assert_eq!((flags.strict, flags.on), (true, false));
    assert_eq!((flags.prefix.as_str(), flags.qps), ("-x", Some(5.0)));
    assert_eq!(flags.labels.0.get("c").map(String::as_str), Some("d"));
    assert!(parsed.is_set("qps"));
}

#[test]
fn last_value_wins() {
    assert_eq!(go(&["-prefix=a", "-prefix=b"]).0.prefix, "b");
}

#[test]
fn go_stops_at_the_first_word_that_is_no_flag_and_says_so() {
    let (flags, parsed) = go(&["-strict", "true", "-prefix=late"]);
    assert!(flags.strict);
    assert_eq!(flags.prefix, "pvc");
    assert_eq!(parsed.notices().len(), 1);
    assert!(parsed.notices()[0].contains("\"true -prefix=late\""));
    let (flags, _) = go(&["-strict", "--", "-prefix=late"]);
    assert_eq!(flags.prefix, "pvc");
}

#[test]
fn pflag_reads_on_after_a_word_that_is_no_flag() {
    let parsed = parse(Dialect::Posix, &["--strict", "true", "--prefix=late", "-v5"]).unwrap();
    assert_eq!(parsed.read::<Flags>().prefix, "late");
    assert_eq!(parsed.read::<StandardFlags>().logging.verbosity, 5);
    assert_eq!(parsed.notices().len(), 1);
}

#[test]
fn pflag_shorthands() {
    for args in [&["-v=5"][..], &["-v", "5"], &["-v5"], &["--v=5"], &["--v", "5"]] {
        let parsed = parse(Dialect::Posix, args).unwrap();
        assert_eq!(parsed.read::<StandardFlags>().logging.verbosity, 5, "{args:?}");
    }
}

/// What is on standard error besides the usage text.
fn complaint(exit: &Exit) -> String {
    let usage = exit.stderr.find("Usage of prog:\n").unwrap();
    let lines = exit.stderr.lines();
    if usage == 0 { lines.last() } else { lines.take(1).last() }.unwrap().to_owned()
}

#[test]
fn go_says_what_is_wrong_then_prints_usage_and_exits_2() {
    for (args, want) in [
        (&["-nope"][..], "flag provided but not defined: -nope"),
        (&["--logtostderr"], "flag provided but not defined: -logtostderr"),
        (&["---x"], "bad flag syntax: ---x"),
        (&["-=x"], "bad flag syntax: -=x"),
        (&["-prefix"], "flag needs an argument: -prefix"),
        (&["-strict=maybe"], "invalid boolean value \"maybe\" for -strict: parse error"),
        (&["-timeout=5"], "invalid value \"5\" for flag -timeout: parse error"),
        (&["-timeout=-5s"], "invalid value \"-5s\" for flag -timeout: a duration must not be negative"),
        (&["-worker-threads=-1"], "invalid value \"-1\" for flag -worker-threads: parse error"),
        (
            &["-worker-threads=5000000000"],
            "invalid value \"5000000000\" for flag -worker-threads: value out of range",
        ),
        (&["-qps=1e999"], "invalid value \"1e999\" for flag -qps: value out of range"),
        (&["-labels=a"], "invalid value \"a\" for flag -labels: label \"a\" must be written key:value"),
        (
            &["-labels=a:b:c"],
            "invalid value \"a:b:c\" for flag -labels: label \"a:b:c\" must be written key:value",
        ),
        (
            &["-feature-gates=X"],
            "invalid value \"X\" for flag -feature-gates: malformed pair, expect string=bool",
        ),
    ] {
        let exit = refused(Dialect::Go, args);
        assert_eq!((exit.code, complaint(&exit).as_str()), (2, want));
        assert!(exit.stdout.is_empty());
    }
}

#[test]
fn pflag_prints_usage_then_what_is_wrong_and_exits_2() {
    for (args, want) in [
        (&["--nope"][..], "unknown flag: --nope"),
        (&["-csi-address=/x"], "unknown shorthand flag: 'c' in -csi-address=/x"),
        (&["--=x"], "bad flag syntax: --=x"),
        (&["--prefix"], "flag needs an argument: --prefix"),
        (&["-v"], "flag needs an argument: 'v' in -v"),
        (
            &["-v=x"],
            "invalid argument \"x\" for \"-v, --v\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
        ),
        (
            &["--strict=maybe"],
            "invalid argument \"maybe\" for \"--strict\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
        ),
        (
            &["--timeout=5"],
            "invalid argument \"5\" for \"--timeout\" flag: time: missing unit in duration \"5\"",
        ),
    ] {
        let exit = refused(Dialect::Posix, args);
        assert_eq!((exit.code, complaint(&exit).as_str()), (2, want));
    }
}

#[test]
fn help_exits_0_with_usage() {
    for (dialect, args) in [
        (Dialect::Go, ["-h"]),
        (Dialect::Go, ["--help"]),
        (Dialect::Posix, ["-h"]),
        (Dialect::Posix, ["--help"]),
    ] {
        let exit = refused(dialect, &args);
        assert_eq!(exit.code, 0);
        assert!(exit.stderr.starts_with("Usage of prog:\n") && exit.stdout.is_empty());
    }
}

#[test]
fn version_prints_program_and_version() {
    let exit = refused(Dialect::Go, &["--version"]);
    assert_eq!((exit.code, exit.stdout), (0, format!("prog v{}\n", env!("CARGO_PKG_VERSION"))));
}

fn usage(dialect: Dialect) -> String {
    let mut set = FlagSet::new("prog", dialect);
    set.group::<Flags>();
    set.add::<i32>("v", 0, "Verbosity.");
    set.usage()
}

#[test]
fn go_usage_is_laid_out_as_go_does() {
    let want = "Usage of prog:\n\
        \x20 -b\tOne letter.\n\
        \x20 -labels value\n    \tLabels.\n\
        \x20 -level int\n    \tA signed number. (default -1)\n\
        \x20 -on\n    \tWhether to be on. (default true)\n\
        \x20 -prefix string\n    \tA text\n    \tof two lines. (default \"pvc\")\n\
        \x20 -qps float\n    \tA rate. (default 5)\n\
        \x20 -strict\n    \tWhether to be strict.\n\
        \x20 -timeout duration\n    \tLongest time one call may take. (default 15s)\n\
        \x20 -v int\n    \tVerbosity.\n\
        \x20 -worker-threads uint\n    \tHow many workers. (default 10)\n";
    assert_eq!(usage(Dialect::Go), want);
}

#[test]
fn pflag_usage_is_laid_out_in_columns() {
    let want = "Usage of prog:\n\
        \x20     --b                     One letter.\n\
        \x20     --labels value          Labels.\n\
        \x20     --level int             A signed number. (default -1)\n\
        \x20     --on                    Whether to be on. (default true)\n\
        \x20     --prefix string         A text\n\
        \x20                             of two lines. (default \"pvc\")\n\
        \x20     --qps float             A rate. (default 5)\n\
        \x20     --strict                Whether to be strict.\n\
        \x20     --timeout duration      Longest time one call may take. (default 15s)\n\
        \x20 -v, --v int                 Verbosity.\n\
        \x20     --worker-threads uint   How many workers. (default 10)\n";
    assert_eq!(usage(Dialect::Posix), want);
}

#[test]
fn gates_merge_over_repeated_flags() {
    let (_, parsed) = go(&["-feature-gates=Alpha=true,Beta=false", "--feature-gates=Alpha=false"]);
    let gates = parsed.gates();
    assert!(!gates.is_enabled("Alpha") && !gates.is_enabled("Beta"));
    assert!(gates.is_enabled("Topology") && !gates.is_enabled("Nobody"));
    assert!(gates.is_set("Beta") && !gates.is_set("Topology"));
}

#[test]
fn all_alpha_and_all_beta_yield_to_gates_named_themselves() {
    let (_, parsed) = go(&["-feature-gates=AllAlpha=true,AllBeta=false"]);
    assert!(parsed.gates().is_enabled("Alpha") && !parsed.gates().is_enabled("Beta"));
    assert!(parsed.gates().is_enabled("Topology"));
    let (_, parsed) = go(&["-feature-gates=Alpha=false,AllAlpha=true"]);
    assert!(!parsed.gates().is_enabled("Alpha"));
}

#[test]
fn ga_gates_may_be_switched_off_with_a_notice() {
    let (_, parsed) = go(&["-feature-gates=Topology=false"]);
    assert!(!parsed.gates().is_enabled("Topology"));
    assert_eq!(parsed.notices().len(), 1);
    assert!(parsed.notices()[0].contains("Topology=false"));
}

#[test]
fn api_server_gates_are_accepted_without_effect() {
    let (_, parsed) = go(&["-feature-gates=WatchList=true"]);
    assert!(parsed.notices().is_empty());
}

#[test]
fn unknown_and_locked_gates_exit_1() {
    let exit = refused(Dialect::Go, &["-feature-gates=HonorPVReclaimPolicy=true"]);
    assert_eq!(exit.code, 1);
    assert!(exit.stderr.starts_with("unrecognized feature gate: HonorPVReclaimPolicy"));
    let exit = refused(Dialect::Go, &["-feature-gates=Locked=false"]);
    assert_eq!(exit.code, 1);
    assert!(exit.stderr.contains("feature is locked to true"));
    assert!(parse(Dialect::Go, &["-feature-gates=Locked=true"]).is_ok());
}

#[test]
fn standard_flags_have_upstreams_defaults() {
    let standard: StandardFlags = go(&[]).1.read();
    assert_eq!(standard.csi_address, "/run/csi/socket");
    assert_eq!((standard.kube_api_qps, standard.kube_api_burst), (None, None));
    assert_eq!(standard.metrics_path, "/metrics");
    assert_eq!(standard.listen_address(), None);
    assert!(!standard.status_page && !standard.exit_on_connection_loss && !standard.leader_election.enabled);
    let election = standard.leader_election;
    let seconds = [election.lease_duration, election.renew_deadline, election.retry_period];
    assert_eq!(seconds.map(|d| d.as_secs()), [15, 10, 5]);
}

#[test]
fn explicit_client_limits_are_seen_even_at_their_defaults() {
    let standard: StandardFlags = go(&["-kube-api-qps=5", "-kube-api-burst=10"]).1.read();
    assert_eq!((standard.kube_api_qps, standard.kube_api_burst), (Some(5.0), Some(10)));
}

#[test]
fn values_that_do_not_go_together_are_refused() {
    for (args, code, names) in [
        (&["-http-endpoint=:1", "-metrics-address=:2"][..], 1, "--metrics-address"),
        (&["-http-endpoint=:1", "-tls-cert-file=c"][..], 1, "needs --tls-private-key-file"),
        (&["-http-endpoint=:1", "-tls-private-key-file=k"][..], 1, "needs --tls-cert-file"),
        (&["-tls-cert-file=c", "-tls-private-key-file=k"][..], 1, "set --http-endpoint"),
        (&["-http-endpoint=:1", "-http-require-token"][..], 1, "set --tls-cert-file"),
        (&["-status-page"][..], 1, "set --http-endpoint"),
        (&["-status-page", "-http-endpoint=:1", "-metrics-path=/status"][..], 1, "change --metrics-path"),
        (&["-kube-api-burst=-1"], 1, "--kube-api-burst"),
        (&["-kube-api-qps=NaN"], 1, "--kube-api-qps"),
        (&["-kube-api-qps=Inf"], 1, "--kube-api-qps"),
        (&["-metrics-path=metrics"], 1, "--metrics-path"),
        (&["-logging-format=xml"], 1, "--logging-format"),
        (&["-logging-format=json", "-vmodule=a=1"], 1, "--vmodule"),
        (&["-log-flush-frequency=0"], 1, "--log-flush-frequency"),
        (&["-log-text-split-stream"], 1, "--log-text-split-stream"),
        (&["-log-json-info-buffer-size=1Ki"], 1, "--log-json-info-buffer-size"),
        (&["-leader-election", "-leader-election-lease-duration=10s"], 2, "lease-duration"),
        (&["-leader-election", "-leader-election-retry-period=9s"], 2, "renew-deadline"),
        (&["-leader-election", "-leader-election-retry-period=0"], 2, "retry-period"),
    ] {
        let exit = refused(Dialect::Go, args);
        assert_eq!(exit.code, code, "{args:?}");
        assert!(exit.stderr.contains(names), "{args:?}: {}", exit.stderr);
        assert_eq!(exit.stderr.lines().count(), 1);
    }
    go(&["-leader-election-lease-duration=1s", "-automaxprocs", "-log-json-info-buffer-size=0"]);
}

crate::flags! {
    /// What another sidecar has.
    struct OtherFlags {
        "timeout" timeout: Duration = Duration::from_secs(10), "Longest time one call may take.";
        "workers" workers: u32 = 3, "How many workers.";
    }
}

fn refuse_no_workers(parsed: &Parsed) -> Result<(), Exit> {
    match parsed.get::<u32>("workers") {
        0 => Err(Exit::refuse("--workers must be greater than zero")),
        _ => Ok(()),
    }
}

/// Two sidecars in one process.
fn sections(args: &[&str]) -> Result<Parsed, Exit> {
    let mut set = FlagSet::new("prog", Dialect::Posix);
    set.group::<StandardFlags>();
    set.add::<Duration>("timeout", Duration::ZERO, "For all.");
    set.section("one", |set| {
        set.group::<Flags>().feature_gates(GATES);
    });
    set.section("other", |set| {
        set.group::<OtherFlags>()
            .feature_gates(&[Gate::alpha("Other"), Gate::alpha("Alpha")])
            .check(refuse_no_workers);
    });
    set.parse(args.iter().copied())
}

#[test]
fn section_has_its_own_flags_and_those_that_all_share() {
    let parsed =
        sections(&["--one-level=2", "--csi-address=/s", "--feature-gates=Other=true,Alpha=true"]).unwrap();
    let (one, other) = (parsed.section("one"), parsed.section("other"));
    assert_eq!((one.read::<Flags>().level, other.read::<OtherFlags>().workers), (2, 3));
    assert!(one.is_set("level") && !other.is_set("workers"));
    assert_eq!(one.read::<StandardFlags>().csi_address, "/s");
    let enabled = |gate| [&one, &other].map(|section| section.gates().is_enabled(gate));
    assert_eq!([enabled("Alpha"), enabled("Other")], [[true, true]; 2]);
}

#[test]
fn own_flag_of_a_section_beats_the_shared_one() {
    let timeouts = |args: &[&str]| {
        let parsed = sections(args).unwrap();
        let one: Flags = parsed.section("one").read();
        let other: OtherFlags = parsed.section("other").read();
        (one.timeout.as_secs(), other.timeout.as_secs())
    };
    assert_eq!(timeouts(&[]), (15, 10));
    assert_eq!(timeouts(&["--one-timeout=1s"]), (1, 10));
    assert_eq!(timeouts(&["--timeout=30s"]), (30, 30));
    assert_eq!(timeouts(&["--one-timeout=1s", "--timeout=30s"]), (1, 30));
}

#[test]
fn section_refuses_by_the_name_on_the_command_line() {
    let exit = sections(&["--other-workers=0"]).map(drop).unwrap_err();
    assert_eq!((exit.code, exit.stderr.as_str()), (1, "--other-workers must be greater than zero\n"));
    assert_eq!(sections(&["--workers=1"]).map(drop).unwrap_err().code, 2, "no section's flag stands alone");
}
