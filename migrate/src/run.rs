//! Reads the command line's cluster, and shows the plan, carries it out, or undoes it.

use std::path::PathBuf;

use base::flag::Parsed;
use kube::Client;
use kubernetes::api;
use kubernetes::client::{ClientOptions, as_kubectl, client_and_server};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use translation::Plugins;

use crate::cluster::{Cluster, classes};
use crate::convert::{convert, undo};
use crate::decide::Scope;
use crate::error::MigrateError;
use crate::flags::Flags;
use crate::options::Options;
use crate::prepare::PlanInput;
use crate::progress::Progress;
use crate::report::Report;

/// Shows the plan, carries it out, or undoes it. Returns the exit code: 1 also if volumes are left that can be converted later.
pub async fn main(parsed: &Parsed) -> u8 {
    match begin(&parsed.read()).await {
        Ok(is_complete) => u8::from(!is_complete),
        Err(error) => {
            eprintln!("mooring migrate: {error}");
            1
        }
    }
}

async fn begin(flags: &Flags) -> Result<bool, MigrateError> {
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let connection = ClientOptions {
        kubeconfig: as_kubectl(&flags.kubeconfig),
        context: given(&flags.context),
        user_agent: format!("mooring-migrate/{}", env!("CARGO_PKG_VERSION")),
        ..ClientOptions::default()
    };
    let file = given(&flags.undo).or_else(|| given(&flags.undo_file));
    let (client, server) = client_and_server(&connection).await?;
    let options = Options {
        scope: Scope {
            plugins: Plugins { rbd: flags.rbd },
            in_use: flags.in_use,
            hand_made: flags.hand_made,
            gce_project: given(&flags.gce_project),
        },
        only: given(&flags.volume),
        file: file.unwrap_or_default().into(),
        lag: flags.policy_lag,
        server,
        kubeconfig: given(&flags.kubeconfig).map(PathBuf::from),
        context: given(&flags.context),
    };
    if flags.dry_run {
        let shown = plan(&client, &options).await?;
        println!("The cluster at {}:\n{shown}", options.server);
        return Ok(true);
    }
    let (mut progress, stop) = (Progress::auto(), CancellationToken::new());
    stop_on_signal(stop.clone());
    let outcome = match flags.undo.is_empty() {
        true => convert(&client, &options, &mut progress, &stop).await?,
        false => undo(&client, &options, &mut progress, &stop).await?,
    };
    println!("The cluster at {}:\n{outcome}", options.server);
    if let Some(error) = &outcome.broken_off {
        eprintln!("mooring migrate: {error}");
    }
    if outcome.done > 0 && !outcome.undo {
        println!("To undo it: {}", options.command("--undo", &options.file));
    }
    Ok(outcome.is_complete())
}

/// The first SIGINT or SIGTERM lets the volume in hand be finished; the second ends the process.
fn stop_on_signal(stop: CancellationToken) {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = signals else { return };
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if stop.is_cancelled() {
                std::process::exit(130);
            }
            stop.cancel();
        }
    });
}

/// What would become of each in-tree volume that the options name. Nothing is written.
///
/// # Errors
/// The cluster cannot be read, or the volume named is no in-tree volume.
pub async fn plan(client: &Client, options: &Options) -> Result<Report, MigrateError> {
    let read = |error: kube::Error| MigrateError::Read(api::text(&error));
    let input = PlanInput { scope: options.scope.clone(), classes: classes(client).await.map_err(read)? };
    let cluster = Cluster::read(client).await.map_err(read)?;
    let mut report = Report::default();
    for (name, prepared) in cluster.prepared(&input, options) {
        report.entries.push(prepared.map_err(|error| MigrateError::Shown(name.to_owned(), error))?.entry);
    }
    match options.only.as_ref().filter(|_| report.entries.is_empty()) {
        Some(name) => Err(MigrateError::NotFound(name.clone())),
        None => Ok(report),
    }
}
