//! The processes: each sidecar has a lease and a leadership of its own, whoever shares its process.

use std::time::Duration;

use base::leadership::Leadership;
use base::metrics::Metrics;
use base::queue::Backoff;
use kubernetes::lease::{Candidate, Timing, run};
use kubernetes::object::{Keep, Scope};
use process::{Caches, Duty, Host};
use sim::objects::DRIVER;
use sim::{Running, World};
use tokio_util::sync::CancellationToken;

use crate::config;

const SECOND: Duration = Duration::from_secs(1);
const BACKOFF: Backoff = Backoff { base: SECOND, max: Duration::from_secs(60) };

/// Which sidecars run where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Both in one process, with one set of caches.
    OneHost,
    /// One process each.
    TwoProcesses,
    /// Two processes each: one leads, one waits.
    Standby,
}

impl Layout {
    /// Starts the processes.
    pub(crate) fn start(self, world: &World) -> Vec<Running> {
        let one = |who: &'static str, parts: &'static [Part]| {
            world.other(who).run(SECOND, move |world| process(world, who, parts))
        };
        match self {
            Layout::OneHost => vec![one("both", &[Part::Provisioner, Part::Attacher])],
            Layout::TwoProcesses => {
                vec![one("provisioner", &[Part::Provisioner]), one("attacher", &[Part::Attacher])]
            }
            Layout::Standby => vec![
                one("provisioner-0", &[Part::Provisioner]),
                one("attacher-0", &[Part::Attacher]),
                one("provisioner-1", &[Part::Provisioner]),
                one("attacher-1", &[Part::Attacher]),
            ],
        }
    }
}

/// One sidecar of a process.
#[derive(Debug, Clone, Copy)]
enum Part {
    Provisioner,
    Attacher,
}

impl Part {
    fn lease(self) -> &'static str {
        match self {
            Part::Provisioner => "driver-example",
            Part::Attacher => "external-attacher-leader-driver-example",
        }
    }

    fn keep(self) -> Keep {
        match self {
            Part::Provisioner => provisioner::KEEP,
            Part::Attacher => attacher::KEEP,
        }
    }

    #[allow(clippy::expect_used, reason = "a process has one provisioner")]
    fn duty(self, host: &Host, caches: &mut Caches, leadership: Leadership) -> Duty {
        match self {
            Part::Provisioner => {
                let seat = host.seat(leadership, "provisioner");
                provisioner::provision(seat, caches, provisioner_config()).expect("one provisioner")
            }
            Part::Attacher => attacher::attach(host.seat(leadership, "attacher"), caches, attacher_config()),
        }
    }
}

/// One life of a process. It ends when one of its leases is lost, as the real one exits.
async fn process(world: World, who: &'static str, parts: &'static [Part]) {
    let (host, delivery) = world.host(DRIVER, CancellationToken::new());
    let keep = parts.iter().map(|part| part.keep()).reduce(Keep::and).unwrap_or_default();
    let mut caches = Caches::new(Scope { driver: DRIVER.into(), keep, in_tree: None });
    let (mut duties, mut leases) = (Vec::new(), Vec::new());
    for part in parts {
        let leadership = Leadership::candidate();
        duties.push(part.duty(&host, &mut caches, leadership.clone()));
        let candidate = candidate(&world, who, part.lease());
        leases.push(Box::pin(run(candidate, leadership, CancellationToken::new(), |_| {})));
    }
    tokio::select! {
        _ = futures::future::select_all(leases) => {}
        () = host.run_duties(caches, duties) => {}
        () = async { delivery.await; std::future::pending().await } => {}
    }
}

fn candidate(world: &World, who: &str, lease: &str) -> Candidate {
    Candidate {
        client: world.api.client(&format!("{who}-lease")),
        namespace: "default".into(),
        name: lease.into(),
        identity: who.into(),
        labels: Vec::new(),
        timing: Timing { lease: 15 * SECOND, renew: 10 * SECOND, retry: 5 * SECOND },
        release: true,
        metrics: Metrics::new().leader(""),
        seed: who.bytes().map(u64::from).sum(),
        after: None,
    }
}

/// Few workers, and short pauses, so that much happens in a life.
fn provisioner_config() -> provisioner::Config {
    provisioner::Config { backoff: BACKOFF, workers: 4, ..config::provisioner_config(DRIVER) }
}

fn attacher_config() -> attacher::Config {
    let usual = config::attacher_config(DRIVER);
    attacher::Config { backoff: BACKOFF, workers: 4, resync: 60 * SECOND, ..usual }
}
