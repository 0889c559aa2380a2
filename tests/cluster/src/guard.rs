//! Ends what we started when this process itself ends without running destructors (SIGKILL, `abort`, statics).
//!
//! One small shell per process, holding the read end of a pipe whose only writer is this process. It is told about every
//! child and every folder; when the pipe closes, for whatever reason, it kills the children and removes the folders.
//! A parent-death signal would not do: the kernel sends it when the *thread* that started the child ends, and tests
//! start children on threads that come and go.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// Reads `+ PID` (a process group to kill), `l PID` (one to kill last), `- PID` (it is gone), `d FOLDER` (a folder to remove),
/// `u FOLDER` (a folder with an `undo.sh` to run before those of the last are killed) until end of file.
const SCRIPT: &str = r#"
pids=" "
last=" "
undo=
while read -r what value; do
  case $what in
    +) pids="$pids$value " ;;
    l) last="$last$value " ;;
    -) case $pids in *" $value "*) pids="${pids%% "$value" *} ${pids#* "$value" }" ;; esac
       case $last in *" $value "*) last="${last%% "$value" *} ${last#* "$value" }" ;; esac ;;
    d) set -- "$@" "$value" ;;
    u) undo="$undo
$value" ;;
  esac
done
for pid in $pids; do kill -s KILL -- "-$pid" 2>/dev/null; done
printf '%s\n' "$undo" | while read -r folder; do
  [ -f "$folder/undo.sh" ] && sh "$folder/undo.sh" "$folder" </dev/null
done
for pid in $last; do kill -s KILL -- "-$pid" 2>/dev/null; done
[ $# -eq 0 ] && exit 0
for attempt in 1 2 3 4 5; do rm -rf -- "$@" 2>/dev/null && exit 0; sleep 0.2; done
"#;

/// The pipe to the shell; `None` where no shell could be started (then only destructors clean up).
static PIPE: OnceLock<Option<Mutex<ChildStdin>>> = OnceLock::new();

fn start() -> Option<Mutex<ChildStdin>> {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", SCRIPT, "mooring-guard"]);
    // A group of its own: Ctrl-C in the terminal must not end the one who cleans up after Ctrl-C.
    shell.process_group(0);
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = shell.spawn().ok()?;
    child.stdin.take().map(Mutex::new)
}

fn tell(line: &str) {
    if let Some(pipe) = PIPE.get_or_init(start)
        && let Ok(mut pipe) = pipe.lock()
    {
        // A write that fails means that the shell is gone; destructors still do their part.
        let _ = pipe.write_all(line.as_bytes());
    }
}

/// The process group `pid` is to be killed when this process ends.
pub(crate) fn watch(pid: u32) {
    tell(&format!("+ {pid}\n"));
}

/// As [`watch`], but after the folders' `undo.sh`, which may need it.
pub(crate) fn watch_to_the_last(pid: u32) {
    tell(&format!("l {pid}\n"));
}

/// The process group `pid` has ended and its number may be given to somebody else.
pub(crate) fn forget(pid: u32) {
    tell(&format!("- {pid}\n"));
}

/// `folder` is to be removed when this process ends; removing it earlier is fine.
pub(crate) fn remove_at_end(folder: &Path) {
    tell(&format!("d {}\n", folder.display()));
}

/// `undo.sh` in `folder` is to be run with the folder when this process ends; a folder that is gone by then needs nothing.
pub(crate) fn run_at_end(folder: &Path) {
    tell(&format!("u {}\n", folder.display()));
}
