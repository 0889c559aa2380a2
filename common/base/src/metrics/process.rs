//! `process_*`: what the kernel reports about this process when the page is requested. Names, types and help
//! texts are those of every Prometheus client.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Error, Gauge};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// Collects the families at each read of the page.
pub(super) struct Process {
    cpu: Counter,
    open_fds: Gauge,
    max_fds: Gauge,
    virtual_bytes: Gauge,
    resident_bytes: Gauge,
    start: Gauge,
    threads: Gauge,
}

/// The fields of `/proc/self/stat` that are read.
struct Stat {
    cpu_ticks: f64,
    threads: f64,
    start_ticks: f64,
    virtual_bytes: f64,
    resident_pages: f64,
}

impl Process {
    pub(super) fn new() -> Result<Self, Error> {
        let process = Self {
            cpu: Counter::new(
                "process_cpu_seconds_total",
                "Total user and system CPU time spent in seconds.",
            )?,
            open_fds: Gauge::new("process_open_fds", "Number of open file descriptors.")?,
            max_fds: Gauge::new("process_max_fds", "Maximum number of open file descriptors.")?,
            virtual_bytes: Gauge::new("process_virtual_memory_bytes", "Virtual memory size in bytes.")?,
            resident_bytes: Gauge::new("process_resident_memory_bytes", "Resident memory size in bytes.")?,
            start: Gauge::new(
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds.",
            )?,
            threads: Gauge::new("process_threads", "Number of OS threads in the process.")?,
        };
        if let (Some(stat), Some(boot)) = (stat(), boot_time()) {
            process.start.set(boot + stat.start_ticks / ticks());
        }
        Ok(process)
    }

    fn look(&self) {
        if let Some(stat) = stat() {
            let seconds = stat.cpu_ticks / ticks();
            self.cpu.inc_by((seconds - self.cpu.get()).max(0.0));
            self.threads.set(stat.threads);
            self.virtual_bytes.set(stat.virtual_bytes);
            self.resident_bytes.set(stat.resident_pages * page_size() as f64);
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            // Looking opens one.
            self.open_fds.set(entries.count().saturating_sub(1) as f64);
        }
        self.max_fds.set(getrlimit(Resource::Nofile).current.map_or(f64::INFINITY, |limit| limit as f64));
    }

    fn parts(&self) -> [&dyn Collector; 7] {
        let Self { cpu, open_fds, max_fds, virtual_bytes, resident_bytes, start, threads } = self;
        [cpu, open_fds, max_fds, virtual_bytes, resident_bytes, start, threads]
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.look();
        self.parts().into_iter().flat_map(Collector::collect).collect()
    }
}

fn ticks() -> f64 {
    clock_ticks_per_second() as f64
}

fn stat() -> Option<Stat> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the name in parentheses, which may hold blanks; the third begins behind it.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some(Stat {
        cpu_ticks: field(14)? + field(15)?,
        threads: field(20)?,
        start_ticks: field(22)?,
        virtual_bytes: field(23)?,
        resident_pages: field(24)?,
    })
}

/// When the machine started, in seconds since the epoch.
fn boot_time() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_of_this_process_what_is_true() {
        let process = Process::new().unwrap();
        let values = process.collect();
        assert_eq!(values.len(), 7);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - process.start.get();
        assert!((-2.0..86_400.0).contains(&age), "started {age} s ago");
        assert!(
            process.resident_bytes.get() > 1e5 && process.virtual_bytes.get() >= process.resident_bytes.get()
        );
        assert!(process.open_fds.get() >= 3.0 && process.max_fds.get() >= process.open_fds.get());
        assert!(process.threads.get() >= 1.0);
    }
}
