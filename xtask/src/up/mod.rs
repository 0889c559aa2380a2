//! `cargo xtask up`: a control plane with our driver and sidecars, and a show of what they do.

mod show;
mod stage;
mod table;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use cluster::binaries::Binary;
use stage::Stage;
use tokio::signal::unix::{SignalKind, signal};

/// Runs the show; stays up after it unless `once`.
pub(crate) fn run(once: bool) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(up(once)) {
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

async fn up(once: bool) -> Result<()> {
    let started = Instant::now();
    let mut stage = None;
    // Everything is dropped on the way out, by whichever door, and with it every process.
    let shown = tokio::select! {
        shown = set_and_show(&mut stage, started) => shown,
        result = interrupted() => {
            result?;
            println!();
            bail!("interrupted");
        }
    };
    if let (Err(error), Some(stage)) = (&shown, &stage) {
        eprintln!("\n{}", stage.last_words());
        eprintln!("{error:#}");
        if once {
            bail!("the show did not go to its end");
        }
    }
    let Some(stage) = stage.filter(|_| !once) else { return shown };
    println!("{}", invitation(&stage));
    interrupted().await?;
    println!("\ntearing down");
    shown.map_err(|_| anyhow::anyhow!("the show did not go to its end"))
}

async fn set_and_show(place: &mut Option<Stage>, started: Instant) -> Result<()> {
    let stage = Stage::set().await?;
    println!("ready after {:.1} s", started.elapsed().as_secs_f32());
    let stage = place.insert(stage);
    show::play(stage).await.context("the show")
}

/// How to go on by hand.
fn invitation(stage: &Stage) -> String {
    let kubectl = stage.control_plane.binaries().path(Binary::Kubectl);
    let kubeconfig = stage.control_plane.kubeconfig();
    format!(
        "\nIt stays up until Ctrl-C. In another terminal:\n\n  alias k='{} --kubeconfig {} --namespace {}'\n  \
         k apply -f manifests/examples/claim.yaml; k get pvc,pv,events\n\nVolumes: {}\nLogs:    {}",
        kubectl.display(),
        kubeconfig.display(),
        stage.namespace,
        stage.volumes.display(),
        stage.control_plane.folder().display(),
    )
}
