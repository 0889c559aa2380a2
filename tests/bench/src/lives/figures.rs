//! What one run came to.

use std::collections::BTreeMap;

use serde::Serialize;

/// How many volumes, on how many nodes, and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) volumes: usize,
    pub(crate) nodes: usize,
    pub(crate) runs: usize,
}

/// What is done with all volumes, one after the other.
pub(super) const PHASES: [Phase; 5] =
    [Phase::Provision, Phase::Attach, Phase::Expand, Phase::Detach, Phase::Delete];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phase {
    Provision,
    Attach,
    Expand,
    Detach,
    Delete,
}

impl Phase {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Provision => "provision",
            Self::Attach => "attach",
            Self::Expand => "expand",
            Self::Detach => "detach",
            Self::Delete => "delete",
        }
    }

    /// The call that the driver gets for each volume.
    pub(super) fn call(self) -> &'static str {
        match self {
            Self::Provision => "CreateVolume",
            Self::Attach => "ControllerPublishVolume",
            Self::Expand => "ControllerExpandVolume",
            Self::Detach => "ControllerUnpublishVolume",
            Self::Delete => "DeleteVolume",
        }
    }
}

/// What the processes of a set use together.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Usage {
    /// Bytes resident; a page that two processes share counts twice.
    pub(super) resident: u64,
    /// Bytes resident and not backed by a file.
    pub(super) anonymous: u64,
    /// The sum of the most that was ever resident of each, in bytes.
    pub(super) peak: u64,
    pub(super) threads: usize,
    pub(super) sockets: usize,
    /// CPU so far, in seconds.
    pub(super) cpu: f64,
}

/// One phase.
#[derive(Debug, Clone, Serialize)]
pub(super) struct PhaseFigures {
    pub(super) phase: Phase,
    /// Seconds from the first asked for to the last done.
    pub(super) took: f64,
    /// Seconds: median, and what one in a hundred exceeds.
    pub(super) latency: [f64; 2],
    /// CPU of the set, in seconds.
    pub(super) cpu: f64,
    /// Requests to the API server: `verb resource code`.
    pub(super) requests: BTreeMap<String, usize>,
}

/// The resources that are watched in `requests`, which count `verb resource code`.
pub(super) fn watched(requests: &BTreeMap<String, usize>) -> Vec<String> {
    let watched = requests.keys().filter_map(|request| request.strip_prefix("watch "));
    let mut resources: Vec<String> =
        watched.filter_map(|rest| Some(rest.split(' ').next()?.to_owned())).collect();
    resources.dedup();
    resources
}

/// One moment.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Sample {
    /// Seconds since the sidecars were ready.
    pub(super) at: f64,
    pub(super) usage: Usage,
}

/// One life of all volumes.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Run {
    /// Before the first claim.
    pub(super) idle: Usage,
    /// A second replica of each process, which leads nothing.
    pub(super) standby: Usage,
    /// The resources that this second replica watches.
    pub(super) watched_by_standby: Vec<String>,
    /// After the last volume.
    pub(super) end: Usage,
    pub(super) phases: Vec<PhaseFigures>,
    /// Calls that the sidecars made, by method and code.
    pub(super) calls: BTreeMap<String, usize>,
    pub(super) samples: Vec<Sample>,
}

impl Run {
    /// How many requests to the API server satisfy this, of all phases. It is given verb, resource and code.
    pub(super) fn requests(&self, counted: impl Fn(&str, &str, &str) -> bool) -> usize {
        let requests = self.phases.iter().flat_map(|phase| &phase.requests);
        let is_counted = |request: &str| {
            let mut words = request.split(' ');
            let mut next = || words.next().unwrap_or_default();
            counted(next(), next(), next())
        };
        requests.filter(|(request, _)| is_counted(request)).map(|(_, times)| times).sum()
    }

    /// Writes of objects; events are told apart.
    pub(super) fn writes(&self) -> usize {
        self.requests(|verb, what, _| is_write(verb) && what != "events")
    }

    /// Writes that were refused, conflicts included; of all of them.
    pub(super) fn failed_writes(&self) -> usize {
        self.requests(|verb, what, code| is_write(verb) && what != "events" && !code.starts_with('2'))
    }

    pub(super) fn events(&self) -> usize {
        self.requests(|verb, what, _| is_write(verb) && what == "events")
    }

    /// CPU of all phases, in seconds.
    pub(super) fn cpu(&self) -> f64 {
        self.phases.iter().map(|phase| phase.cpu).sum()
    }

    /// How often a method was called, whatever the answer.
    pub(super) fn called(&self, method: &str) -> usize {
        called(&self.calls, method)
    }

    /// Prints it.
    pub(super) fn tell(&self, volumes: usize) {
        for phase in &self.phases {
            let [median, high] = phase.latency;
            println!(
                "  {:<9} {:7.2} s, p50 {median:.2} s, p99 {high:.2} s, CPU {:.2} s",
                phase.phase.name(),
                phase.took,
                phase.cpu
            );
            for (request, times) in &phase.requests {
                println!("    {request:<48} {:.3} a volume", *times as f64 / volumes as f64);
            }
        }
        for (call, times) in &self.calls {
            println!("  {call:<56} {times}");
        }
    }
}

/// How often a method was called, whatever the answer. The calls are counted by method and code.
pub(super) fn called(calls: &BTreeMap<String, usize>, method: &str) -> usize {
    let of = calls.iter().filter(|(call, _)| call.split(' ').next() == Some(method));
    of.map(|(_, times)| times).sum()
}

fn is_write(verb: &str) -> bool {
    !["get", "list", "watch"].contains(&verb)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_is_watched_twice_counts_once() {
        let requests =
            [("watch leases 200", 1), ("watch leases 410", 2), ("list pods 200", 1), ("watch pods 200", 1)];
        let requests = requests.map(|(request, times)| (request.to_owned(), times)).into();
        assert_eq!(watched(&requests), ["leases", "pods"]);
    }
}
