//! Running a program for as long as it may take.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base::secret::SecretValue;
use rustix::io::Errno;

/// How often a running program is looked at.
const GLANCE: Duration = Duration::from_millis(10);
/// The longest answer that is kept.
const ANSWER: u64 = 1 << 20;

/// What runs programs; tests record what is run.
pub(super) trait Runner: Send + Sync + std::fmt::Debug {
    /// Runs `rbd` with these arguments and this key on its standard input; gives what it wrote.
    ///
    /// # Errors
    /// The number that it ended with, which is the system's; ETIMEDOUT when it took too long.
    fn rbd(&self, arguments: &[String], key: Option<&SecretValue>) -> io::Result<String>;
}

/// Runs programs of the system.
#[derive(Debug)]
pub(super) struct System {
    /// The longest that one may take.
    pub(super) patience: Duration,
}

impl Runner for System {
    fn rbd(&self, arguments: &[String], key: Option<&SecretValue>) -> io::Result<String> {
        let mut command = Command::new("rbd");
        command.args(arguments);
        run(command, key, self.patience, true)
    }
}

/// Runs a program; gives what it wrote to its standard output, if that is wanted: a daemon may keep it open. The key goes to its
/// standard input.
///
/// # Errors
/// As [`Runner::rbd`].
pub(super) fn run(
    mut command: Command,
    key: Option<&SecretValue>,
    patience: Duration,
    is_answer_wanted: bool,
) -> io::Result<String> {
    let end = Instant::now() + patience;
    let program = command.get_program().to_string_lossy().into_owned();
    let input = if key.is_some() { Stdio::piped() } else { Stdio::null() };
    command.env_remove("CEPH_CONF").env_remove("CEPH_KEYRING");
    let output = if is_answer_wanted { Stdio::piped() } else { Stdio::null() };
    let mut child = command.stdin(input).stdout(output).stderr(Stdio::piped()).spawn()?;
    if let (Some(mut input), Some(key)) = (child.stdin.take(), key) {
        // One that ends before it reads says why itself.
        let _ = input.write_all(key.expose().as_bytes());
    }
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Err(Errno::TIMEDOUT.into());
        }
        std::thread::sleep(GLANCE);
    };
    let text = |pipe: Option<&mut dyn Read>| {
        let mut bytes = Vec::new();
        let read = pipe.map(|pipe| pipe.take(ANSWER).read_to_end(&mut bytes));
        read.transpose().map(|_| String::from_utf8_lossy(&bytes).into_owned())
    };
    // They write little, so that a pipe holds it.
    if !status.success() {
        let said = text(child.stderr.as_mut().map(|pipe| pipe as &mut dyn Read))?;
        base::v!(4, "A program failed"; "program" => program, "status" => status, "says" => said.trim());
        return Err(status.code().map_or_else(|| io::Error::other(said), io::Error::from_raw_os_error));
    }
    text(child.stdout.as_mut().map(|pipe| pipe as &mut dyn Read))
}
