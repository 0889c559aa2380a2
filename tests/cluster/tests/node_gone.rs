//! A real node leaves nothing behind, however its process ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use cluster::node::{self, RealNode};
use cluster::skip::{Lack, left_out};
use cluster::{ControlPlane, Options, wait};

/// Set in the child of [`a_node_leaves_nothing_behind_stopped_or_killed`].
const ROLE: &str = "MOORING_TEST_NODE_FOLDER";

/// Whether the machine's sysctls are what they were before the node in `folder`, which noted them.
fn are_restored(noted: &str) -> bool {
    noted
        .lines()
        .filter_map(|line| line.split_once('='))
        .all(|(file, value)| std::fs::read_to_string(file).is_ok_and(|now| now.trim() == value))
}

/// What of a node with this folder is still there.
fn left(folder: &Path) -> Vec<String> {
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().expect("it runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let mut left = Vec::new();
    if folder.exists() {
        left.push(folder.display().to_string());
    }
    let name = folder.display().to_string();
    left.extend(
        run("losetup", &["--list", "--output", "BACK-FILE"])
            .lines()
            .filter(|line| line.contains("of-a-node"))
            .map(str::to_owned),
    );
    left.extend(
        run("ip", &["-brief", "link", "show", "type", "bridge"])
            .lines()
            .filter(|line| line.starts_with("mooring"))
            .map(str::to_owned),
    );
    left.extend(run("ps", &["-eo", "args"]).lines().filter(|line| line.contains(&name)).map(str::to_owned));
    let groups =
        Command::new("find").args(["/sys/fs/cgroup", "-maxdepth", "2", "-name", "mooring-*"]).output();
    left.extend(String::from_utf8_lossy(&groups.expect("find").stdout).lines().map(str::to_owned));
    left
}

/// A node with a loop device, as block volumes have them.
/// `None` if no node starts on this machine.
async fn start() -> Option<(RealNode, ControlPlane)> {
    let options = Options { controller_manager: false, ..Options::default() };
    let control_plane = ControlPlane::start(options).await.expect("a control plane");
    let node = match RealNode::start(&control_plane, &[]).await {
        Ok(node) => node,
        Err(error) => {
            println!("no real node: {error}");
            return None;
        }
    };
    let file = "/var/lib/device-of-a-node";
    node.run("truncate", &["--size=1M", file]).expect("made");
    node.run("losetup", &["--find", file]).expect("attached");
    assert_ne!(left(control_plane.folder()), Vec::<String>::new());
    Some((node, control_plane))
}

/// Stopped by its owner: everything is gone when the owner goes on. False if no node starts.
async fn stop() -> bool {
    let Some((node, control_plane)) = start().await else { return false };
    let folder = control_plane.folder().join("node");
    let noted = std::fs::read_to_string(folder.join("sysctls")).expect("noted");
    drop(node);
    assert_eq!(left(&folder), Vec::<String>::new());
    assert!(are_restored(&noted), "{noted}");
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_leaves_nothing_behind_stopped_or_killed() {
    if let Some(file) = std::env::var_os(ROLE).map(PathBuf::from) {
        let Some((_node, control_plane)) = start().await else { return };
        let name = control_plane.folder().display().to_string();
        std::fs::write(file.with_extension("new"), name).expect("written");
        std::fs::rename(file.with_extension("new"), file).expect("renamed");
        tokio::time::sleep(Duration::from_secs(1000)).await;
        return;
    }
    if let Some(lack) = node::lack() {
        left_out("what a real node leaves behind", lack);
        return;
    }
    if !stop().await {
        left_out("what a real node leaves behind", Lack::Node);
        return;
    }
    let scratch = tempfile::tempdir().expect("a folder");
    let file = scratch.path().join("folder");
    let mut parent = Command::new(std::env::current_exe().expect("our own program"));
    parent.args(["--exact", "a_node_leaves_nothing_behind_stopped_or_killed"]).env(ROLE, &file);
    let mut parent = parent.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    let started =
        wait::until("the node", Duration::from_secs(120), async || std::fs::read_to_string(&file).ok());
    let folder = PathBuf::from(started.await.expect("a node"));
    let noted = std::fs::read_to_string(folder.join("node/sysctls")).expect("noted");
    parent.kill().expect("killed");
    parent.wait().expect("reaped");
    let gone = async || (left(&folder).is_empty() && are_restored(&noted)).then_some(());
    if wait::until("everything to go", Duration::from_secs(60), gone).await.is_err() {
        panic!("left: {:?}; sysctls before: {noted}", left(&folder));
    }
}
