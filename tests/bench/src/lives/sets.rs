//! Sets of sidecars: which executables run, and how they are started.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use cluster::Process;
use cluster::binaries::{Binary, Progress, ensure};

use super::figures::Usage;
use crate::scrape::labelled;
use crate::stand::{Programs, Stand, quiet};
use crate::usage::{cpu, memory, sockets, threads};

/// What an executable is started as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Provisioner,
    Attacher,
    Resizer,
    /// All three in one process.
    Controller,
}

impl Role {
    const ALL: [(&'static str, Self); 4] = [
        ("csi-provisioner", Self::Provisioner),
        ("csi-attacher", Self::Attacher),
        ("csi-resizer", Self::Resizer),
        ("controller", Self::Controller),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, role)| *role == self).map_or("", |(name, _)| name)
    }

    /// As many workers for all.
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Provisioner | Self::Attacher => &["--worker-threads=100"],
            Self::Resizer => &["--workers=100"],
            Self::Controller => &[
                "--provisioner-worker-threads=100",
                "--attacher-worker-threads=100",
                "--resizer-workers=100",
            ],
        }
    }
}

/// One process of a set.
#[derive(Debug, Clone)]
struct Part {
    role: Role,
    path: PathBuf,
}

/// Executables that serve a driver together.
#[derive(Debug, Clone)]
pub(crate) struct Set {
    pub(crate) name: String,
    parts: Vec<Part>,
    /// Whether each sidecar has the flags that it has when nobody sets any.
    default_flags: bool,
}

/// `NAME=csi-provisioner:PATH,csi-attacher:PATH,csi-resizer:PATH`, or `NAME=controller:PATH`.
impl FromStr for Set {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, parts) = text.split_once('=').context("NAME=SIDECAR:PATH[,SIDECAR:PATH…]")?;
        let part = |word: &str| {
            let (role, path) = word.split_once(':').context("a part is SIDECAR:PATH")?;
            let known = Role::ALL.iter().find(|(known, _)| *known == role);
            let (_, role) = known.with_context(|| {
                format!("{role:?}: csi-provisioner, csi-attacher, csi-resizer, controller")
            })?;
            Ok(Part { role: *role, path: path.into() })
        };
        let parts = parts.split(',').map(part).collect::<Result<_>>()?;
        Ok(Self { name: name.to_owned(), parts, default_flags: false })
    }
}

impl Set {
    /// Ours, in one process.
    pub(crate) fn combined(programs: &Programs) -> Self {
        let parts = vec![Part { role: Role::Controller, path: programs.mooring.clone() }];
        Self { name: "mooring, one process".to_owned(), parts, default_flags: false }
    }

    /// Ours, a process each.
    pub(crate) fn separate(programs: &Programs) -> Self {
        let roles = [Role::Provisioner, Role::Attacher, Role::Resizer];
        let parts = roles.map(|role| Part { role, path: programs.mooring.clone() }).into();
        Self { name: "mooring, three".to_owned(), parts, default_flags: false }
    }

    /// The Go sidecars.
    pub(crate) fn go() -> Result<Self> {
        let all = [
            (Role::Provisioner, Binary::CsiProvisioner),
            (Role::Attacher, Binary::CsiAttacher),
            (Role::Resizer, Binary::CsiResizer),
        ];
        let binaries = ensure(&all.map(|(_, binary)| binary), &Progress::auto())?;
        let parts = all.map(|(role, binary)| Part { role, path: binaries.path(binary).to_owned() }).into();
        Ok(Self { name: "Go, three".to_owned(), parts, default_flags: false })
    }

    /// The same, but with no flag for its rate or its workers.
    pub(crate) fn with_default_flags(self) -> Self {
        Self { default_flags: true, ..self }
    }

    /// Starts all, and waits until each has read what there is. On a machine of another name, they are other candidates of each election.
    pub(super) async fn start(&self, stand: &Stand, machine: Option<&str>) -> Result<Sidecars> {
        let mut all = Vec::new();
        for Part { role, path } in &self.parts {
            let mut command = on_machine(machine, path);
            let is_ours = path.file_name().is_some_and(|name| name == "mooring");
            if is_ours {
                command.arg(role.name());
            } else if !self.default_flags {
                // Else its five requests a second would be all that is measured.
                command.args(["--kube-api-qps=1000", "--kube-api-burst=2000"]);
            }
            let address = format!("127.0.0.1:{}", free_port()?);
            command.args(["--leader-election", &format!("--leader-election-namespace={}", stand.namespace)]);
            command.arg(format!("--http-endpoint={address}"));
            if !self.default_flags {
                command.args(role.flags());
            }
            let process = stand.start(command, role.name(), &[])?;
            all.push(Sidecar { process, address });
        }
        for sidecar in &all {
            let ready = async || labelled(&sidecar.address, CALLS, "method_name").await.ok();
            until(&sidecar.process, ready).await?;
            quiet(sidecar.process.id()).await?;
        }
        Ok(Sidecars(all))
    }
}

/// Runs the program where the machine has this name.
fn on_machine(name: Option<&str>, program: &Path) -> Command {
    let Some(name) = name else { return Command::new(program) };
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--uts", "sh", "-c", r#"hostname "$0" && exec "$@""#, name])
        .arg(program);
    command
}

/// The family that counts calls.
const CALLS: &str = "csi_sidecar_operations_seconds_count";

async fn until<F: Future<Output = Option<T>>, T>(process: &Process, ready: impl Fn() -> F) -> Result<()> {
    for _ in 0..600 {
        if ready().await.is_some() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("{} has no metrics page:\n{}", process.name(), process.last_lines(20))
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// A process, and where its metrics are.
struct Sidecar {
    process: Process,
    address: String,
}

/// The processes of a set.
pub(super) struct Sidecars(Vec<Sidecar>);

impl Sidecars {
    pub(super) fn pids(&self) -> Vec<u32> {
        self.0.iter().map(|sidecar| sidecar.process.id()).collect()
    }

    /// What all of them use.
    pub(super) fn usage(&self) -> Result<Usage> {
        usage(&self.pids())
    }

    /// Waits until none does anything any more.
    pub(super) async fn quiet(&self) -> Result<()> {
        for pid in self.pids() {
            quiet(pid).await?;
        }
        Ok(())
    }

    /// What they called, as `Method Code`, and how often.
    pub(super) async fn calls(&self) -> BTreeMap<String, usize> {
        let mut all = BTreeMap::new();
        for sidecar in &self.0 {
            for (labels, count) in labelled(&sidecar.address, CALLS, "method_name").await.unwrap_or_default()
            {
                let method =
                    labels.get("method_name").map_or("", |name| name.rsplit('/').next().unwrap_or(name));
                let code = labels.get("grpc_status_code").map_or("", String::as_str);
                *all.entry(format!("{method} {code}")).or_default() += count as usize;
            }
        }
        all
    }
}

/// What these processes use.
pub(super) fn usage(pids: &[u32]) -> Result<Usage> {
    let mut all = Usage::default();
    for &pid in pids {
        let memory = memory(pid)?;
        all.resident += memory.resident;
        all.anonymous += memory.anonymous;
        all.peak += memory.peak;
        all.threads += threads(pid)?;
        all.sockets += sockets(pid)?;
        all.cpu += cpu(pid)?.as_secs_f64();
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_written_as_a_name_and_its_parts() {
        let set: Set = "mine=csi-attacher:/bin/a,controller:/bin/b".parse().expect("a set");
        let parts: Vec<_> = set.parts.iter().map(|part| (part.role, part.path.to_str())).collect();
        assert_eq!(set.name, "mine");
        assert_eq!(parts, [(Role::Attacher, Some("/bin/a")), (Role::Controller, Some("/bin/b"))]);
        for (text, why) in
            [("mine", "NAME="), ("mine=/bin/a", "SIDECAR:PATH"), ("mine=snapshotter:/a", "csi-resizer")]
        {
            let error = text.parse::<Set>().map(|_| ()).expect_err(text).to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
