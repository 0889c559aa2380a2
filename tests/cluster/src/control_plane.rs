//! One control plane: etcd, kube-apiserver, kube-controller-manager and, if asked for, kube-scheduler.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tempfile::TempDir;

use crate::binaries::{self, Binaries, Binary};
use crate::component::{Ports, api_server_flags, controller_flags, etcd_flags};
use crate::error::StartError;
use crate::files::write_files;
use crate::options::Options;
use crate::process::{Process, SpawnError};
use crate::{guard, ports};

/// How long each part may take to answer.
const PATIENCE: Duration = Duration::from_secs(90);

/// A running control plane, all on 127.0.0.1; everything is gone when this is dropped.
///
/// Set `MOORING_KEEP_LOGS` to a folder to have the components' logs copied there at the end.
#[derive(Debug)]
pub struct ControlPlane {
    // Dropped in this order: the API server's clients first, the store last, the folder after all.
    components: Vec<Process>,
    etcd: Process,
    binaries: Binaries,
    config: kube::Config,
    authority: String,
    server: String,
    etcd_address: String,
    folder: TempDir,
}

impl ControlPlane {
    /// Starts a control plane and waits until it answers: some six seconds, plus the first build of the binaries.
    ///
    /// # Errors
    /// See [`StartError`]; the message has the last lines of what failed.
    pub async fn start(options: Options) -> Result<ControlPlane, StartError> {
        let progress = options.progress;
        let given = options.binaries.clone();
        let wanted: Vec<Binary> =
            options.components().into_iter().filter(|binary| !given.has(*binary)).collect();
        let found = tokio::task::spawn_blocking(move || binaries::ensure(&wanted, &progress));
        let binaries = given.with(found.await.map_err(std::io::Error::other)??);
        let mut attempt = 1;
        loop {
            match ControlPlane::start_once(&options, &binaries).await {
                // Somebody else took a port between our look and the component's own.
                Err(StartError::Component { log, .. })
                    if attempt < 4 && log.contains("address already in use") =>
                {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    async fn start_once(options: &Options, binaries: &Binaries) -> Result<ControlPlane, StartError> {
        let folder = tempfile::Builder::new().prefix("mooring-cluster-").tempdir()?;
        guard::remove_at_end(folder.path());
        let [etcd, etcd_peer, api_server] = ports::free()?;
        let ports = Ports { etcd, etcd_peer, api_server };
        let server = format!("https://127.0.0.1:{api_server}");
        let authority = write_files(folder.path(), &server)?;
        let log = |binary: Binary| folder.path().join(format!("{}.log", binary.name()));
        let spawn = |binary: Binary, arguments: Vec<String>| {
            let mut command = Command::new(binaries.path(binary));
            command.args(arguments).current_dir(folder.path());
            Process::start(binary.name(), command, &log(binary))
        };
        let etcd = spawn(Binary::Etcd, etcd_flags(&ports))?;
        let mut components = vec![spawn(Binary::ApiServer, api_server_flags(&ports, options))?];
        let kubeconfig = Kubeconfig::read_from(folder.path().join("admin.kubeconfig"))?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let mut this = ControlPlane {
            components: Vec::new(),
            etcd,
            binaries: binaries.clone(),
            config,
            authority,
            server,
            etcd_address: format!("127.0.0.1:{}", ports.etcd),
            folder,
        };
        this.components.append(&mut components);
        this.until_ready("is not ready", Binary::ApiServer, |client| async move {
            let request = http::Request::get("/readyz").body(Vec::new());
            match request {
                Ok(request) => client.request_text(request).await.is_ok_and(|text| text == "ok"),
                Err(_) => false,
            }
        })
        .await?;
        for (wanted, binary) in
            [(options.controller_manager, Binary::ControllerManager), (options.scheduler, Binary::Scheduler)]
        {
            if wanted {
                let mut command = Command::new(this.binaries.path(binary));
                command.args(controller_flags(binary, options)).current_dir(this.folder.path());
                let log = this.folder.path().join(format!("{}.log", binary.name()));
                this.components.push(Process::start(binary.name(), command, &log)?);
            }
        }
        if options.controller_manager {
            this.until_ready("made no service account", Binary::ControllerManager, |client| async move {
                Api::<ServiceAccount>::namespaced(client, "default").get("default").await.is_ok()
            })
            .await?;
        }
        Ok(this)
    }

    /// Asks `ready` again and again; fails when a component ends or `binary` takes too long.
    async fn until_ready<F>(
        &mut self,
        complaint: &str,
        binary: Binary,
        ready: impl Fn(kube::Client) -> F,
    ) -> Result<(), StartError>
    where
        F: Future<Output = bool>,
    {
        // No retries inside the client: the loop here is the retry.
        let mut config = self.config.clone();
        config.default_retry = false;
        let client = kube::Client::try_from(config)?;
        let end = Instant::now() + PATIENCE;
        loop {
            if ready(client.clone()).await {
                return Ok(());
            }
            for process in std::iter::once(&mut self.etcd).chain(&mut self.components) {
                if let Some(status) = process.exited() {
                    return Err(failed(process, format!("ended ({status})")));
                }
                if Instant::now() > end && process.name() == binary.name() {
                    return Err(failed(process, format!("{complaint} after {} s", PATIENCE.as_secs())));
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("admin.kubeconfig")
    }

    /// A client with the administrator's rights. Must be called inside a tokio runtime, and used in that one only.
    ///
    /// # Errors
    /// The TLS configuration is refused (a defect here).
    pub fn client(&self) -> Result<kube::Client, StartError> {
        Ok(kube::Client::try_from(self.config.clone())?)
    }

    /// A client with the rights of `kubeconfig`.
    ///
    /// # Errors
    /// The file cannot be read or says nothing usable.
    pub async fn client_of(&self, kubeconfig: &Path) -> Result<kube::Client, StartError> {
        let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(kube::Client::try_from(config)?)
    }

    /// The API server's address, `https://127.0.0.1:PORT`.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Where etcd listens, without TLS, `127.0.0.1:PORT`: its metrics are at `/metrics` there.
    pub fn etcd(&self) -> &str {
        &self.etcd_address
    }

    /// What clients with the administrator's rights are made of.
    pub(crate) fn config(&self) -> kube::Config {
        self.config.clone()
    }

    /// The certificate authority, PEM.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// A folder that lives as long as the control plane, for sockets, state and logs of what a test starts beside it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The binaries it was made of.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Starts `command` beside the control plane, with its output in `NAME.log` of [`ControlPlane::folder`].
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn(&self, name: &str, command: Command) -> Result<Process, SpawnError> {
        Process::start(name, command, &self.folder.path().join(format!("{name}.log")))
    }

    /// The last `count` lines of the log of `name`: a component, or what [`ControlPlane::spawn`] started.
    pub fn log(&self, name: &str, count: usize) -> String {
        crate::process::last_lines(&self.folder.path().join(format!("{name}.log")), count)
    }

    /// A namespace that nobody has used: `prefix-` and some letters.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn fresh_namespace(&self, prefix: &str) -> Result<String, StartError> {
        let namespace = Namespace {
            metadata: ObjectMeta { generate_name: Some(format!("{prefix}-")), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        let created =
            Api::<Namespace>::all(self.client()?).create(&PostParams::default(), &namespace).await?;
        Ok(created.metadata.name.unwrap_or_default())
    }

    /// The process ids of all that it started itself.
    pub fn process_ids(&self) -> Vec<u32> {
        std::iter::once(&self.etcd).chain(&self.components).map(Process::id).collect()
    }

    /// Stops everything and removes the folder. The same happens on drop; here it is awaited, so that nothing blocks.
    pub async fn stop(self) {
        // Killing and reaping takes milliseconds, but it blocks.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        for process in &mut self.components {
            process.kill();
        }
        self.etcd.kill();
        if std::thread::panicking() {
            for process in &self.components {
                eprintln!("---- last lines of {} ----\n{}", process.name(), process.last_lines(8));
            }
        }
        if let Some(target) = std::env::var_os("MOORING_KEEP_LOGS").map(PathBuf::from) {
            keep_logs(self.folder.path(), &target);
        }
    }
}

/// Copies `*.log` of `folder` into a folder of the same name under `target`.
fn keep_logs(folder: &Path, target: &Path) {
    let target = target.join(folder.file_name().unwrap_or_default());
    if std::fs::create_dir_all(&target).is_err() {
        return;
    }
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "log") {
            // Logs are a convenience: one that cannot be copied must not hide why the test failed.
            let _ = std::fs::copy(entry.path(), target.join(entry.file_name()));
        }
    }
}

fn failed(process: &Process, what: String) -> StartError {
    StartError::Component { name: process.name().to_owned(), what, log: process.last_lines(15) }
}
