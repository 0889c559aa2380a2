//! One child process that cannot outlive the test.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::guard;

/// A running child: standard output and error go to a log file, standard input is empty, and it leads a process group of
/// its own (Ctrl-C at the terminal does not reach it; killing it takes its children along).
///
/// Killed with SIGKILL on drop, on panic, and when the test process dies.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

/// When the test process dies, `script` is run by `sh` with the folder as its argument, once the processes of [`Process::start`] are
/// killed. A folder that is gone by then needs nothing.
///
/// # Errors
/// The system's: the script is written to `undo.sh` in the folder.
pub fn undo_at_end(folder: &Path, script: &str) -> io::Result<()> {
    std::fs::write(folder.join("undo.sh"), script)?;
    guard::run_at_end(folder);
    Ok(())
}

/// Runs a program to its end, for no longer than `limit`, with `input` on its standard input. It cannot outlive the test process.
///
/// # Errors
/// The system's; [`io::ErrorKind::TimedOut`] when it had to be killed.
pub fn output(mut command: Command, input: &str, limit: Duration) -> io::Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn()?;
    let (id, group) = (child.id(), pid(&child));
    guard::watch(id);
    if let Some(mut pipe) = child.stdin.take() {
        // One that ends before it reads says why itself.
        let _ = pipe.write_all(input.as_bytes());
    }
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(child.wait_with_output()));
    let ended = told.recv_timeout(limit);
    if let (Err(_), Some(group)) = (&ended, group) {
        // It may have ended at this moment.
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    guard::forget(id);
    ended.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("{command:?} does not end")))?
}

/// A child could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {program}: {source}")]
pub struct SpawnError {
    /// The program as given.
    program: String,
    source: io::Error,
}

impl Process {
    /// Starts `command`, appending its output to the file `log`.
    ///
    /// # Errors
    /// The program or the log file cannot be opened.
    pub fn start(name: &str, command: Command, log: &Path) -> Result<Process, SpawnError> {
        let process = Self::spawn(name, command, log)?;
        guard::watch(process.id());
        Ok(process)
    }

    /// As [`Self::start`], of something without which others cannot end: when the test process dies, it is killed last, after the
    /// scripts of [`undo_at_end`].
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_for_others(name: &str, command: Command, log: &Path) -> Result<Process, SpawnError> {
        let process = Self::spawn(name, command, log)?;
        guard::watch_to_the_last(process.id());
        Ok(process)
    }

    fn spawn(name: &str, mut command: Command, log: &Path) -> Result<Process, SpawnError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = File::options()
            .create(true)
            .append(true)
            .open(log)
            .and_then(|out| Ok((out.try_clone()?, out)))
            .and_then(|(out, err)| {
                command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
                command.spawn()
            })
            .map_err(|source| SpawnError { program, source })?;
        Ok(Process { name: name.to_owned(), child, log: log.to_owned(), ended: None })
    }

    /// The name given at the start; for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file that has its output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, or `None` while it runs.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
            if self.ended.is_some() {
                guard::forget(self.id());
            }
        }
        self.ended
    }

    /// Sends `signal` to the process alone (not to its children). Nothing happens when it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.exited().is_none()
            && let Some(pid) = pid(&self.child)
        {
            // It may have ended in between: then there is nothing to do.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Waits until it ends; `None` when it still runs after `limit`.
    pub async fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.exited() {
                return Some(status);
            }
            if Instant::now() >= end {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// SIGTERM, up to `grace` to end by itself, then SIGKILL. Tells how it ended.
    pub async fn terminate(&mut self, grace: Duration) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        if self.wait(grace).await.is_none() {
            self.kill();
        }
        self.ended
    }

    /// SIGKILL to it and its children; returns when it is gone.
    pub fn kill(&mut self) {
        if self.exited().is_some() {
            return;
        }
        if let Some(pid) = pid(&self.child) {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
        self.ended = self.child.wait().ok();
        guard::forget(self.id());
    }

    /// The last `count` lines of its output.
    pub fn last_lines(&self, count: usize) -> String {
        last_lines(&self.log, count)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// The last `count` lines of a file; empty when it cannot be read.
pub(crate) fn last_lines(file: &Path, count: usize) -> String {
    let text = std::fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(count)..).unwrap_or_default().join("\n")
}
