//! `mooring node`: csi-node-driver-registrar and livenessprobe in one process, with one HTTP server.
//!
//! `/healthz` is livenessprobe's, for the driver's container; `/healthz/registration` is the registrar's, for a readiness probe;
//! metrics are on the same page. A liveness probe on `/healthz/registration` restarts us, and without us `/healthz` fails for a driver
//! that is well.
//!
//! The server outlives every attempt to register. If it did not, a kubelet that refuses the driver would take `/healthz` away,
//! and with it the life of a driver that only needs more time.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::flag::standard::{add_logging, check_status_page};
use base::flag::{Dialect, Exit, FlagSet, Parsed, TlsFlags};
use base::http::{Reply, Routes};
use base::metrics::Metrics;
use base::status::Board;
use csi::Endpoint;
use tokio::time::{Instant, sleep};

use crate::end::signalled;
use crate::endpoint::serve;
use crate::liveness::probe::Probe;
use crate::registration::health::{Silence, judge_nameless};
use crate::registration::{
    Flags as RegistrarFlags, Registrar, RegistrarError, check as check_registrar, warn_of_ignored,
};

/// Where livenessprobe listens if nobody says otherwise.
const ADDRESS: &str = "0.0.0.0:9808";

/// What `--http-endpoint` is here. The registrar alone has no server without it.
const HTTP_ENDPOINT: &str =
    "TCP address that serves /healthz, /healthz/registration and metrics. Empty: 0.0.0.0:9808.";

/// Pause before a driver that could not be registered is offered again.
const AGAIN: Duration = Duration::from_secs(5);

base::flags! {
    /// What the node has beside the registrar's flags.
    struct Flags {
        "probe-timeout" probe_timeout: Duration = Duration::from_secs(3), "Longest time that connecting and Probe may take together.";
        "metrics-path" metrics_path: String = "/metrics", "Path under which metrics are served.";
        "status-page" status_page: bool = false, "Serve a status page at /status of http-endpoint: which driver runs, and whether the kubelet uses it.";
    }
}

/// Reads the command line (without the program's name).
///
/// # Errors
/// The process's end: help, version, a flag that cannot be read, or values that do not go together.
pub fn parse(program: &str, args: Vec<String>) -> Result<Parsed, Exit> {
    let mut set = FlagSet::new(program, Dialect::Go);
    set.add::<bool>("version", false, "Print the version and exit.");
    // The first registration of a name is the one that counts.
    set.add::<String>("http-endpoint", "", HTTP_ENDPOINT);
    set.group::<RegistrarFlags>().group::<Flags>().group::<TlsFlags>().check(check_registrar).check(check);
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
    TlsFlags::check(parsed, true)?;
    check_status_page(flags.status_page, true, &flags.metrics_path)
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
    let offered = Offered::default();
    let mut routes = Routes::new()
        .route("/healthz", probe.answer())
        .route("/healthz/registration", offered.healthz())
        .metrics(&own.metrics_path, metrics.clone());
    if own.status_page {
        offered.describe(metrics.board());
        routes = routes.status(metrics.board().clone());
    }
    let tls: TlsFlags = parsed.read();
    match run(&flags, metrics, &offered, (routes, &tls)).await {
        Ok(()) => 0,
        Err(error) => {
            base::error!(error, "Cannot go on");
            1
        }
    }
}

async fn run(
    flags: &RegistrarFlags,
    metrics: Arc<Metrics>,
    offered: &Offered,
    (routes, tls): (Routes, &TlsFlags),
) -> Result<(), RegistrarError> {
    let stop = signalled().map_err(RegistrarError::Signals)?;
    let (address, flag) = flags.listen_address().unwrap_or_else(|| (ADDRESS.to_owned(), "--http-endpoint"));
    tokio::select! {
        biased;
        served = serve(&address, routes, tls) => {
            served.map(|never| match never {}).map_err(|cause| RegistrarError::Listen { flag, cause })
        }
        never = offered.keep(flags, metrics) => match never {},
        _ = stop => offered.withdraw(),
    }
}

/// The driver as it is offered to the kubelet at present, if it is. Clones share it.
#[derive(Clone, Default)]
struct Offered(Arc<Mutex<Option<Arc<Registrar>>>>);

impl Offered {
    fn now(&self) -> Option<Arc<Registrar>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Offers the driver, and again whenever that has ended.
    async fn keep(&self, flags: &RegistrarFlags, metrics: Arc<Metrics>) -> std::convert::Infallible {
        loop {
            let ended = match Registrar::connect(flags, metrics.clone()).await {
                Ok(registrar) => {
                    let registrar = Arc::new(registrar);
                    *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(registrar.clone());
                    registrar.offer().await
                }
                Err(error) => Err(error),
            };
            // Without its socket, the kubelet takes the next one for a new plugin.
            for error in [ended, self.withdraw()].into_iter().filter_map(Result::err) {
                base::error!(error, "The driver is not registered, will offer it again");
            }
            sleep(AGAIN).await;
        }
    }

    /// Says on the status page which driver it is, and what the kubelet made of it.
    fn describe(&self, board: &Board) {
        board.describe(|process| process.program = "mooring node".to_owned());
        let offered = self.clone();
        board.add_fact("Driver on this node", move || {
            offered.now().map_or("it has not said its name yet".to_owned(), |now| now.name().to_owned())
        });
        let offered = self.clone();
        board.add_fact("Registration", move || {
            offered.now().map_or("not offered to the kubelet yet".to_owned(), |now| now.standing())
        });
    }

    /// Removes the registration socket, if there is one of ours.
    fn withdraw(&self) -> Result<(), RegistrarError> {
        self.now().map_or(Ok(()), |registrar| registrar.remove_socket())
    }

    /// Answers `/healthz/registration`.
    fn healthz(&self) -> impl Fn() -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync + use<> {
        let (offered, start) = (self.clone(), Instant::now());
        move || {
            let now = offered.now();
            Box::pin(async move {
                match now {
                    Some(registrar) => registrar.health(Silence::Fails).await,
                    None => judge_nameless(start.elapsed()),
                }
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_says_where_the_node_listens_by_default() {
        let help = parse("mooring node", vec!["--help".to_owned()]).map(drop).unwrap_err();
        let text = help.stdout + &help.stderr;
        let (_, endpoint) = text.split_once("-http-endpoint").unwrap();
        let endpoint = endpoint.split("\n  -").next().unwrap();
        assert!(endpoint.contains(ADDRESS) && !endpoint.contains("Empty: none"), "{endpoint}");
    }
}
