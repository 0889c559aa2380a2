//! Starts the process and gives each chosen sidecar its seat.

use base::flag::Parsed;
use base::flag::standard::StandardFlags;
use csi::CallLog;
use kubernetes::object::Keep;
use process::{Caches, Duty, Election, Setup, StartError, Started, capabilities, start};
use translation::Plugins;

use super::flags::Flags;
use super::select::{Choice, Controller};

/// Runs the sidecars until the process is told to stop. Returns the exit code.
pub(crate) async fn main(parsed: &Parsed) -> u8 {
    let (own, mut standard): (Flags, StandardFlags) = (parsed.read(), parsed.read());
    if standard.kubeconfig.is_empty() {
        standard.kubeconfig = std::env::var("KUBECONFIG").unwrap_or_default();
    }
    match begin(parsed, &own, &standard).await {
        Ok(code) => code,
        Err(error) => {
            base::error!(error, "The sidecars cannot start");
            error.code()
        }
    }
}

async fn begin(parsed: &Parsed, own: &Flags, standard: &StandardFlags) -> Result<u8, StartError> {
    let setup = Setup {
        program: "csi-sidecars",
        standard,
        master: Some(own.master.clone()),
        probe_timeout: own.timeout,
        name_timeout: own.timeout,
        fatal_code: 1,
        call_log: CallLog {
            max_length: usize::try_from(own.max_grpc_log_length).ok().filter(|length| *length > 0),
        },
    };
    let started = start(&setup).await?;
    let said = capabilities(&started.host.driver, own.timeout, 1).await?;
    // The list was checked with the other flags.
    let chosen = Choice::parse(&own.controllers).map(|choice| choice.of(&said)).unwrap_or_default();
    if chosen.is_empty() {
        let cause = "it has none that a sidecar works with; name the sidecars in --controllers".to_owned();
        return Err(StartError::Capabilities { cause, code: 1 });
    }
    base::info!("Running sidecars in one process"; "controllers" => names(&chosen));
    let in_tree = plugins(parsed).of_driver(started.host.driver_name.as_str()).map(|plugin| plugin.name());
    let mut caches = started.caches(keep(&chosen), in_tree);
    let mut seats = Vec::new();
    for controller in chosen {
        seats.push(take_seat(controller, &started, &mut caches, parsed, &said).await?);
    }
    Ok(started.work(said, caches, seats).await)
}

async fn take_seat(
    controller: Controller,
    started: &Started,
    caches: &mut Caches,
    parsed: &Parsed,
    said: &process::Capabilities,
) -> Result<(Election, Duty), StartError> {
    let parsed = parsed.section(controller.name());
    Ok(match controller {
        Controller::Provisioner => provisioner::take_seat(started, caches, &parsed, said).await,
        Controller::Attacher => attacher::take_seat(started, caches, &parsed, said),
        Controller::Resizer => resizer::take_seat(started, caches, &parsed, said).await?,
    })
}

/// What the caches must keep for these sidecars.
fn keep(chosen: &[Controller]) -> Keep {
    let keeps = chosen.iter().map(|controller| match controller {
        Controller::Provisioner => provisioner::KEEP,
        Controller::Attacher => attacher::KEEP,
        Controller::Resizer => resizer::KEEP,
    });
    keeps.reduce(Keep::and).unwrap_or_default()
}

fn names(chosen: &[Controller]) -> String {
    chosen.iter().map(|controller| controller.name()).collect::<Vec<_>>().join(",")
}

fn plugins(parsed: &Parsed) -> Plugins {
    Plugins { rbd: parsed.gates().is_enabled("CSIMigrationRBD") }
}
