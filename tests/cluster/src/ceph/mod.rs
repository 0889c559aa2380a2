//! A real Ceph for tests: one monitor and one OSD of Debian's packages on free loopback ports, in a temporary folder.
//!
//! Pools, images, snapshots, clones, locks and watchers work without a manager daemon (`ceph-mgr`), which would cost
//! 300 MB and half a minute. The OSD keeps its data in a sparse file. What it needs: [`lack`], [`install`].
//!
//! The daemons' own start scripts are not used and nothing outside of the folder is touched. All is gone when [`Ceph`]
//! is dropped, on panic, and when the process that started it is killed.

mod error;
mod keyring;
mod packages;
mod settings;

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::TempDir;

pub use error::CephError;
pub use keyring::{KEYRING, USER};
pub use packages::{PACKAGES, install, lack};
pub use settings::POOL;

use crate::process::{self, Process};
use crate::{Signal, guard, ports};
use keyring::new_key;
use settings::{CONFIGURATION, configuration};

/// How long a daemon may take to answer, and a program to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is started before it counts as broken.
const ATTEMPTS: usize = 3;

/// A running Ceph with one pool, [`POOL`], and the user [`USER`], who may do what a CSI driver does.
///
/// Set `MOORING_KEEP_LOGS` to a folder to have the daemons' logs copied there at the end.
#[derive(Debug)]
pub struct Ceph {
    // Dropped in this order: the OSD tells the monitor, and the folder goes last.
    osd: Process,
    monitor: Process,
    identity: Identity,
    folder: TempDir,
}

/// What a cluster is called and known by.
#[derive(Debug)]
struct Identity {
    /// The cluster's id.
    fsid: String,
    /// The OSD's id.
    osd: String,
    /// The key of [`USER`].
    key: String,
    /// The monitor's port.
    port: u16,
}

impl Identity {
    fn new() -> Result<Self, CephError> {
        let uuid = || std::fs::read_to_string("/proc/sys/kernel/random/uuid").map(|id| id.trim().to_owned());
        let [port] = ports::free()?;
        Ok(Self { fsid: uuid()?, osd: uuid()?, key: new_key()?, port })
    }

    fn monitor(&self) -> String {
        format!("v2:127.0.0.1:{}", self.port)
    }
}

impl Ceph {
    /// Starts it and waits until the pool can be written to: some ten seconds. What does not start is tried anew, twice: on a
    /// loaded machine a monitor may not answer in time, or somebody else may take its port.
    ///
    /// # Errors
    /// [`CephError`]; the message has the last lines of what failed.
    pub async fn start() -> Result<Ceph, CephError> {
        for _ in 1..ATTEMPTS {
            match Ceph::start_once().await {
                Err(error @ CephError::Part { .. }) => eprintln!("Ceph is started anew: {error}"),
                result => return result,
            }
        }
        Ceph::start_once().await
    }

    async fn start_once() -> Result<Ceph, CephError> {
        let folder = tempfile::Builder::new().prefix("mooring-ceph-").tempdir()?;
        let at = folder.path();
        guard::remove_at_end(at);
        let identity = Identity::new()?;
        std::fs::create_dir(at.join("mon"))?;
        std::fs::create_dir(at.join("osd"))?;
        std::fs::write(at.join(CONFIGURATION), configuration(at, &identity.fsid, &identity.monitor()))?;
        std::fs::write(at.join(KEYRING), keyring::text(&identity.key, &new_key()?))?;
        // The longest part, and it needs no monitor.
        let mut store =
            start(at, "ceph-osd", &["--id=0", "--mkfs", "--no-mon-config", "--osd-uuid", &identity.osd])?;
        let address = format!("--public-addr={}", identity.monitor());
        let mut make = start(at, "ceph-mon", &["--id=a", "--mkfs", &address, "--keyring", KEYRING])?;
        until_done(&mut make).await?;
        let monitor = start(at, "ceph-mon", &["--id=a", "--foreground", &address])?;
        let set_up = [
            format!("osd new {} 0", identity.osd),
            // Clones can be made of snapshots that are not protected.
            "osd set-require-min-compat-client mimic".to_owned(),
            "osd crush add osd.0 1.0 root=default".to_owned(),
        ];
        run_lines(at, &set_up).await?;
        until_done(&mut store).await?;
        let osd = start(at, "ceph-osd", &["--id=0", "--foreground"])?;
        let mut ceph = Ceph { osd, monitor, identity, folder };
        let pool = [format!("osd pool create {POOL} 8"), format!("osd pool application enable {POOL} rbd")];
        run_lines(ceph.folder.path(), &pool).await?;
        ceph.until_writable().await?;
        Ok(ceph)
    }

    /// Waits until an object can be written to the pool.
    async fn until_writable(&mut self) -> Result<(), CephError> {
        // It waits by itself until the pool's placement groups are active.
        let mut write = self.tool("rados");
        write.args(["--pool", POOL, "create", "ready"]);
        run("rados create", write, String::new()).await?;
        let mut remove = self.tool("rados");
        remove.args(["--pool", POOL, "rm", "ready"]);
        run("rados rm", remove, String::new()).await?;
        Ok(())
    }

    /// The monitor's address, as a driver's configuration names it.
    pub fn monitor(&self) -> String {
        self.identity.monitor()
    }

    /// The key of [`USER`].
    pub fn key(&self) -> &str {
        &self.identity.key
    }

    /// The cluster's id.
    pub fn fsid(&self) -> &str {
        &self.identity.fsid
    }

    /// The folder with the configuration and the keyring of the administrator.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// One of Ceph's programs (`rbd`, `rados`, `ceph`), to be run on this cluster as its administrator.
    pub fn tool(&self, program: &str) -> Command {
        tool(self.folder.path(), program)
    }

    /// Runs one of Ceph's programs as [`Self::tool`]; what it prints.
    ///
    /// # Errors
    /// [`CephError`], also when it takes longer than a minute.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String, CephError> {
        let mut command = self.tool(program);
        command.args(arguments);
        judge(program, process::output(command, "", PATIENCE)?)
    }

    /// Stops the monitor where it stands: connections stay and nobody answers. [`Self::resume_monitor`] ends that.
    pub fn pause_monitor(&self) {
        send(&self.monitor, Signal::STOP);
    }

    /// Lets the monitor go on.
    pub fn resume_monitor(&self) {
        send(&self.monitor, Signal::CONT);
    }

    /// Stops the OSD where it stands, as [`Self::pause_monitor`].
    pub fn pause_osd(&self) {
        send(&self.osd, Signal::STOP);
    }

    /// Lets the OSD go on.
    pub fn resume_osd(&self) {
        send(&self.osd, Signal::CONT);
    }

    /// The last lines of both daemons' output.
    pub fn last_lines(&self) -> String {
        format!("{}\n{}", self.monitor.last_lines(20), self.osd.last_lines(20))
    }
}

impl Drop for Ceph {
    fn drop(&mut self) {
        self.osd.kill();
        self.monitor.kill();
        if let Some(kept) = std::env::var_os("MOORING_KEEP_LOGS") {
            let kept = Path::new(&kept).join(format!("ceph-{}", self.monitor.id()));
            let copied = std::fs::create_dir_all(&kept).and_then(|()| {
                for name in ["ceph-mon.out", "ceph-osd.out", "mon.log", "osd.log"] {
                    std::fs::copy(self.folder.path().join(name), kept.join(name))?;
                }
                Ok(())
            });
            if let Err(error) = copied {
                eprintln!("cannot keep Ceph's logs: {error}");
            }
        }
    }
}

/// Signals a daemon, which nobody has waited for yet: its number is its own.
fn send(daemon: &Process, signal: Signal) {
    let pid = i32::try_from(daemon.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // One that has ended needs no signal.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

fn tool(folder: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["--conf", CONFIGURATION]).current_dir(folder);
    command.env_remove("CEPH_ARGS").env_remove("CEPH_CONF").env_remove("CEPH_KEYRING");
    command
}

/// Starts a daemon; its output goes to a file of its name. Whoever uses images ends before it.
fn start(folder: &Path, program: &str, arguments: &[&str]) -> Result<Process, CephError> {
    let mut command = tool(folder, program);
    command.args(arguments);
    Ok(Process::start_for_others(program, command, &folder.join(format!("{program}.out")))?)
}

async fn until_done(process: &mut Process) -> Result<(), CephError> {
    let what = match process.wait(PATIENCE).await {
        Some(status) if status.success() => return Ok(()),
        Some(status) => format!("ended with {status}"),
        None => "does not end".to_owned(),
    };
    Err(CephError::Part { name: process.name().to_owned(), what, log: process.last_lines(20) })
}

/// Runs lines in one process of `ceph`, which takes longer to start than to do its work.
async fn run_lines(folder: &Path, lines: &[String]) -> Result<(), CephError> {
    let mut command = tool(folder, "ceph");
    command.args(["--connect-timeout", "30"]);
    run("ceph", command, lines.iter().map(|line| format!("{line}\n")).collect()).await
}

/// Without an OSD, Ceph's tools wait for ever.
async fn run(name: &'static str, command: Command, input: String) -> Result<(), CephError> {
    let run = move || judge(name, process::output(command, &input, PATIENCE)?);
    tokio::task::spawn_blocking(run).await.map_err(std::io::Error::other)?.map(drop)
}

fn judge(name: &str, output: Output) -> Result<String, CephError> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // `ceph` reads on after a line that failed, and says so only here.
    let errors = text(&output.stderr);
    if output.status.success() && !errors.contains("Error ") {
        return Ok(text(&output.stdout));
    }
    Err(CephError::Part { name: name.to_owned(), what: format!("ended with {}", output.status), log: errors })
}
