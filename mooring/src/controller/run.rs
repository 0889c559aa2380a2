//! Starts the process and gives each chosen sidecar its seat.
//!
//! `Differs:` what ends one sidecar ends all that share its process: a lost lease, another driver on the socket, and with 255 a sidecar that
//! is named but finds nothing to do. A panic in the pass over an object ends nothing; one in a watch ends the process. Where
//! csi-provisioner alone exits with 255, the shared process exits with 1. `--kubeconfig` wins over the variable KUBECONFIG; for
//! csi-provisioner alone the variable wins, as upstream.

use base::flag::Parsed;
use base::flag::standard::StandardFlags;
use csi::CallLog;
use kubernetes::object::Keep;
use process::{Program, Setup, StartError, capabilities, start};
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
    let choice = Choice::parse(&own.controllers).unwrap_or_default();
    let (chosen, left_out) = (choice.of(&said), choice.left_out(&said));
    if chosen.is_empty() {
        let why =
            "the CSI driver has no capability that a sidecar works with; name the sidecars in --controllers";
        return Err(StartError::Useless { why, code: 1 });
    }
    let sidecars = chosen.iter().map(|controller| controller.program().name.to_owned()).collect();
    started.host.metrics.board().describe(|process| process.sidecars = sidecars);
    base::info!("Running sidecars in one process"; "controllers" => names(&chosen));
    if !left_out.is_empty() {
        base::info!("Left out: the CSI driver has no capability that they work with; if they are needed, name them in --controllers"; "controllers" => names(&left_out));
    }
    let in_tree = plugins(parsed).of_driver(started.host.driver_name.as_str()).map(|plugin| plugin.name());
    let sections = chosen.iter().map(|controller| (controller.program(), parsed.section(controller.name())));
    let sections: Vec<(Program, Parsed)> = sections.collect();
    let keeps = sections.iter().map(|(program, section)| (program.keep)(section));
    let mut caches = started.caches(keeps.reduce(Keep::and).unwrap_or_default(), in_tree);
    let mut seats = Vec::new();
    for (program, section) in &sections {
        seats.push((program.take_seat)(&started, &mut caches, section, &said).await?);
    }
    Ok(started.work(said, caches, seats).await)
}

fn names(chosen: &[Controller]) -> String {
    chosen.iter().map(|controller| controller.name()).collect::<Vec<_>>().join(",")
}

fn plugins(parsed: &Parsed) -> Plugins {
    Plugins { rbd: parsed.gates().is_enabled("CSIMigrationRBD") }
}
