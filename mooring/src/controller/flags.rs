//! The command line of `mooring controller`: the flags that all sidecars share, and those of each with its name in front.

use std::time::Duration;

use base::flag::standard::StandardFlags;
use base::flag::{Dialect, Exit, FlagSet, Parsed};

use super::config;
use super::select::{Choice, Controller};

base::flags! {
    /// The flags that concern the whole process.
    pub(crate) struct Flags {
        "controllers" controllers: String = "*", "Sidecars to run, comma-separated; * means those that the driver's capabilities call for (the log names the others), -NAME leaves one out.";
        "config" config: String = "", "YAML file with flags by their names, such as provisioner-worker-threads: 50. The command line comes after it and wins.";
        "master" master: String = "", "URL of the API server; replaces the one in the kubeconfig.";
        "timeout" timeout: Duration = Duration::from_secs(10), "Longest time one call to the driver may take while the process starts; where given, also the timeout of each sidecar without one of its own.";
        "max-grpc-log-length" max_grpc_log_length: i32 = -1, "Cut calls in the log to this many bytes; 0 or less does not cut.";
    }
}

/// Reads the command line (without the program's name), and the file that `--config` names.
///
/// # Errors
/// The process's end: help, version, a flag or file that cannot be read, or values that do not go together.
pub(crate) fn parse(program: &str, args: Vec<String>) -> Result<Parsed, Exit> {
    let args: Vec<String> = args.into_iter().map(spelled).collect();
    // What the command line lacks may be in the file: only both together are checked.
    let path: String = set(program).unchecked().parse(args.clone())?.get("config");
    if path.is_empty() {
        return set(program).parse(args);
    }
    let file = config::words(&path, &set(program)).map_err(Exit::refuse)?;
    set(program).unchecked().parse(file.clone()).map_err(|exit| config::refused(&path, &exit))?;
    set(program).parse(file.into_iter().chain(args))
}

fn set(program: &str) -> FlagSet {
    let mut set = FlagSet::new(program, Dialect::Posix);
    set.group::<Flags>().group::<StandardFlags>().check(check);
    for controller in Controller::ALL {
        set.section(controller.name(), controller.program().add_flags);
    }
    set
}

/// The example manifests of KEP-4958 write `--attacher-worker-thread`.
fn spelled(word: String) -> String {
    let (name, value) = word.split_once('=').unwrap_or((&word, ""));
    let misspelled =
        Controller::ALL.iter().any(|controller| name == format!("--{}-worker-thread", controller.name()));
    match misspelled {
        true if word.contains('=') => format!("{name}s={value}"),
        true => format!("{name}s"),
        false => word,
    }
}

fn check(parsed: &Parsed) -> Result<(), Exit> {
    let flags: Flags = parsed.read();
    Choice::parse(&flags.controllers).map_err(Exit::refuse)?;
    match flags.timeout.is_zero() {
        true => Err(Exit::refuse("--timeout must be longer than 0")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Parsed, Exit> {
        parse("csi-sidecars", line.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn example_of_upstreams_plan_is_understood() {
        let parsed = parse_line(
            "--csi-address=unix:/csi/csi.sock --controllers=attacher,provisioner --feature-gates=Topology=true \
             --leader-election --leader-election-namespace=kube-system --timeout=30s --attacher-timeout=20s \
             --attacher-worker-thread=100 --provisioner-timeout=40s",
        )
        .unwrap();
        let timeout = |section| parsed.section(section).get::<Duration>("timeout").as_secs();
        assert_eq!((timeout("attacher"), timeout("provisioner")), (20, 40));
        assert_eq!(parsed.section("attacher").get::<u32>("worker-threads"), 100);
        assert_eq!(parsed.section("provisioner").get::<u32>("worker-threads"), 100, "its default");
        assert!(
            parsed.gates().is_enabled("Topology") && parsed.read::<StandardFlags>().leader_election.enabled
        );
    }

    #[test]
    fn sidecar_without_a_timeout_of_its_own_has_the_shared_one() {
        let timeouts = |line| {
            let parsed = parse_line(line).unwrap();
            Controller::ALL.map(|each| parsed.section(each.name()).get::<Duration>("timeout").as_secs())
        };
        assert_eq!(timeouts("--timeout=30s --attacher-timeout=20s"), [30, 20, 30]);
        assert_eq!(timeouts(""), [10, 15, 10], "as the sidecars alone");
    }

    #[test]
    fn bad_values_are_refused_by_the_name_on_the_command_line() {
        for (line, code, text) in [
            ("--controllers=nothing", 1, "--controllers: there is no \"nothing\""),
            ("--attacher-worker-threads=0", 1, "--attacher-worker-threads must be greater than zero"),
            ("--timeout=0s", 1, "--timeout must be longer than 0"),
            ("--worker-threads=5", 2, "unknown flag: --worker-threads"),
            ("--feature-gates=None=true", 1, "unrecognized feature gate"),
        ] {
            let exit = parse_line(line).map(drop).unwrap_err();
            assert_eq!(exit.code, code, "{line}");
            assert!(exit.stderr.contains(text), "{line}: {}", exit.stderr);
        }
    }

    /// What comes of this file beside the words of this command line.
    fn with_file(file: &str, line: &str) -> Result<Parsed, Exit> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, file).unwrap();
        parse_line(&format!("--config={} {line}", path.display()))
    }

    #[test]
    fn flags_that_need_each_other_may_be_in_two_places() {
        let parsed = with_file("http-endpoint: \":8080\"", "--status-page").unwrap();
        assert!(parsed.read::<StandardFlags>().status_page);
        let line = "--leader-election --leader-election-lease-duration=8s";
        let file = "leader-election-renew-deadline: 6s\nleader-election-retry-period: 2s";
        assert!(with_file(file, line).is_ok());
        let exit = with_file("v: 1", line).map(drop).unwrap_err();
        assert!(exit.stderr.contains("leader-election"), "{}", exit.stderr);
    }

    #[test]
    fn bad_value_in_a_file_is_refused_with_the_files_name() {
        let exit = with_file("v: high", "").map(drop).unwrap_err();
        assert_eq!((exit.code, exit.stderr.lines().count()), (1, 1), "{}", exit.stderr);
        assert!(exit.stderr.starts_with("--config=/") && exit.stderr.contains("high"), "{}", exit.stderr);
    }

    #[test]
    fn file_sets_flags_and_the_command_line_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        std::fs::write(
            &path,
            "controllers: [attacher, provisioner]\nattacher-worker-threads: 7\nprovisioner-timeout: 1m\nleader-election: true\n\
             feature-gates: {Topology: false}\n",
        )
        .unwrap();
        let parsed = parse_line(&format!("--config={} --attacher-worker-threads=8", path.display())).unwrap();
        assert_eq!(parsed.get::<String>("controllers"), "attacher,provisioner");
        assert_eq!(parsed.section("attacher").get::<u32>("worker-threads"), 8);
        assert_eq!(parsed.section("provisioner").get::<Duration>("timeout").as_secs(), 60);
        assert!(
            !parsed.gates().is_enabled("Topology") && parsed.read::<StandardFlags>().leader_election.enabled
        );
    }
}
