//! Running a program for as long as it may take.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base::secret::SecretValue;
use rustix::io::Errno;

use super::mapper::{Kind, Request};

/// How often a running program is looked at.
const GLANCE: Duration = Duration::from_millis(10);
/// The longest answer that is kept.
const ANSWER: u64 = 1 << 20;

/// What runs programs; tests record what is run.
pub(super) trait Runner: Send + Sync + std::fmt::Debug {
    /// Runs `rbd` with these arguments, and with the key of what is to be mapped on its standard input; gives what it wrote.
    ///
    /// # Errors
    /// The number that it ended with, which is the system's; ETIMEDOUT when it took too long.
    fn rbd(&self, arguments: &[String], mapped: Option<&Request<'_>>) -> io::Result<String>;

    /// The cluster of a mapped image, by the id that `rbd` lists it with; none if it cannot be told.
    fn cluster(&self, kind: Kind, id: &str) -> Option<String>;
}

/// In the environment of rbd-nbd: the cluster of its image.
const CLUSTER: &str = "MOORING_RBD_CLUSTER";

/// Runs programs of the system.
#[derive(Debug)]
pub(super) struct System {
    /// The longest that one may take.
    pub(super) patience: Duration,
}

impl Runner for System {
    fn rbd(&self, arguments: &[String], mapped: Option<&Request<'_>>) -> io::Result<String> {
        let mut command = Command::new("rbd");
        command.args(arguments);
        if let Some(mapped) = mapped {
            command.env(CLUSTER, &mapped.spec.cluster);
        }
        run(command, mapped.map(|mapped| mapped.key), self.patience, true)
    }

    fn cluster(&self, kind: Kind, id: &str) -> Option<String> {
        id.parse::<u32>().ok()?;
        match kind {
            Kind::Krbd => {
                let fsid = std::fs::read_to_string(format!("/sys/bus/rbd/devices/{id}/cluster_fsid"));
                fsid.ok().map(|fsid| fsid.trim().to_owned())
            }
            // The id is that of the process.
            Kind::Nbd => noted(&std::fs::read(format!("/proc/{id}/environ")).ok()?),
            Kind::Fuse => None,
        }
    }
}

/// The cluster that is noted in an environment.
fn noted(environment: &[u8]) -> Option<String> {
    let cluster = environment
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(CLUSTER.as_bytes())?.strip_prefix(b"="));
    cluster.map(|cluster| String::from_utf8_lossy(cluster).into_owned()).filter(|cluster| !cluster.is_empty())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_of_rbd_nbd_is_in_its_environment() {
        for (environment, expected) in [
            (&b"PATH=/bin\0MOORING_RBD_CLUSTER=f1\0HOME=/"[..], Some("f1")),
            (b"PATH=/bin\0MOORING_RBD_CLUSTER=\0", None),
            (b"OTHER_MOORING_RBD_CLUSTER=f1", None),
            (b"", None),
        ] {
            assert_eq!(noted(environment).as_deref(), expected);
        }
    }
}
