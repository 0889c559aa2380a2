//! The flags that every sidecar has, with upstream's names and defaults (docs/upstream/conventions.md,
//! "Standard flags"), and some of ours: `--exit-on-connection-loss`, `--status-page`, `--http-require-token`, `--enable-otel-tracing` and
//! those of a certificate.
//!
//! `Differs:` `--status-page` serves a page at `/status` of the HTTP endpoint: what runs, who leads, what waits, its last error and its next
//! try. It is off by default. The Go sidecars have no such page. With `--http-require-token`, for which the Go sidecars need kube-rbac-proxy
//! beside them, the endpoint answers metrics and the status page only for a bearer token whose user may get the path. Health stays open
//! to the kubelet.

use std::time::Duration;

use super::{Exit, FlagGroup, FlagSet, Labels, Parsed, TlsFlags};
use crate::log::{Format, VModule};

crate::flags! {
    /// Leader election (docs/upstream/conventions.md, "Leader election").
    pub struct LeaderElectionFlags {
        "leader-election" enabled: bool = false, "Work only while holding the Lease, so that several replicas can run.";
        "leader-election-namespace" namespace: String = "", "Namespace of the Lease. Empty: POD_NAMESPACE, else the pod's service account, else default.";
        "leader-election-lease-duration" lease_duration: Duration = Duration::from_secs(15), "How long candidates wait after the last renewal before they take the Lease.";
        "leader-election-renew-deadline" renew_deadline: Duration = Duration::from_secs(10), "How long the leader tries to renew the Lease before it gives up.";
        "leader-election-retry-period" retry_period: Duration = Duration::from_secs(5), "Pause between attempts to take or renew the Lease.";
        "leader-election-labels" labels: Labels = "", "Labels for the Lease, as key:value,key2:value2.";
    }
}

crate::flags! {
    /// Log verbosity and form (docs/upstream/conventions.md, "Standard flags" and "Logging").
    pub struct LoggingFlags {
        "v" verbosity: i32 = 0, "Log verbosity: lines of this level and below are written.";
        "vmodule" vmodule: VModule = "", "Verbosity by source file, as pattern=N,pattern2=N (text format only).";
        "logging-format" format: String = "text", "Log format: text or json.";
        "log-flush-frequency" flush_frequency: Duration = Duration::from_secs(5), "Longest time between log flushes. Every line is written at once, so this changes nothing.";
        "log-text-split-stream" text_split_stream: bool = false, "Not available: needs a feature gate that cannot be turned on.";
        "log-json-split-stream" json_split_stream: bool = false, "Not available: needs a feature gate that cannot be turned on.";
        "log-text-info-buffer-size" text_info_buffer_size: BufferSize = "0", "Not available: needs a feature gate that cannot be turned on.";
        "log-json-info-buffer-size" json_info_buffer_size: BufferSize = "0", "Not available: needs a feature gate that cannot be turned on.";
    }
}

crate::flags! {
    /// The rest: where things are.
    struct PlaceFlags {
        "kubeconfig" kubeconfig: String = "", "Path of the kubeconfig. Empty: the pod's service account.";
        "csi-address" csi_address: String = "/run/csi/socket", "Address of the CSI driver's socket.";
        "kube-api-qps" kube_api_qps: Option<f64> = 5.0, "Requests per second to the API server. Honoured exactly when set; when not set, the number of requests in flight is bounded instead.";
        "kube-api-burst" kube_api_burst: Option<i64> = 10, "Requests to the API server that may exceed kube-api-qps for a moment. Used only when set or when kube-api-qps is.";
        "http-endpoint" http_endpoint: String = "", "TCP address that serves metrics and leader health, for example :8080. Empty: none.";
        "metrics-address" metrics_address: String = "", "Deprecated: use http-endpoint. TCP address that serves metrics.";
        "metrics-path" metrics_path: String = "/metrics", "Path under which metrics are served.";
        "status-page" status_page: bool = false, "Serve a status page at /status of http-endpoint: what runs, who leads, what waits and why. It shows names of objects and errors to whoever can reach the address.";
        "http-require-token" http_require_token: bool = false, "Answer metrics and the status page only for a bearer token whose user may get the path (TokenReview, SubjectAccessReview). Needs tls-cert-file.";
        "enable-otel-tracing" enable_otel_tracing: bool = false, "Send spans of what is done for each object to a collector of OpenTelemetry, which OTEL_EXPORTER_OTLP_ENDPOINT names (default http://localhost:4317), and name them to the driver.";
        "exit-on-connection-loss" exit_on_connection_loss: bool = false, "Exit when the connection to the driver is lost, instead of reconnecting and checking that the same driver answers.";
    }
}

/// Every standard flag.
#[derive(Debug, Clone)]
pub struct StandardFlags {
    /// Address of the driver's socket, as written: a path, or `unix:`/`tcp:` with one.
    pub csi_address: String,
    /// Path of the kubeconfig; empty means in-cluster configuration.
    pub kubeconfig: String,
    /// Requests per second; none unless set explicitly (upstream's default is 5).
    pub kube_api_qps: Option<f64>,
    /// Burst above it; none unless set explicitly (upstream's default is 10).
    pub kube_api_burst: Option<u32>,
    /// Listen address for metrics and leader health; empty means none.
    pub http_endpoint: String,
    /// Deprecated listen address for metrics without leader health; empty means none. Never set
    /// together with [`StandardFlags::http_endpoint`].
    pub metrics_address: String,
    /// Path of the metrics page.
    pub metrics_path: String,
    /// Serve the status page. Ours; off by default. Set only together with an address.
    pub status_page: bool,
    /// Certificate and private key of the HTTP server. Ours; both or none.
    pub tls: TlsFlags,
    /// Ask the API server who may read metrics and the status page. Ours; off by default. Only with TLS.
    pub http_require_token: bool,
    /// Send spans to a collector of OpenTelemetry. Ours; off by default.
    pub enable_otel_tracing: bool,
    /// Exit when the driver goes away, as upstream does. Ours; off by default.
    pub exit_on_connection_loss: bool,
    /// Leader election.
    pub leader_election: LeaderElectionFlags,
    /// Logging.
    pub logging: LoggingFlags,
}

impl StandardFlags {
    /// The address the HTTP server listens on, whichever flag named it; none if neither did.
    pub fn listen_address(&self) -> Option<&str> {
        [self.http_endpoint.as_str(), self.metrics_address.as_str()]
            .into_iter()
            .find(|address| !address.is_empty())
    }

    /// Whether the leader health path is served: only with `--http-endpoint` and leader election.
    pub fn serves_leader_health(&self) -> bool {
        self.leader_election.enabled && !self.http_endpoint.is_empty()
    }
}

impl FlagGroup for StandardFlags {
    fn register(set: &mut FlagSet) {
        set.add::<bool>("version", false, "Print the version and exit.");
        set.group::<PlaceFlags>().group::<TlsFlags>().group::<LeaderElectionFlags>();
        set.check(check_places).check(check_leader_election);
        add_logging(set);
    }

    fn read(parsed: &Parsed) -> Self {
        let places: PlaceFlags = parsed.read();
        Self {
            csi_address: places.csi_address,
            kubeconfig: places.kubeconfig,
            kube_api_qps: places.kube_api_qps,
            // A negative burst is refused by the check; none larger than u32 is reachable.
            kube_api_burst: places.kube_api_burst.map(|n| u32::try_from(n).unwrap_or(u32::MAX)),
            http_endpoint: places.http_endpoint,
            metrics_address: places.metrics_address,
            metrics_path: places.metrics_path,
            status_page: places.status_page,
            tls: parsed.read(),
            http_require_token: places.http_require_token,
            enable_otel_tracing: places.enable_otel_tracing,
            exit_on_connection_loss: places.exit_on_connection_loss,
            leader_election: parsed.read(),
            logging: parsed.read(),
        }
    }
}

/// Adds what every sidecar has, those on a node included: [`LoggingFlags`], and a flag for Go's runtime.
pub fn add_logging(set: &mut FlagSet) {
    let help = "Accepted for compatibility; there is no Go runtime to tune.";
    set.add::<bool>("automaxprocs", false, help);
    set.group::<LoggingFlags>().check(check_logging);
}

impl LoggingFlags {
    /// The options for [`log::init`](crate::log::init).
    pub fn options(&self) -> crate::log::LogOptions {
        crate::log::LogOptions {
            verbosity: self.verbosity,
            vmodule: self.vmodule.clone(),
            format: if self.format == "json" { Format::Json } else { Format::Text },
        }
    }
}

fn check_places(parsed: &Parsed) -> Result<(), Exit> {
    let places: PlaceFlags = parsed.read();
    if !places.http_endpoint.is_empty() && !places.metrics_address.is_empty() {
        return Err(Exit::refuse(
            "only one of --metrics-address and --http-endpoint can be set: remove --metrics-address",
        ));
    }
    if places.kube_api_qps.is_some_and(|qps| !qps.is_finite()) {
        return Err(Exit::refuse("--kube-api-qps must be a number of requests per second"));
    }
    if places.kube_api_burst.is_some_and(|burst| burst < 0) {
        return Err(Exit::refuse("--kube-api-burst must not be negative"));
    }
    if !places.metrics_path.starts_with('/') {
        return Err(Exit::refuse("--metrics-path must start with /"));
    }
    let has_address = !places.http_endpoint.is_empty() || !places.metrics_address.is_empty();
    let tls: TlsFlags = parsed.read();
    if places.http_require_token && !tls.is_set() {
        return Err(Exit::refuse(
            "--http-require-token would have tokens sent in the clear: set --tls-cert-file and --tls-private-key-file",
        ));
    }
    TlsFlags::check(parsed, has_address)?;
    check_status_page(places.status_page, has_address, &places.metrics_path)
}

/// Refuses a status page that nobody could see.
///
/// # Errors
/// There is no address to serve it at, or the metrics are there.
pub fn check_status_page(status_page: bool, has_address: bool, metrics_path: &str) -> Result<(), Exit> {
    match status_page {
        true if !has_address => {
            Err(Exit::refuse("--status-page needs an address to be served at: set --http-endpoint"))
        }
        true if metrics_path == crate::http::STATUS => Err(Exit::refuse(
            "--status-page and --metrics-path=/status want the same path: change --metrics-path",
        )),
        true | false => Ok(()),
    }
}

/// Upstream panics on these (exit 2); the order is lease > renew > 1.2 x retry > 0.
fn check_leader_election(parsed: &Parsed) -> Result<(), Exit> {
    let election: LeaderElectionFlags = parsed.read();
    let refuse = |line: &str| Err(Exit { code: 2, ..Exit::refuse(line) });
    if !election.enabled {
        return Ok(());
    }
    if election.lease_duration <= election.renew_deadline {
        return refuse(
            "--leader-election-lease-duration must be longer than --leader-election-renew-deadline",
        );
    }
    if election.renew_deadline <= election.retry_period.mul_f64(1.2) {
        return refuse(
            "--leader-election-renew-deadline must be longer than 1.2 times --leader-election-retry-period",
        );
    }
    if election.retry_period.is_zero() {
        return refuse("--leader-election-retry-period must be longer than 0");
    }
    Ok(())
}

fn check_logging(parsed: &Parsed) -> Result<(), Exit> {
    let logging: LoggingFlags = parsed.read();
    if !matches!(logging.format.as_str(), "text" | "json") {
        let format = crate::log::quote::quoted(&logging.format);
        return Err(Exit::refuse(format!("--logging-format={format}: must be text or json")));
    }
    if logging.format == "json" && !logging.vmodule.is_empty() {
        return Err(Exit::refuse("--vmodule works only with --logging-format=text"));
    }
    if logging.flush_frequency.is_zero() {
        return Err(Exit::refuse("--log-flush-frequency must be longer than 0"));
    }
    for (flag, changed) in [
        ("log-text-split-stream", logging.text_split_stream),
        ("log-json-split-stream", logging.json_split_stream),
        ("log-text-info-buffer-size", logging.text_info_buffer_size.0 != 0),
        ("log-json-info-buffer-size", logging.json_info_buffer_size.0 != 0),
    ] {
        if changed {
            return Err(Exit::refuse(format!("--{flag} is not available: remove it")));
        }
    }
    Ok(())
}

/// A number of bytes, written as a Kubernetes quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferSize(pub i64);

impl super::Value for BufferSize {
    type Initial = &'static str;
    const TYPE: &'static str = "quantity";
    fn parse(text: &str) -> Result<Self, super::ValueError> {
        let quantity = crate::quantity::Quantity::parse(text).map_err(super::ValueError::new)?;
        quantity.value().map(Self).map_err(super::ValueError::new)
    }
    fn print(initial: &&'static str) -> String {
        (*initial).to_owned()
    }
}
