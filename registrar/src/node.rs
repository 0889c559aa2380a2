//! `mooring node`: csi-node-driver-registrar and livenessprobe in one process, with one HTTP server.
//!
//! `/healthz` is livenessprobe's, for the driver's container; `/healthz/registration` is the registrar's; metrics are on the same
//! page.

use std::sync::Arc;
use std::time::Duration;

use base::flag::standard::add_logging;
use base::flag::{Dialect, Exit, FlagSet, Parsed};
use base::http::Routes;
use base::metrics::Metrics;
use csi::Endpoint;

use crate::liveness::probe::Probe;
use crate::registration::{
    Flags as RegistrarFlags, Registrar, check as check_registrar, run, warn_of_ignored,
};

/// Where livenessprobe listens if nobody says otherwise.
const ADDRESS: &str = "0.0.0.0:9808";

base::flags! {
    /// What the node has beside the registrar's flags.
    struct Flags {
        "probe-timeout" probe_timeout: Duration = Duration::from_secs(3), "Longest time that connecting and Probe may take together.";
        "metrics-path" metrics_path: String = "/metrics", "Path under which metrics are served.";
    }
}

/// Reads the command line (without the program's name).
///
/// # Errors
/// The process's end: help, version, a flag that cannot be read, or values that do not go together.
pub fn parse(program: &str, args: Vec<String>) -> Result<Parsed, Exit> {
    let mut set = FlagSet::new(program, Dialect::Go);
    set.add::<bool>("version", false, "Print the version and exit.");
    set.group::<RegistrarFlags>().group::<Flags>().check(check_registrar).check(check);
    add_logging(&mut set);
    set.parse(args)
}

fn check(parsed: &Parsed) -> Result<(), Exit> {
    let flags: Flags = parsed.read();
    if flags.probe_timeout.is_zero() {
        return Err(Exit::refuse("--probe-timeout must be longer than 0"));
    }
    if !flags.metrics_path.starts_with('/') {
        return Err(Exit::refuse("--metrics-path must start with /"));
    }
    Ok(())
}

/// Runs both until the process is told to stop. Returns the exit code.
pub async fn main(parsed: &Parsed) -> u8 {
    let (flags, own): (RegistrarFlags, Flags) = (parsed.read(), parsed.read());
    warn_of_ignored(parsed);
    let endpoint = match Endpoint::parse(&flags.csi_address) {
        Ok(endpoint) => endpoint,
        Err(error) => {
            base::error!(error, "--csi-address cannot be used");
            return 1;
        }
    };
    let metrics = Metrics::new();
    let probe = Probe { endpoint, timeout: own.probe_timeout, metrics: metrics.clone() };
    let address = flags.listen_address().or_else(|| Some((ADDRESS.to_owned(), "--http-endpoint")));
    let page = metrics.clone();
    let routes = |registrar: Arc<Registrar>| {
        Routes::new()
            .route("/healthz", probe.answer())
            .route("/healthz/registration", registrar.healthz())
            .metrics(&own.metrics_path, page)
    };
    match run(&flags, address, metrics, routes).await {
        Ok(()) => 0,
        Err(error) => {
            base::error!(error, "Cannot go on");
            1
        }
    }
}
