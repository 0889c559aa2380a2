//! Children do not outlive the one who started them, however that one ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cluster::Process;
use cluster::process::{output, undo_at_end};

/// Set in the child of [`dies_with_the_process_that_started_it`].
const ROLE: &str = "MOORING_TEST_PARENT_FOLDER";

fn sleeper(folder: &Path) -> Process {
    let mut shell = Command::new("/bin/sh");
    // A grandchild too: killing only the shell would leave it behind.
    shell.args(["-c", "sleep 1000 & echo started; wait"]);
    let process = Process::start("sleeper", shell, &folder.join("log")).expect("started");
    soon("its first words", || process.last_lines(1) == "started");
    process
}

/// A zombie that nobody has reaped yet counts as gone.
fn is_running(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

/// The processes whose group is `group`.
fn group_members(group: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("proc").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit(") ").next().unwrap_or_default();
        after_name.split(' ').nth(2) == Some(&group.to_string())
    })
    .collect()
}

fn soon(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "waited 10 s for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn is_killed_with_its_children_when_dropped() {
    let folder = tempfile::tempdir().expect("a folder");
    let process = sleeper(folder.path());
    let pid = process.id();
    assert_eq!(group_members(pid).len(), 2, "the shell and its sleep");
    drop(process);
    assert!(!is_running(pid));
    soon("the grandchild to go", || group_members(pid).iter().all(|&pid| !is_running(pid)));
}

#[test]
fn is_killed_when_the_test_panics() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_owned();
    let (tell, told) = std::sync::mpsc::channel();
    let test = std::thread::spawn(move || {
        let process = sleeper(&path);
        tell.send(process.id()).expect("somebody listens");
        panic!("as a failing test does");
    });
    assert!(test.join().is_err());
    assert!(!is_running(told.recv().expect("a pid")));
}

#[test]
fn tells_how_it_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "echo one; echo two >&2; exit 7"]);
    let mut process = Process::start("short", shell, &folder.path().join("log")).expect("started");
    soon("its end", {
        let process = std::cell::RefCell::new(&mut process);
        move || process.borrow_mut().exited().is_some()
    });
    assert_eq!(process.exited().and_then(|status| status.code()), Some(7));
    assert_eq!(process.last_lines(2), "one\ntwo");
}

/// Runs this test's own program a second time as the parent, and kills that with SIGKILL: no destructor runs.
#[test]
fn dies_with_the_process_that_started_it() {
    if let Some(folder) = std::env::var_os(ROLE).map(PathBuf::from) {
        let process = sleeper(&folder);
        std::fs::write(folder.join("pid.new"), process.id().to_string()).expect("written");
        std::fs::rename(folder.join("pid.new"), folder.join("pid")).expect("renamed");
        std::thread::sleep(Duration::from_secs(1000));
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut parent = Command::new(std::env::current_exe().expect("our own program"));
    parent.args(["--exact", "dies_with_the_process_that_started_it"]).env(ROLE, folder.path());
    let mut parent = parent.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    let file = folder.path().join("pid");
    soon("the child's pid", || file.exists());
    let pid: u32 = std::fs::read_to_string(&file).expect("written").parse().expect("a number");
    assert!(is_running(pid));
    parent.kill().expect("killed");
    parent.wait().expect("reaped");
    soon("the child and its children to go", || group_members(pid).iter().all(|&pid| !is_running(pid)));
}

/// As above, with something to undo that needs one of the processes.
#[test]
fn what_is_undone_at_the_end_still_has_its_service() {
    if let Some(folder) = std::env::var_os(ROLE).map(PathBuf::from) {
        let start = |name: &str| {
            let mut sleep = Command::new("sleep");
            sleep.arg("1000");
            Process::start_for_others(name, sleep, &folder.join("log")).expect("started")
        };
        let service = start("service");
        // One that is killed may be there for a while, as a zombie.
        let script = "sleep 0.1; grep -q '^State:.[SR]' \"/proc/$(cat \"$1/pid\")/status\" && : >\"$1/seen\"";
        undo_at_end(&folder, script).expect("written");
        std::fs::write(folder.join("pid.new"), service.id().to_string()).expect("written");
        std::fs::rename(folder.join("pid.new"), folder.join("pid")).expect("renamed");
        std::thread::sleep(Duration::from_secs(1000));
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut parent = Command::new(std::env::current_exe().expect("our own program"));
    parent.args(["--exact", "what_is_undone_at_the_end_still_has_its_service"]).env(ROLE, folder.path());
    let mut parent = parent.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    let file = folder.path().join("pid");
    soon("the service's pid", || file.exists());
    let pid: u32 = std::fs::read_to_string(&file).expect("written").parse().expect("a number");
    parent.kill().expect("killed");
    parent.wait().expect("reaped");
    soon("the script to have run with the service", || folder.path().join("seen").exists());
    soon("the service to go", || !is_running(pid));
}

#[test]
fn a_program_that_does_not_end_is_killed() {
    let mut sleep = Command::new("sh");
    sleep.args(["-c", "sleep 1000 & wait"]);
    let error = output(sleep, "", Duration::from_millis(50)).expect_err("it does not end");
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut, "{error}");
    let mut cat = Command::new("cat");
    cat.arg("-");
    assert_eq!(output(cat, "said", Duration::from_secs(10)).expect("it ends").stdout, b"said");
}
