//! `cargo xtask up`: a control plane with our driver and sidecars, and a show of what they do.
//!
//! Where the machine can have a real node (root, the packages of [`cluster::node::PACKAGES`]), pods that really run are shown last.
//! While Kubernetes is still being built, the same show is played on the in-memory API server of `tests/sim`.

mod ground;
mod images;
mod real;
mod show;
mod stage;
mod table;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use cluster::binaries::{self, Binaries, Binary, Fit, Progress};
use cluster::ceph::{self, Ceph};
use cluster::{ControlPlane, Options, node};
use ground::{Ground, Simulation};
use real::RealStage;
use stage::{Programs, Stage};
use tokio::signal::unix::{SignalKind, signal};

/// Runs the show; stays up after it unless `once`.
pub(crate) fn run(once: bool) -> ExitCode {
    run_show(once, Volumes::Folders)
}

/// The same with volumes that are images of a Ceph.
pub(crate) fn run_on_ceph(once: bool) -> ExitCode {
    run_show(once, Volumes::Images)
}

/// What volumes are.
#[derive(Debug, Clone, Copy)]
enum Volumes {
    Folders,
    Images,
}

fn run_show(once: bool, volumes: Volumes) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(up(once, volumes));
    // A build that nobody waits for any more must not be waited for.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\n{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Resolves when somebody wants us to end.
async fn interrupted() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// What is up.
enum Place {
    /// Nothing.
    Empty,
    /// The show's processes.
    Stage(Box<Stage>),
    /// A real node.
    Real(Box<RealStage>),
}

async fn up(once: bool, volumes: Volumes) -> Result<()> {
    let started = Instant::now();
    let mut place = Place::Empty;
    // Everything is dropped on the way out, by whichever door, and with it every process.
    let show = async {
        match volumes {
            Volumes::Folders => set_and_show(&mut place, started).await,
            Volumes::Images => show_images(&mut place, started).await,
        }
    };
    let shown = tokio::select! {
        shown = show => shown,
        result = interrupted() => {
            result?;
            println!();
            bail!("interrupted");
        }
    };
    if let (Err(error), Place::Stage(stage)) = (&shown, &place) {
        eprintln!("\n{}", stage.last_words());
        eprintln!("{error:#}");
        if once {
            bail!("the show did not go to its end");
        }
    }
    match &place {
        Place::Stage(stage) if !once => tokio::select! {
            invitation = invitation(stage) => println!("{}", invitation?),
            result = interrupted() => return result,
        },
        Place::Real(stage) if !once && shown.is_ok() => println!("{}", stage.invitation()),
        Place::Empty | Place::Stage(_) | Place::Real(_) => return shown,
    }
    interrupted().await?;
    println!("\ntearing down");
    shown.map_err(|_| anyhow::anyhow!("the show did not go to its end"))
}

/// Whether the background's progress may be shown: a show that is on has the terminal for itself.
static BUILD_IS_SHOWN: AtomicBool = AtomicBool::new(false);

async fn set_and_show(place: &mut Place, started: Instant) -> Result<()> {
    let options = Options::default();
    let mut wanted = options.components();
    let lack = node::lack();
    if lack.is_none() {
        wanted.extend([Binary::Scheduler, Binary::Kubectl, Binary::Kubelet]);
    }
    let present = binaries::present(&wanted, Fit::Minor, &Progress::auto())?;
    present.origins().iter().for_each(|origin| println!("{origin}"));
    let missing: Vec<&str> =
        wanted.iter().filter(|binary| !present.has(**binary)).map(|binary| binary.name()).collect();
    // Ours first: with both builds at once, a machine of two cores shows nothing within the first minute.
    let programs = built().await?;
    let (programs, found) = if missing.is_empty() {
        (programs, present)
    } else {
        println!("building {} in the background, which takes minutes", missing.join(", "));
        let background = Progress::Once(&BUILD_IS_SHOWN);
        let building = tokio::task::spawn_blocking(move || binaries::complete(present, &wanted, &background));
        show_simulation(place, &programs, started).await?;
        BUILD_IS_SHOWN.store(true, Ordering::Relaxed);
        (programs, building.await??)
    };
    println!("\n== Kubernetes");
    let control_plane = ControlPlane::start(Options { binaries: found.clone(), ..options }).await?;
    let ground = Ground::Kubernetes(Box::new(control_plane));
    play(place, ground, &programs, None, started).await.context("the show")?;
    if let Some(lack) = lack {
        println!("not shown: a pod that runs on a real node: {lack}");
        return Ok(());
    }
    *place = Place::Empty;
    let stage = Box::new(RealStage::set(found).await?);
    let played = stage.play().await.context("the show on a real node");
    *place = Place::Real(stage);
    played
}

/// A claim's life on an image, where there can be a Ceph.
async fn show_images(place: &mut Place, started: Instant) -> Result<()> {
    if let Some(lack) = ceph::lack() {
        println!("not shown: a claim whose volume is an image of a Ceph: {lack}");
        return Ok(());
    }
    let options = Options::default();
    let wanted = options.components();
    let found = tokio::task::spawn_blocking(move || binaries::ensure(&wanted, &Progress::auto())).await??;
    let programs = built().await?;
    println!("\n== Ceph: a monitor and an OSD");
    let begun = Instant::now();
    let ceph = Ceph::start().await?;
    println!("it serves images after {:.1} s", begun.elapsed().as_secs_f32());
    println!("\n== Kubernetes");
    let control_plane = ControlPlane::start(Options { binaries: found, ..options }).await?;
    let ground = Ground::Kubernetes(Box::new(control_plane));
    play(place, ground, &programs, Some(ceph), started).await.context("the show on Ceph")
}

/// Sets the stage on `ground` and plays the show.
async fn play(
    place: &mut Place,
    ground: Ground,
    programs: &Programs,
    ceph: Option<Ceph>,
    started: Instant,
) -> Result<()> {
    let mut stage = Box::new(Stage::set(ground, programs, ceph).await?);
    println!("ready after {:.1} s", started.elapsed().as_secs_f32());
    let played = show::play(&mut stage).await;
    *place = Place::Stage(stage);
    played
}

async fn built() -> Result<Programs> {
    println!("building mooring and its driver");
    tokio::task::spawn_blocking(Programs::build).await?
}

/// Plays the show on the simulation, which is gone afterwards.
async fn show_simulation(place: &mut Place, programs: &Programs, started: Instant) -> Result<()> {
    println!(
        "\n== SIMULATION: not Kubernetes, but an API server in memory, until the real one is built.\n   \
         The sidecars, the driver and its volumes are the real ones."
    );
    let ground = Ground::Simulation(Box::new(Simulation::start(&programs.simulation).await?));
    play(place, ground, programs, None, started).await.context("the show on the simulation")?;
    println!("== end of the simulation");
    *place = Place::Empty;
    Ok(())
}

/// How to go on by hand. kubectl is only wanted now.
async fn invitation(stage: &Stage) -> Result<String> {
    let kubectl = tokio::task::spawn_blocking(|| -> Result<Binaries> {
        let progress = Progress::auto();
        let present = binaries::present(&[Binary::Kubectl], Fit::Minor, &progress)?;
        Ok(binaries::complete(present, &[Binary::Kubectl], &progress)?)
    });
    let kubectl = kubectl.await??;
    Ok(format!(
        "\nIt stays up until Ctrl-C. In another terminal:\n\n  alias k='{} --kubeconfig {} --namespace {}'\n  \
         k apply -f manifests/examples/claim.yaml; k get pvc,pv,events\n\n{}\nVolumes: {}\nLogs:    {}",
        kubectl.path(Binary::Kubectl).display(),
        stage.ground.kubeconfig().display(),
        stage.namespace,
        kubectl.origins().join("\n"),
        stage.volumes.display(),
        stage.ground.folder().display(),
    ))
}
