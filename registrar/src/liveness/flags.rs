//! The command line of livenessprobe (docs/upstream/node.md, "Liveness probe").

use std::time::Duration;

use base::flag::standard::add_logging;
use base::flag::{Dialect, Exit, FlagSet, Parsed, TlsFlags};

base::flags! {
    /// The flags of livenessprobe.
    pub(crate) struct Flags {
        "csi-address" csi_address: String = "/run/csi/socket", "Address of the CSI driver's socket.";
        "probe-timeout" probe_timeout: Duration = Duration::from_secs(3), "Longest time that connecting and Probe may take together.";
        "http-endpoint" http_endpoint: String = "", "TCP address that serves /healthz and metrics, for example :9808. Replaces health-port.";
        "health-port" health_port: String = "9808", "Deprecated: use http-endpoint. Port that serves /healthz.";
        "metrics-address" metrics_address: String = "", "Deprecated: use http-endpoint. TCP address that serves metrics.";
        "metrics-path" metrics_path: String = "/metrics", "Path under which metrics are served.";
    }
}

/// Reads the command line (without the program's name). There is no `--version`, as upstream has none.
///
/// # Errors
/// The process's end: help, a flag that cannot be read, or values that do not go together.
pub fn parse(program: &str, args: Vec<String>) -> Result<Parsed, Exit> {
    let mut set = FlagSet::new(program, Dialect::Go);
    set.group::<Flags>().group::<TlsFlags>().check(check);
    add_logging(&mut set);
    set.parse(args)
}

fn check(parsed: &Parsed) -> Result<(), Exit> {
    let flags: Flags = parsed.read();
    let excludes = |flag: &str| {
        Err(Exit::refuse(format!("only one of --{flag} and --http-endpoint can be set: remove --{flag}")))
    };
    if !flags.http_endpoint.is_empty() && flags.health_port != "9808" {
        return excludes("health-port");
    }
    if !flags.http_endpoint.is_empty() && !flags.metrics_address.is_empty() {
        return excludes("metrics-address");
    }
    if flags.probe_timeout.is_zero() {
        return Err(Exit::refuse("--probe-timeout must be longer than 0"));
    }
    if !flags.metrics_path.starts_with('/') {
        return Err(Exit::refuse("--metrics-path must start with /"));
    }
    // There is always an address.
    TlsFlags::check(parsed, true)
}

impl Flags {
    /// The address of the server of `/healthz`.
    pub(crate) fn listen_address(&self) -> String {
        match self.http_endpoint.as_str() {
            "" => format!("0.0.0.0:{}", self.health_port),
            endpoint => endpoint.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Flags, Exit> {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        parse("livenessprobe", args).map(|parsed| parsed.read())
    }

    #[test]
    fn health_port_is_the_default_and_http_endpoint_replaces_it() {
        assert_eq!(parsed(&[]).unwrap().listen_address(), "0.0.0.0:9808");
        assert_eq!(parsed(&["--health-port=9898"]).unwrap().listen_address(), "0.0.0.0:9898");
        // Upstream cannot tell the default from a flag that says the same.
        assert_eq!(parsed(&["--http-endpoint=:1", "--health-port=9808"]).unwrap().listen_address(), ":1");
    }

    #[test]
    fn addresses_that_exclude_each_other_exit_with_1() {
        for other in ["--health-port=1", "--metrics-address=:2"] {
            let exit = parsed(&["--http-endpoint=:1", other]).unwrap_err();
            assert_eq!(exit.code, 1);
            assert!(exit.stderr.contains(other.split('=').next().unwrap()), "{exit:?}");
        }
    }

    #[test]
    fn there_is_no_version_flag() {
        assert_eq!(parsed(&["--version"]).unwrap_err().code, 2);
    }
}
