//! The namespaces that a real node lives in, and its place on the machine.
//!
//! Kubelet, containerd and every pod live in a mount and a PID namespace of their own, where `/var/lib`, `/var/log` and `/run`
//! are the node's. What cannot be private is the bridge of the pods' network, their groups of control, loop devices and
//! a few sysctls: `undo.sh` puts those back.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::error::NodeError;
use crate::binaries::cache_folder;
use crate::guard;
use crate::process::Process;

/// The node's address: that of the bridge, where the kubelet listens.
pub const NODE_ADDRESS: &str = "10.86.77.1";
/// The addresses of pods.
pub(super) const POD_RANGE: &str = "10.86.77.0/24";
/// The bridge that pods are connected to.
pub(super) const BRIDGE: &str = "mooring0";

/// Ends a node: see the file.
const UNDO: &str = include_str!("undo.sh");

/// The first process of the namespaces: makes the node's folders the machine's, then reaps orphans for ever.
const INIT: &str = r#"
set -e
mount --make-rshared /
mount -t proc proc /proc
for name in lib log; do
  mount --bind "$1/var-$name" "/var/$name"
  # Out of the peer group of the machine's file system: a mount below it must not show up a second time below the node's
  # folder, where the kubelet would take it for one more user of the volume.
  mount --make-private "/var/$name"
  mount --make-shared "/var/$name"
done
mount -t tmpfs tmpfs /run
: >"$1/init.ready"
exec sh -c 'while :; do sleep 2147483647 & wait; done' mooring-node "$1"
"#;

/// What the kubelet sets for the whole machine, and the network plugins the last.
const SYSCTLS: [&str; 7] = [
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/panic_on_oom",
    "/proc/sys/kernel/panic",
    "/proc/sys/kernel/panic_on_oops",
    "/proc/sys/kernel/keys/root_maxkeys",
    "/proc/sys/kernel/keys/root_maxbytes",
    "/proc/sys/net/ipv4/ip_forward",
];

/// The right to have the machine's only real node: its bridge and its sysctls exist once. Given back by dropping it.
#[derive(Debug)]
pub(super) struct Claim {
    _lock: File,
    record: PathBuf,
}

impl Claim {
    /// Waits until no other process has a real node, and clears up after one that was killed.
    ///
    /// # Errors
    /// There is no cache folder to keep the lock in.
    pub(super) fn wait() -> Result<Claim, NodeError> {
        let folder = cache_folder()?.join("node");
        std::fs::create_dir_all(&folder)?;
        let lock = File::options().create(true).truncate(false).write(true).open(folder.join("lock"))?;
        lock.lock()?;
        let record = folder.join("current");
        if let Ok(left) = std::fs::read_to_string(&record) {
            undo(Path::new(left.trim()), false);
        }
        Ok(Claim { _lock: lock, record })
    }

    /// The node is going to be in `folder`.
    pub(super) fn record(&self, folder: &Path) -> io::Result<()> {
        std::fs::write(&self.record, folder.display().to_string())
    }
}

/// Runs `undo.sh` to its end.
pub(super) fn undo(folder: &Path, reboot: bool) {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", UNDO, "undo"]).arg(folder);
    if reboot {
        shell.arg("reboot");
    }
    // Its complaints are about what is gone already.
    let _ = shell.output();
}

/// The namespaces.
#[derive(Debug)]
pub(super) struct Space {
    folder: PathBuf,
    init: u32,
    unshare: Process,
}

impl Space {
    /// Makes the node's folder and notes what is to be put back; nothing is changed before.
    pub(super) fn prepare(folder: &Path, claim: &Claim) -> io::Result<()> {
        for name in ["var-lib", "var-log", "cni"] {
            std::fs::create_dir_all(folder.join(name))?;
        }
        std::fs::write(folder.join("undo.sh"), UNDO)?;
        claim.record(folder)?;
        guard::run_at_end(folder);
        std::fs::write(folder.join("bridge"), BRIDGE)?;
        std::fs::write(folder.join("cgroup"), group())?;
        let mut values = String::new();
        for file in SYSCTLS {
            if let Ok(value) = std::fs::read_to_string(file) {
                values.push_str(&format!("{file}={}\n", value.trim()));
            }
        }
        std::fs::write(folder.join("sysctls"), values)
    }

    /// Starts the namespaces of the node in `folder`.
    pub(super) fn start(folder: &Path, log: &Path) -> Result<Space, NodeError> {
        let ready = folder.join("init.ready");
        let _ = std::fs::remove_file(&ready);
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--propagation",
            "private",
            "--",
            "/bin/sh",
            "-c",
            INIT,
        ]);
        command.arg("mooring-node").arg(folder);
        let mut unshare = Process::start("node-init", command, log)?;
        let end = Instant::now() + Duration::from_secs(10);
        while !ready.exists() {
            if Instant::now() > end || unshare.exited().is_some() {
                return Err(NodeError::failed("node-init", "did not make its namespaces", log));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let init = std::fs::read_to_string(children)?.trim().parse().map_err(io::Error::other)?;
        std::fs::write(folder.join("init.pid"), format!("{init}\n"))?;
        Ok(Space { folder: folder.to_owned(), init, unshare })
    }

    /// A program in the node's namespaces.
    pub(super) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.init)).args(["--mount", "--pid", "--"]).arg(program);
        command
    }

    /// Ends every process and mount of the node at once, as a power cut does. Its files stay.
    pub(super) fn cut(&mut self) {
        undo(&self.folder, true);
        self.unshare.kill();
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.cut();
    }
}

/// The group of control that the node's pods are in; two kubelets in one would kill each other's pods.
pub(super) fn group() -> String {
    format!("mooring-{}", std::process::id())
}

/// Makes the node's group in every tree, as the kubelet wants to find it.
pub(super) fn make_group() -> io::Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        let controllers = std::fs::read_to_string(root.join("cgroup.controllers"))?;
        for controller in controllers.split_whitespace() {
            // One that cannot be handed down is the kubelet's to complain about.
            let _ = std::fs::write(root.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        return std::fs::create_dir_all(root.join(group()));
    }
    for tree in std::fs::read_dir(root)?.flatten().filter(|tree| tree.path().is_dir()) {
        // A tree that is no hierarchy of its own, or none that can be written, is none of the kubelet's.
        let _ = std::fs::create_dir_all(tree.path().join(group()));
    }
    // A new group of cpuset has no CPU and no memory.
    let cpuset = root.join("cpuset");
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if let Ok(value) = std::fs::read_to_string(cpuset.join(file)) {
            std::fs::write(cpuset.join(group()).join(file), value.trim())?;
        }
    }
    Ok(())
}
