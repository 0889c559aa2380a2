//! What a process uses, as the kernel accounts for it.

use std::time::Duration;

use anyhow::{Context, Result};

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// Resident now.
    pub(crate) resident: u64,
    /// Resident now and not backed by a file.
    pub(crate) anonymous: u64,
    /// The most that ever was resident.
    pub(crate) peak: u64,
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "RSS {:.1} MiB (anonymous {:.1}, peak {:.1})",
            mib(self.resident),
            mib(self.anonymous),
            mib(self.peak)
        )
    }
}

/// Reads the memory of a process.
pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    let read = |name: &str| field(name).with_context(|| format!("no {name} in /proc/{pid}/status"));
    Ok(Memory { resident: read("VmRSS:")?, anonymous: read("RssAnon:")?, peak: read("VmHWM:")? })
}

/// How many threads a process has.
pub(crate) fn threads(pid: u32) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/task")).context("the process is gone")?.count())
}

/// How many sockets a process has open.
pub(crate) fn sockets(pid: u32) -> Result<usize> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).context("the process is gone")?.flatten();
    let targets = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    Ok(targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count())
}

/// CPU time of a process so far, user and system.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    // In nanoseconds, unlike the ticks of stat.
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).context("the process is gone")?;
    let nanos = text.split_whitespace().next().and_then(|word| word.parse().ok()).context("schedstat")?;
    let mut total = Duration::from_nanos(nanos);
    // schedstat speaks of the first thread only.
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let name = entry?.file_name();
        if name.to_string_lossy() != pid.to_string() {
            let path = format!("/proc/{pid}/task/{}/schedstat", name.to_string_lossy());
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let nanos = text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0);
            total += Duration::from_nanos(nanos);
        }
    }
    Ok(total)
}
