//! What runs beside the driver on each node: memory, time to be registered, CPU while nothing happens.
//!
//! No kubelet is needed: the benchmark asks on the registration socket, as the kubelet does.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use base::metrics::Metrics;
use cluster::{Process, wait};
use csi::registration::{InfoRequest, RegistrationStatus};
use csi::{CallLog, Client, Connection, DialOptions, Endpoint};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::stand::Programs;
use crate::usage::{cpu, memory};

const DRIVER: &str = "bench.example.com";
const LIMIT: Duration = Duration::from_secs(30);
/// How often the kubelet asks whether the driver is alive in upstream's deployment.
const PERIOD: Duration = Duration::from_secs(2);

/// The two Go programs.
#[derive(Debug, Clone)]
pub(crate) struct Go {
    /// csi-node-driver-registrar.
    pub(crate) registrar: PathBuf,
    /// livenessprobe.
    pub(crate) livenessprobe: PathBuf,
}

/// Measures ours, and those of `go` in the same run.
pub(crate) async fn measure(programs: &Programs, go: Option<Go>, seconds: u64) -> Result<()> {
    let ours = |folder: &Path, port: u16| {
        let mut node = Command::new(&programs.mooring);
        node.arg("node").args(registrar_flags(folder)).arg(format!("--http-endpoint=127.0.0.1:{port}"));
        vec![("mooring node", node)]
    };
    run(programs, ours, seconds).await?;
    if let Some(go) = go {
        let theirs = |folder: &Path, port: u16| {
            let mut registrar = Command::new(&go.registrar);
            registrar.args(registrar_flags(folder));
            let mut probe = Command::new(&go.livenessprobe);
            probe.arg(format!("--csi-address={}", folder.join("csi.sock").display()));
            probe.arg(format!("--http-endpoint=127.0.0.1:{port}"));
            vec![("csi-node-driver-registrar", registrar), ("livenessprobe", probe)]
        };
        run(programs, theirs, seconds).await?;
    }
    Ok(())
}

fn registrar_flags(folder: &Path) -> Vec<String> {
    let socket = folder.join("csi.sock");
    vec![
        format!("--csi-address={}", socket.display()),
        format!("--kubelet-registration-path={}", socket.display()),
        format!("--plugin-registration-path={}", folder.display()),
    ]
}

async fn run(
    programs: &Programs,
    commands: impl Fn(&Path, u16) -> Vec<(&'static str, Command)>,
    seconds: u64,
) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("mooring-bench-").tempdir()?;
    let folder = folder.path();
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut driver = Command::new(&programs.driver);
    driver.arg(format!("--endpoint=unix://{}", folder.join("csi.sock").display()));
    driver.arg(format!("--statedir={}", folder.join("state").display()));
    driver.args(["--nodeid=node-1".to_owned(), format!("--drivername={DRIVER}")]);
    let started = Instant::now();
    let _driver = Process::start("driver", driver, &folder.join("driver.log"))?;
    let mut processes = Vec::new();
    for (name, command) in commands(folder, port) {
        processes.push(Process::start(name, command, &folder.join(format!("{name}.log")))?);
    }
    let kubelet = kubelet(&folder.join(format!("{DRIVER}-reg.sock"))).await?;
    kubelet.call(InfoRequest {}, LIMIT).await?;
    let registered = RegistrationStatus { plugin_registered: true, error: String::new() };
    kubelet.call(registered, LIMIT).await?;
    let took = started.elapsed();
    drop(kubelet);
    wait::until("the liveness probe", LIMIT, async || alive(port).await.ok()).await?;
    let used = || processes.iter().map(|process| cpu(process.id())).sum::<Result<Duration>>();
    let before = used()?;
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        tokio::time::sleep(PERIOD).await;
        alive(port).await?;
    }
    let spent = used()?.saturating_sub(before);
    println!("driver start to registered: {:.0} ms", took.as_secs_f64() * 1e3);
    let mut resident = 0;
    for process in &processes {
        let memory = memory(process.id())?;
        resident += memory.resident;
        println!("{}: {memory}", process.name());
    }
    println!("together: RSS {:.1} MiB", resident as f64 / f64::from(1 << 20));
    let a_minute = spent.as_secs_f64() * 1e3 * 60.0 / seconds as f64;
    println!("CPU with a probe every {} s: {a_minute:.1} ms a minute", PERIOD.as_secs());
    Ok(())
}

/// A client of the registration socket, as soon as there is one.
async fn kubelet(socket: &Path) -> Result<Client> {
    // Not looked at every 50 ms as tests do: what is measured may take less.
    let end = Instant::now() + LIMIT;
    while !socket.exists() {
        anyhow::ensure!(Instant::now() < end, "{} does not come", socket.display());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let endpoint = Endpoint::Unix(socket.to_owned());
    let connection =
        Connection::dial(endpoint, DialOptions { limit: LIMIT, ..DialOptions::default() }).await?;
    Ok(Client::new(connection, Metrics::new(), CallLog::default()))
}

/// Asks whether the driver is alive, as the kubelet does.
async fn alive(port: u16) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    anyhow::ensure!(answer.starts_with("HTTP/1.1 200"), "not alive: {answer}");
    Ok(())
}
