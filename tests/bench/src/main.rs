//! Benchmarks on a real control plane: what BENCHMARKS.md says comes from here.
//!
//! ```text
//! cargo run --release -p bench -- size
//! cargo run --release -p bench -- memory --pairs 10000 --sidecar controller
//! cargo run --release -p bench -- provision --claims 1000 --against-no-intents --against-go
//! cargo run --release -p bench -- capacity --nodes 1000 --classes 3
//! cargo run --release -p bench -- node
//! cargo run --release -p bench -- attach --attachments 1000 --nodes 10 --burst 0 --against-go
//! cargo run --release -p bench -- lives --volumes 1000 --runs 5 --against-go --write .
//! cargo run --release -p bench -- waves --against-go
//! cargo run --release -p bench -- replicas --against-go
//! cargo run --release -p bench -- resize --claims 1000 --pods 10000 --against-go
//! ```
//!
//! The sidecar measured is the executable that `--mooring` names (by default the `dist` build), talking TLS
//! to the API server with a service account's rights.

mod attach;
mod audit;
mod capacity;
mod latency;
mod lives;
mod memory;
mod node;
mod provision;
mod resize;
mod scrape;
mod stand;
mod usage;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Measures the sidecars.
#[derive(Parser)]
struct Arguments {
    /// The mooring executable; unset, `cargo xtask dist` makes the one that ships.
    #[arg(long)]
    mooring: Option<PathBuf>,
    /// The driver's executable; unset, `cargo xtask dist` makes the one that ships.
    #[arg(long)]
    driver: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Size of the executable.
    Size,
    /// Resident memory: idle, with pairs of another driver, with as many of our own beside them.
    Memory {
        /// Bound volume and claim pairs of each sort. Our own are attached, where there is an attacher.
        #[arg(long, default_value_t = 10_000)]
        pairs: usize,
        /// Pairs of another driver, if not as many as our own.
        #[arg(long)]
        foreign: Option<usize>,
        /// The sidecar: csi-provisioner, csi-attacher, csi-resizer, or controller, which is all of them.
        #[arg(long, default_value = "csi-provisioner")]
        sidecar: String,
    },
    /// Claims made, bound and deleted: time, latency, CPU, API requests, bytes into etcd.
    Provision {
        /// How many claims at once.
        #[arg(long, default_value_t = 1000)]
        claims: usize,
        /// On how many of them the provisioner works at once.
        #[arg(long, default_value_t = 100)]
        workers: usize,
        /// All claims are there when the provisioner starts.
        #[arg(long)]
        waiting: bool,
        /// The same with --volume-intents=false.
        #[arg(long)]
        against_no_intents: bool,
        /// The same with the Go provisioner.
        #[arg(long)]
        against_go: bool,
    },
    /// CSIStorageCapacity objects: time until they are there, and API requests while nothing changes.
    Capacity {
        /// Nodes, each a topology segment.
        #[arg(long, default_value_t = 1000)]
        nodes: usize,
        /// Classes with late binding.
        #[arg(long, default_value_t = 3)]
        classes: usize,
        /// How many polls long nothing changes.
        #[arg(long, default_value_t = 3)]
        polls: u32,
        /// Seconds between two polls.
        #[arg(long, default_value_t = 20)]
        interval: u64,
    },
    /// Attachments made and withdrawn: time, latency, CPU, API requests.
    Attach {
        /// How many at once.
        #[arg(long, default_value_t = 1000)]
        attachments: usize,
        /// To how many nodes.
        #[arg(long, default_value_t = 10)]
        nodes: usize,
        /// Detaches at once, behind which some more attaches are made; 0 for none.
        #[arg(long, default_value_t = 0)]
        burst: usize,
        /// The same with the Go attacher, and both side by side.
        #[arg(long)]
        against_go: bool,
    },
    /// Claims that grow at once: time, latency, CPU, API requests, memory.
    Resize {
        /// How many at once.
        #[arg(long, default_value_t = 1000)]
        claims: usize,
        /// Pods in the cluster that use none of them.
        #[arg(long, default_value_t = 0)]
        pods: usize,
        /// The same with the Go resizer, and both side by side.
        #[arg(long)]
        against_go: bool,
    },
    /// The whole life of many volumes, by ours in one process, ours in three, and other sets: everything that is used and asked
    /// for, as a table, as JSON, and as plots.
    Lives {
        /// How many volumes, all at once in each phase.
        #[arg(long, default_value_t = 1000)]
        volumes: usize,
        /// On how many nodes.
        #[arg(long, default_value_t = 10)]
        nodes: usize,
        /// How often each set runs.
        #[arg(long, default_value_t = 1)]
        runs: usize,
        /// The same with the three Go sidecars.
        #[arg(long)]
        against_go: bool,
        /// The same with other executables: NAME=csi-provisioner:PATH,csi-attacher:PATH,csi-resizer:PATH, or NAME=controller:PATH.
        /// One called `mooring` is told which sidecar it is.
        #[arg(long = "set")]
        sets: Vec<lives::Set>,
        /// Only the sets that are named, without ours.
        #[arg(long, requires = "sets")]
        only_sets: bool,
        /// No set has a flag for its rate or its workers: each works as it does when nobody tunes it.
        #[arg(long)]
        default_flags: bool,
        /// A file for all figures, as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
        /// The repository: its BENCHMARKS.md gets the table, its docs the plots.
        #[arg(long)]
        write: Option<PathBuf>,
    },
    /// Waves of volumes, each of which lives as fast as it can, beside a driver that takes its time.
    Waves {
        /// Volumes of each wave.
        #[arg(long, default_value_t = 100)]
        volumes: usize,
        /// How many waves.
        #[arg(long, default_value_t = 5)]
        waves: usize,
        /// Seconds from one wave to the next.
        #[arg(long, default_value_t = 3)]
        every: u64,
        /// How long the driver holds back each answer, in milliseconds; a run for each.
        #[arg(long, value_delimiter = ',', default_value = "0,100,1000,10000")]
        delays: Vec<u64>,
        /// The same with the three Go sidecars.
        #[arg(long)]
        against_go: bool,
    },
    /// A StatefulSet whose pods all start at once: from its creation until all is attached, and until all is gone again.
    Replicas {
        /// How many pods, each with a claim.
        #[arg(long, default_value_t = 1000)]
        replicas: usize,
        /// The same with the three Go sidecars.
        #[arg(long)]
        against_go: bool,
    },
    /// Registrar and liveness probe: memory, time to be registered, CPU while nothing happens.
    Node {
        /// How long nothing happens.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// The Go csi-node-driver-registrar, to be measured in the same run.
        #[arg(long, requires = "go_livenessprobe")]
        go_registrar: Option<PathBuf>,
        /// The Go livenessprobe, likewise.
        #[arg(long, requires = "go_registrar")]
        go_livenessprobe: Option<PathBuf>,
    },
}

/// Ours in one process, and perhaps the Go three.
fn against(binaries: &stand::Programs, go: bool) -> anyhow::Result<Vec<lives::Set>> {
    let mut sets = vec![lives::Set::combined(binaries)];
    if go {
        sets.push(lives::Set::go()?);
    }
    Ok(sets)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let binaries = stand::Programs::find(arguments.mooring, arguments.driver)?;
    match arguments.what {
        What::Size => {
            let size = std::fs::metadata(&binaries.mooring)?.len();
            println!("{}: {size} bytes ({:.2} MB)", binaries.mooring.display(), size as f64 / 1e6);
            Ok(())
        }
        What::Memory { pairs, foreign, sidecar } => {
            memory::measure(&binaries, &sidecar, foreign.unwrap_or(pairs), pairs).await
        }
        What::Provision { claims, workers, waiting, against_no_intents, against_go } => {
            let size = provision::Size { claims, workers, waiting };
            provision::measure(&binaries, size, against_no_intents, against_go).await
        }
        What::Capacity { nodes, classes, polls, interval } => {
            capacity::measure(&binaries, capacity::Size { nodes, classes, polls, interval }).await
        }
        What::Lives { volumes, nodes, runs, against_go, mut sets, only_sets, default_flags, json, write } => {
            if !only_sets {
                let ours = [lives::Set::combined(&binaries), lives::Set::separate(&binaries)];
                sets.splice(0..0, ours);
            }
            if against_go {
                sets.push(lives::Set::go()?);
            }
            if default_flags {
                sets = sets.into_iter().map(lives::Set::with_default_flags).collect();
            }
            let size = lives::Size { volumes, nodes: nodes.max(1), runs: runs.max(1) };
            lives::measure(&binaries, &sets, size, &lives::Output { json, repository: write }).await
        }
        What::Replicas { replicas, against_go } => {
            lives::measure_replicas(&binaries, &against(&binaries, against_go)?, replicas).await
        }
        What::Waves { volumes, waves, every, delays, against_go } => {
            let sets = against(&binaries, against_go)?;
            let waves = lives::Waves {
                volumes,
                waves,
                every: Duration::from_secs(every),
                delays: delays.into_iter().map(Duration::from_millis).collect(),
                nodes: 10,
            };
            lives::measure_waves(&binaries, &sets, &waves).await
        }
        What::Node { seconds, go_registrar, go_livenessprobe } => {
            let go = go_registrar.zip(go_livenessprobe);
            let go = go.map(|(registrar, livenessprobe)| node::Go { registrar, livenessprobe });
            node::measure(&binaries, go, seconds.max(1)).await
        }
        What::Attach { attachments, nodes, burst, against_go } => {
            let size = attach::Size { attachments, nodes: nodes.max(1), burst };
            attach::measure(&binaries, size, against_go).await
        }
        What::Resize { claims, pods, against_go } => {
            resize::measure(&binaries, resize::Size { claims, pods }, against_go).await
        }
    }
}
