//! What one run of the scenario came to, and two runs side by side.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::usage::Memory;

/// One run's figures.
#[derive(Debug)]
pub(super) struct Figures {
    /// Memory after the start in an empty cluster.
    pub(super) empty: Memory,
    /// Memory with the volumes in the cache and nothing attached.
    pub(super) filled: Memory,
    /// Memory when the last was attached.
    pub(super) attached: Memory,
    /// Memory of another process, started when all were attached.
    pub(super) restarted: Memory,
    pub(super) attach: Phase,
    /// Median, and what one in a hundred exceeds.
    pub(super) latency: [Duration; 2],
    /// The same of attaches behind a burst of detaches; not always measured.
    pub(super) behind: Option<[Duration; 2]>,
    pub(super) detach: Phase,
}

/// Many of one operation, from the first asked for to the last done.
#[derive(Debug)]
pub(super) struct Phase {
    pub(super) count: usize,
    pub(super) took: Duration,
    /// CPU of the attacher.
    pub(super) cpu: Duration,
    /// Requests of the attacher to the API server: `verb resource code`.
    pub(super) requests: BTreeMap<String, usize>,
}

impl Phase {
    fn rate(&self) -> f64 {
        self.count as f64 / self.took.as_secs_f64()
    }

    fn cpu_each(&self) -> f64 {
        milliseconds(self.cpu) / self.count as f64
    }

    /// So many requests for each operation; those that write, or those that fail.
    fn requests_each(&self, counted: impl Fn(&str, u16) -> bool) -> f64 {
        let counts = self.requests.iter().filter(|(request, _)| {
            let verb = request.split(' ').next().unwrap_or_default();
            let code = request.rsplit(' ').next().and_then(|code| code.parse().ok()).unwrap_or_default();
            counted(verb, code)
        });
        counts.map(|(_, count)| *count).sum::<usize>() as f64 / self.count as f64
    }

    /// The line of this phase, and one for each sort of request.
    pub(super) fn print(&self, what: &str) {
        let seconds = self.took.as_secs_f64();
        println!(
            "{what} {}: {seconds:.1} s ({:.0}/s); CPU {:.2} ms each",
            self.count,
            self.rate(),
            self.cpu_each()
        );
        println!("API requests of the attacher, per {what}:");
        for (request, times) in &self.requests {
            println!("  {request:<48} {:.3}", *times as f64 / self.count as f64);
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Prints two runs as one table.
pub(super) fn compare(names: [&str; 2], runs: [&Figures; 2]) {
    let line = |what: &str, of: &dyn Fn(&Figures) -> String| {
        let [left, right] = runs.map(of);
        println!("| {what} | {left} | {right} |");
    };
    let memory = |memory: &Memory| {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        format!("{:.1} ({:.1})", mib(memory.resident), mib(memory.anonymous))
    };
    let pair = |[median, high]: [Duration; 2]| {
        format!("{:.0} ms, {:.0} ms", milliseconds(median), milliseconds(high))
    };
    let writes = |verb: &str, _| !["get", "list", "watch"].contains(&verb);
    let failed = |verb: &str, code| writes(verb, code) && code >= 400;
    println!("\n| | {} | {} |\n|---|---|---|", names[0], names[1]);
    line("memory, MiB (anonymous): empty cluster", &|run| memory(&run.empty));
    line("nothing attached", &|run| memory(&run.filled));
    line("all attached", &|run| memory(&run.attached));
    line("all attached, after a restart", &|run| memory(&run.restarted));
    line("attaches a second", &|run| format!("{:.0}", run.attach.rate()));
    line("latency p50, p99", &|run| pair(run.latency));
    if runs.iter().any(|run| run.behind.is_some()) {
        line("behind a burst of detaches", &|run| run.behind.map_or_else(String::new, pair));
    }
    line("CPU of an attach, of a detach", &|run| {
        format!("{:.2} ms, {:.2} ms", run.attach.cpu_each(), run.detach.cpu_each())
    });
    line("detaches a second", &|run| format!("{:.0}", run.detach.rate()));
    line("API writes per attach, per detach", &|run| {
        format!("{:.2}, {:.2}", run.attach.requests_each(writes), run.detach.requests_each(writes))
    });
    line("of these failed", &|run| {
        format!("{:.2}, {:.2}", run.attach.requests_each(failed), run.detach.requests_each(failed))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_what_they_are_and_how_they_end() {
        let requests = [
            ("get secrets 200", 7),
            ("patch volumeattachments 200", 30),
            ("patch volumeattachments/status 404", 10),
        ];
        let requests = requests.map(|(request, count)| (request.to_owned(), count)).into();
        let phase =
            Phase { count: 10, took: Duration::from_secs(2), cpu: Duration::from_millis(5), requests };
        assert_eq!(phase.requests_each(|verb, _| verb == "patch"), 4.0);
        assert_eq!(phase.requests_each(|_, code| code >= 400), 1.0);
        assert_eq!((phase.rate(), phase.cpu_each()), (5.0, 0.5));
    }
}
