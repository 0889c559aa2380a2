//! A driver process.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use base::metrics::Metrics;
use cluster::{Process, Signal};
use csi::{CallLog, Client, Connection, DialOptions, Endpoint};

/// How long a start or an end may take, cleaning up included; on a busy disk that is long.
const START: Duration = Duration::from_secs(100);

/// A running driver; killed when dropped.
pub struct Running {
    process: Process,
    client: Client,
    endpoint: Endpoint,
    folder: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        // A failed test must not leave devices in the kernel for ever.
        self.process.kill();
        for device in crate::namespace::devices_of(&self.folder) {
            let _ = Command::new("losetup").arg("-d").arg(device).status();
        }
    }
}

impl Running {
    /// Starts a driver whose state is in `folder`/state and whose socket is `folder`/csi.sock, for node
    /// `node-1`, and waits until it answers. Its log is `folder`/driver.log.
    ///
    /// # Panics
    /// When it does not start; with the end of its log.
    #[allow(clippy::panic)]
    pub async fn start(folder: &Path, args: &[&str]) -> Self {
        let endpoint = Endpoint::Unix(folder.join("csi.sock"));
        Self::start_at(folder, endpoint, args).await
    }

    /// As [`Self::start`], on another endpoint.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[allow(clippy::panic)]
    pub async fn start_at(folder: &Path, endpoint: Endpoint, args: &[&str]) -> Self {
        let statedir = folder.join("state");
        Self::start_with(Command::new(Self::executable()), folder, &statedir, (&endpoint, &endpoint), args)
            .await
    }

    /// Starts a driver for images in Ceph with these arguments, and waits until it answers. Its socket and its log are as of
    /// [`Self::start`]; programs in `folder`/bin come before those of the system.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub async fn start_rbd(folder: &Path, args: &[String]) -> Self {
        let endpoint = Endpoint::Unix(folder.join("csi.sock"));
        let mut command = Command::new(Self::executable());
        command.args(["--backend=rbd", "--nodeid=node-1"]).arg(format!("--endpoint={endpoint}")).args(args);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", folder.join("bin").display()));
        Self::until_it_answers(command, folder, &endpoint).await
    }

    /// As [`Self::start`], in a mount namespace of its own as a container has one, in which `folder` is
    /// mounted at `inside`.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub async fn start_inside(folder: &Path, inside: &Path, args: &[&str]) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.arg("mount --bind \"$0\" \"$1\" && shift && exec \"$@\"");
        command.args([folder, inside, Self::executable()]);
        let endpoints = [inside, folder].map(|folder| Endpoint::Unix(folder.join("csi.sock")));
        let [listening, dialled] = &endpoints;
        Self::start_with(command, folder, &inside.join("state"), (listening, dialled), args).await
    }

    /// Runs the command with the driver's arguments: where it listens, and where a client finds that.
    async fn start_with(
        mut command: Command,
        folder: &Path,
        statedir: &Path,
        (listening, dialled): (&Endpoint, &Endpoint),
        args: &[&str],
    ) -> Self {
        command.args([
            format!("--endpoint={listening}"),
            "--nodeid=node-1".to_owned(),
            format!("--statedir={}", statedir.display()),
        ]);
        command.args(args);
        Self::until_it_answers(command, folder, dialled).await
    }

    #[allow(clippy::panic)]
    async fn until_it_answers(command: Command, folder: &Path, dialled: &Endpoint) -> Self {
        let process = Process::start("mooring-driver", command, &folder.join("driver.log"))
            .unwrap_or_else(|error| panic!("cannot start the driver: {error}"));
        let options = DialOptions { limit: START, ..DialOptions::default() };
        match Connection::dial(dialled.clone(), options).await {
            Ok(connection) => {
                let client = Client::new(connection, Metrics::new(), CallLog::default());
                Self { process, client, endpoint: dialled.clone(), folder: folder.to_owned() }
            }
            Err(error) => panic!("{error}\n{}", process.last_lines(30)),
        }
    }

    /// Where a driver in `folder` keeps its journal and its content.
    pub fn state(folder: &Path) -> PathBuf {
        folder.join("state/drivers/hostpath.csi.k8s.io")
    }

    /// The driver's executable, built if need be; or the one that the environment variable `MOORING_DRIVER`
    /// names, so that a new test can be tried against an older driver.
    ///
    /// # Panics
    /// When it cannot be built.
    #[allow(clippy::panic)]
    pub fn executable() -> &'static Path {
        static BUILT: OnceLock<PathBuf> = OnceLock::new();
        BUILT.get_or_init(|| {
            if let Some(given) = std::env::var_os("MOORING_DRIVER") {
                return given.into();
            }
            cluster::built::executable("driver", "mooring-driver").unwrap_or_else(|error| panic!("{error}"))
        })
    }

    /// A client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Another client, with a connection of its own.
    ///
    /// # Panics
    /// When the driver does not answer.
    #[allow(clippy::panic)]
    pub async fn new_client(&self) -> Client {
        let connection = Connection::dial(self.endpoint.clone(), DialOptions::default()).await;
        let connection = connection.unwrap_or_else(|error| panic!("{error}"));
        Client::new(connection, Metrics::new(), CallLog::default())
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Kills it at once (SIGKILL), without waiting for its end.
    pub fn strike(&mut self) {
        self.process.signal(Signal::KILL);
    }

    /// Whether it ends by SIGKILL.
    pub async fn was_killed(&mut self) -> bool {
        let status = self.process.wait(START).await;
        status.and_then(|status| status.signal()) == Some(Signal::KILL.as_raw())
    }

    /// Waits for its end.
    pub async fn gone(&mut self) {
        self.process.wait(START).await;
    }

    /// Kills it at once (SIGKILL) and waits for its end.
    pub async fn kill(mut self) {
        self.process.signal(Signal::KILL);
        self.process.wait(START).await;
    }

    /// Stops it with SIGTERM; its exit code, none if it had to be killed.
    pub async fn stop(mut self) -> Option<i32> {
        self.process.terminate(START).await.and_then(|status| status.code())
    }

    /// The end of its log.
    pub fn last_lines(&self) -> String {
        self.process.last_lines(30)
    }
}
