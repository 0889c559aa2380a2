//! Starts csi-attacher: reads the flags, asks the driver, takes a seat.

use std::time::Duration;

use base::flag::Parsed;
use base::flag::standard::StandardFlags;
use csi::CallLog;
use futures::FutureExt as _;
use process::{Caches, Duty, Election, Program, Setup, StartError, Started, capabilities, start};
use translation::Plugins;

use crate::config::{Capabilities, Config, Gates};
use crate::duty::{KEEP, attach};
use crate::flags::{self, Flags, LogFlags};

/// Longest time for GetPluginInfo, and for the two capability calls together, whatever `--timeout` says.
const IDENTITY_TIMEOUT: Duration = Duration::from_secs(1);

/// csi-attacher, alone or as one of several.
pub const PROGRAM: Program = Program {
    name: "csi-attacher",
    parse: flags::parse,
    main: |parsed| main(parsed).boxed_local(),
    add_flags: flags::add_flags,
    keep: |_| KEEP,
    take_seat: |started, caches, parsed, said| {
        std::future::ready(Ok(take_seat(started, caches, parsed, said))).boxed_local()
    },
};

/// Runs the sidecar until it is told to stop. Returns the exit code.
async fn main(parsed: &Parsed) -> u8 {
    let (own, standard): (Flags, StandardFlags) = (parsed.read(), parsed.read());
    match begin(parsed, &own, &standard).await {
        Ok(code) => code,
        Err(error) => {
            base::error!(error, "csi-attacher cannot start");
            error.code()
        }
    }
}

async fn begin(parsed: &Parsed, own: &Flags, standard: &StandardFlags) -> Result<u8, StartError> {
    let setup = Setup {
        program: "csi-attacher",
        standard,
        master: None,
        probe_timeout: own.timeout,
        name_timeout: IDENTITY_TIMEOUT,
        fatal_code: 1,
        call_log: CallLog {
            max_length: usize::try_from(parsed.read::<LogFlags>().max_grpc_log_length)
                .ok()
                .filter(|length| *length > 0),
        },
    };
    let started = start(&setup).await?;
    let said = capabilities(&started.host.driver, IDENTITY_TIMEOUT, 1).await?;
    let in_tree = plugins(parsed).of_driver(started.host.driver_name.as_str()).map(|plugin| plugin.name());
    let mut caches = started.caches(KEEP, in_tree);
    let seat = take_seat(&started, &mut caches, parsed, &said);
    Ok(started.work(said, caches, vec![seat]).await)
}

/// The attacher of a process that has started: how its leader is elected, and its duty. `said` is what the driver answered
/// about its capabilities. `parsed` holds csi-attacher's flags under their own names.
fn take_seat(
    started: &Started,
    caches: &mut Caches,
    parsed: &Parsed,
    said: &process::Capabilities,
) -> (Election, Duty) {
    let standard: StandardFlags = parsed.read();
    let driver = &started.host.driver_name;
    let gates = Gates { error_code: parsed.gates().is_enabled(flags::ERROR_CODE), plugins: plugins(parsed) };
    let can = Capabilities::new(&said.0, said.1);
    let config = Config::new(&parsed.read(), gates, driver.as_str(), can);
    let election = Election {
        flags: standard.leader_election,
        lock: format!("external-attacher-leader-{driver}"),
        releases: parsed.gates().is_enabled(flags::RELEASE_LEASE),
    };
    (election, attach(started.seat(&format!("external-attacher {driver}")), caches, config))
}

fn plugins(parsed: &Parsed) -> Plugins {
    Plugins { rbd: parsed.gates().is_enabled(flags::MIGRATE_RBD) }
}
