//! The command line of csi-node-driver-registrar (docs/upstream/node.md, "Registrar").

use std::time::Duration;

use base::flag::standard::add_logging;
use base::flag::{Dialect, Exit, FlagSet, Parsed, TlsFlags};

base::flags! {
    /// The flags of csi-node-driver-registrar.
    pub(crate) struct Flags {
        "csi-address" csi_address: String = "/run/csi/socket", "Address of the CSI driver's socket.";
        "kubelet-registration-path" kubelet_path: String = "", "Path of the driver's socket on the host, where the kubelet finds it. Required.";
        "plugin-registration-path" folder: String = "/registration", "Folder of the registration socket: the kubelet's plugins_registry.";
        "timeout" timeout: Duration = Duration::from_secs(1), "Longest time the driver may take to say its name.";
        "http-endpoint" http_endpoint: String = "", "TCP address that serves /healthz, for example :9809. Empty: none.";
        "health-port" health_port: i32 = 0, "Deprecated: use http-endpoint. Port that serves /healthz.";
        "enable-pprof" enable_pprof: bool = false, "Profiling of the Go runtime, which is not there.";
        "mode" mode: String = "", "Deprecated. kubelet-registration-probe exits with 0 at once.";
        "connection-timeout" connection_timeout: Duration = Duration::ZERO, "Deprecated and ignored.";
    }
}

/// The mode in which nothing is done.
const PROBE_MODE: &str = "kubelet-registration-probe";

impl Flags {
    /// The address of the HTTP server, if there is to be one, and the flag that names it.
    pub(crate) fn listen_address(&self) -> Option<(String, &'static str)> {
        match (self.http_endpoint.as_str(), self.health_port) {
            ("", port) if port > 0 => Some((format!(":{port}"), "--health-port")),
            ("", _) => None,
            (endpoint, _) => Some((endpoint.to_owned(), "--http-endpoint")),
        }
    }
}

/// Reads the command line (without the program's name).
///
/// # Errors
/// The process's end: help, version, a flag that cannot be read, values that do not go together, or the mode in which
/// nothing is done.
pub fn parse(program: &str, args: Vec<String>) -> Result<Parsed, Exit> {
    let mut set = FlagSet::new(program, Dialect::Go);
    set.add::<bool>("version", false, "Print the version and exit.");
    set.group::<Flags>().group::<TlsFlags>().check(check).check(check_tls);
    add_logging(&mut set);
    set.parse(args)
}

/// Logs the flags that are ignored, if they ask for something.
///
/// `Differs:` upstream serves profiles of the Go runtime with `--enable-pprof`.
pub(crate) fn warn_of_ignored(parsed: &Parsed) {
    if parsed.is_set("connection-timeout") {
        base::warn!("The flag is deprecated and ignored"; "flag" => "connection-timeout");
    }
    if parsed.get::<bool>("enable-pprof") {
        base::warn!("The flag has no effect: there is no Go runtime to profile"; "flag" => "enable-pprof");
    }
}

/// Checks the values against each other. In the mode in which nothing is done, the process ends with 0.
pub(crate) fn check(parsed: &Parsed) -> Result<(), Exit> {
    let flags: Flags = parsed.read();
    if flags.kubelet_path.is_empty() {
        return Err(Exit::refuse("--kubelet-registration-path is required: the driver's socket on the host"));
    }
    if flags.mode == PROBE_MODE {
        return Err(Exit::default());
    }
    if flags.folder.is_empty() {
        return Err(Exit::refuse(
            "--plugin-registration-path must not be empty: the kubelet's plugins_registry",
        ));
    }
    if !flags.http_endpoint.is_empty() && flags.health_port > 0 {
        return Err(Exit::refuse(
            "only one of --health-port and --http-endpoint can be set: remove --health-port",
        ));
    }
    if flags.timeout.is_zero() {
        return Err(Exit::refuse("--timeout must be longer than 0"));
    }
    Ok(())
}

/// Checks the certificate's flags, without which the server may have no address.
fn check_tls(parsed: &Parsed) -> Result<(), Exit> {
    TlsFlags::check(parsed, parsed.read::<Flags>().listen_address().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Flags, Exit> {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        parse("csi-node-driver-registrar", args).map(|parsed| parsed.read())
    }

    #[test]
    fn path_of_the_driver_on_the_host_is_required_first() {
        for args in [&[][..], &["--mode=kubelet-registration-probe"]] {
            let exit = parsed(args).unwrap_err();
            assert_eq!(exit.code, 1, "{args:?}");
            assert!(exit.stderr.contains("--kubelet-registration-path"), "{exit:?}");
        }
    }

    #[test]
    fn probe_mode_ends_at_once_with_0() {
        let args = ["--kubelet-registration-path=/d/csi.sock", "--mode=kubelet-registration-probe"];
        assert_eq!(parsed(&args).unwrap_err(), Exit::default());
        assert!(parsed(&[args[0], "--mode=other"]).is_ok());
    }

    #[test]
    fn profiling_is_accepted_as_charts_may_ask_for_it() {
        let flags = parsed(&["--kubelet-registration-path=/var/lib/d/csi.sock", "--enable-pprof"]);
        assert!(flags.is_ok_and(|flags| flags.enable_pprof));
    }

    #[test]
    fn health_port_is_all_addresses_and_excludes_http_endpoint() {
        let path = "--kubelet-registration-path=/d/csi.sock";
        let address = |args: &[&str]| parsed(args).map(|flags| flags.listen_address());
        assert_eq!(address(&[path]).unwrap(), None);
        assert_eq!(
            address(&[path, "--health-port=9809"]).unwrap().unwrap(),
            (":9809".to_owned(), "--health-port")
        );
        assert_eq!(
            address(&[path, "--http-endpoint=localhost:1"]).unwrap().unwrap(),
            ("localhost:1".to_owned(), "--http-endpoint")
        );
        assert_eq!(address(&[path, "--health-port=9809", "--http-endpoint=:1"]).unwrap_err().code, 1);
    }

    #[test]
    fn certificate_needs_a_key_and_an_address() {
        let path = "--kubelet-registration-path=/d";
        let (certificate, key) = ("--tls-cert-file=/tls.crt", "--tls-private-key-file=/tls.key");
        for (args, fix) in [
            (&[path, certificate, key][..], "set --http-endpoint"),
            (&[path, "--health-port=1", certificate], "needs --tls-private-key-file"),
            (&[path, "--http-endpoint=:1", key], "needs --tls-cert-file"),
        ] {
            let exit = parsed(args).unwrap_err();
            assert!(exit.code == 1 && exit.stderr.contains(fix), "{exit:?}");
        }
        assert!(parsed(&[path, "--health-port=1", certificate, key]).is_ok());
    }

    #[test]
    fn folder_may_not_be_empty() {
        let exit = parsed(&["--kubelet-registration-path=/d", "--plugin-registration-path="]).unwrap_err();
        assert_eq!(exit.code, 1);
        assert!(exit.stderr.contains("--plugin-registration-path"), "{exit:?}");
    }

    #[test]
    fn flags_of_controllers_are_unknown() {
        for flag in ["--kubeconfig=x", "--leader-election", "--metrics-address=:1", "--feature-gates=A=true"]
        {
            assert_eq!(parsed(&["--kubelet-registration-path=/d", flag]).unwrap_err().code, 2, "{flag}");
        }
    }
}
