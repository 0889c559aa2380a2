//! A real Prometheus: it scrapes sidecars, evaluates rules, and answers queries.
//!
//! It comes out of Debian's package, which is fetched and unpacked but not installed, in seconds; from its Go module it would take five
//! minutes of each cold run.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "it serves tests, and what it cannot do fails them"
)]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::binaries::cache_folder;
use crate::process::Process;
use crate::skip::{Lack, left_out};
use crate::{packages, page, ports, wait};

/// What the package has of it.
const PROGRAMS: [&str; 2] = ["prometheus", "promtool"];

/// The folder of `prometheus` and `promtool`, to be added to `PATH`; `None` when they are there already.
///
/// # Errors
/// They are not installed, and there is no package of them.
pub fn programs() -> io::Result<Option<PathBuf>> {
    if PROGRAMS.iter().all(|program| succeeds(Command::new(program).arg("--version"))) {
        return Ok(None);
    }
    let cache = cache_folder().map_err(io::Error::other)?;
    let folder = cache.join("prometheus");
    if !PROGRAMS.iter().all(|program| folder.join(program).is_file()) {
        std::fs::create_dir_all(&cache)?;
        // A folder that nobody else uses: two runs may be at it at once.
        let fetched = cache.join(format!("prometheus.{}", std::process::id()));
        let result = fetch(&fetched, &folder);
        let _ = std::fs::remove_dir_all(&fetched);
        result?;
    }
    Ok(Some(folder))
}

/// Fetches Debian's package into `fetched`, and puts the programs alone into `folder`.
fn fetch(fetched: &Path, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(fetched)?;
    if !packages::download("prometheus", fetched) {
        return Err(io::Error::other("apt-get cannot fetch the package prometheus"));
    }
    let packages = std::fs::read_dir(fetched)?.flatten().map(|entry| entry.path());
    let is_package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    let package = packages.into_iter().find(is_package);
    let package = package.ok_or_else(|| io::Error::other("apt-get fetched no package"))?;
    let unpacked = fetched.join("unpacked");
    if !succeeds(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&unpacked)) {
        return Err(io::Error::other(format!("dpkg-deb cannot unpack {}", package.display())));
    }
    std::fs::create_dir_all(folder)?;
    for program in PROGRAMS {
        std::fs::rename(unpacked.join("usr/bin").join(program), folder.join(program))?;
    }
    Ok(())
}

/// Whether `command` runs and succeeds, saying nothing.
fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// A process that is scraped.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The port of 127.0.0.1 that has its metrics.
    pub port: u16,
    /// The label `pod`.
    pub pod: &'a str,
}

/// One line of an answer.
#[derive(Debug, Clone)]
pub struct Series {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Seconds since 1970, and values; values may be no number.
    pub points: Vec<(f64, f64)>,
}

/// A running Prometheus that scrapes and evaluates rules once a second.
pub struct Prometheus {
    _process: Process,
    port: u16,
}

impl Prometheus {
    /// Starts it with `rules`, in a folder of its own below `folder`; `None`, once said that `what` is left out, where it cannot be had.
    ///
    /// The labels beside `pod` are those that a `PodMonitor` adds.
    pub async fn start(folder: &Path, targets: &[Target<'_>], rules: &Value, what: &str) -> Option<Self> {
        let Ok(programs) = programs() else {
            left_out(what, Lack::Tool("prometheus"));
            return None;
        };
        let program =
            programs.map_or_else(|| PathBuf::from("prometheus"), |folder| folder.join("prometheus"));
        let folder = folder.join("prometheus");
        std::fs::create_dir_all(&folder).expect("a folder");
        // JSON is YAML.
        std::fs::write(folder.join("rules.yaml"), rules.to_string()).expect("written");
        std::fs::write(folder.join("prometheus.yaml"), configuration(targets).to_string()).expect("written");
        let [port] = ports::free().expect("a port");
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", folder.join("prometheus.yaml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let log = folder.join("log");
        let process = Process::start("prometheus", command, &log).expect("it starts");
        let prometheus = Self { _process: process, port };
        let ready = async || prometheus.get("/-/ready").await.is_ok_and(|answer| answer.contains(" 200 "));
        if wait::until_true("Prometheus", Duration::from_secs(30), ready).await.is_err() {
            let log = crate::process::last_lines(&log, 20);
            assert!(log.is_empty(), "Prometheus does not start:\n{log}");
        }
        Some(prometheus)
    }

    /// What a query gives from `start` until now, once a second.
    pub async fn range(&self, query: &str, start: SystemTime) -> Vec<Series> {
        let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).expect("now").as_secs();
        let (start, end) = (seconds(start), seconds(SystemTime::now()));
        let path = format!(
            "/api/v1/query_range?query={}&start={start}&end={end}&step=1",
            form_urlencoded::byte_serialize(query.as_bytes()).collect::<String>()
        );
        let answer = self.get(&path).await.expect("Prometheus answers");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        let answer: Answer = serde_json::from_str(body).expect("a result");
        let points = |values: Vec<(f64, String)>| {
            values.into_iter().map(|(at, value)| (at, value.parse().expect("a value"))).collect()
        };
        let result = answer.data.result.into_iter();
        result.map(|one| Series { labels: one.metric, points: points(one.values) }).collect()
    }

    /// The names of the alerts that have fired since `start`.
    pub async fn fired(&self, start: SystemTime) -> Vec<String> {
        let series = self.range("sum by (alertname) (ALERTS{alertstate=\"firing\"})", start).await;
        series.into_iter().filter_map(|mut one| one.labels.remove("alertname")).collect()
    }

    async fn get(&self, path: &str) -> io::Result<String> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        // To HTTP/1.0 the answer comes in one piece.
        page::ask(stream, &format!("GET {path} HTTP/1.0\r\nHost: test\r\n\r\n")).await
    }
}

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Matrix>,
}

#[derive(Deserialize)]
struct Matrix {
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

fn configuration(targets: &[Target<'_>]) -> Value {
    let targets: Vec<Value> = targets
        .iter()
        .map(|target| {
            serde_json::json!({
                "targets": [format!("127.0.0.1:{}", target.port)],
                "labels": {"namespace": "storage", "pod": target.pod, "container": "csi-controller"},
            })
        })
        .collect();
    serde_json::json!({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [{"job_name": "driver", "static_configs": targets}],
    })
}
