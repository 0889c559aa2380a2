//! `mooring node`: csi-node-driver-registrar and livenessprobe in one process, with one HTTP server.
//!
//! `/healthz` is livenessprobe's, for the driver's container; `/healthz/registration` is the registrar's; metrics are on the same
//! page.

use std::sync::Arc;
use std::time::Duration;

use base::flag::standard::add_logging;
use base::flag::{Dialect, Exit, FlagSet, Parsed};
use base::http::{Routes, serve};
use base::metrics::Metrics;
use csi::Endpoint;

use crate::end::signalled;
use crate::liveness::probe::Probe;
use crate::registration::{Flags as RegistrarFlags, Registrar, RegistrarError};

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
    set.group::<RegistrarFlags>().group::<Flags>().check(crate::registration::check).check(check);
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
    match live(&parsed.read(), &parsed.read()).await {
        Ok(()) => 0,
        Err(error) => {
            base::error!(error, "mooring node ends");
            1
        }
    }
}

async fn live(registrar: &RegistrarFlags, own: &Flags) -> Result<(), RegistrarError> {
    let mut stop = std::pin::pin!(signalled().map_err(RegistrarError::Signals)?);
    let metrics = Metrics::new();
    let endpoint = Endpoint::parse(&registrar.csi_address)?;
    let probe = Probe { endpoint, timeout: own.probe_timeout, metrics: metrics.clone() };
    let offered = tokio::select! {
        connected = Registrar::connect(registrar, metrics.clone()) => Arc::new(connected?),
        _ = stop.as_mut() => return Ok(()),
    };
    let routes = Routes::new()
        .route("/healthz", move || {
            let probe = probe.clone();
            async move { probe.once().await }
        })
        .route("/healthz/registration", offered.clone().healthz())
        .metrics(&own.metrics_path, metrics);
    let _server = match registrar.listen_address() {
        Some(address) => Some(serve(&address, routes)?),
        None => None,
    };
    tokio::select! {
        ended = offered.offer() => ended,
        _ = stop => offered.withdraw(),
    }
}
