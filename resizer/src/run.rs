//! Starts csi-resizer: reads the flags, asks the driver, builds the duty (docs/upstream/resizer.md, "Start-up").

use std::time::Duration;

use base::flag::Parsed;
use base::flag::standard::StandardFlags;
use base::name::sanitize_driver_name;
use csi::capability::NodeCapabilities;
use csi::identity::node_capabilities;
use csi::v1::controller_service_capability::rpc::Type as Rpc;
use csi::v1::plugin_capability::service::Type as Service;
use csi::{CallLog, Client};
use futures::FutureExt as _;
use kubernetes::object::AttributesVersion;
use process::{Caches, Duty, Election, Program, Setup, StartError, Started, attributes_classes, start};
use translation::Plugins;

use crate::config::{Capabilities, Config, Expansion, Gates};
use crate::duty::{KEEP, resize};
use crate::flags::{self, ServerFlags};

/// Exit code if the driver can neither expand nor modify volumes.
const USELESS: u8 = 255;

/// csi-resizer, alone or as one of several.
pub const PROGRAM: Program = Program {
    name: "csi-resizer",
    parse: flags::parse,
    main: |parsed| main(parsed).boxed_local(),
    add_flags: flags::add_flags,
    keep: |_| KEEP,
    take_seat: |started, caches, parsed, said| take_seat(started, caches, parsed, said).boxed_local(),
};

/// Runs the sidecar until it is told to stop. Returns the exit code.
async fn main(parsed: &Parsed) -> u8 {
    match begin(parsed, &parsed.read()).await {
        Ok(code) => code,
        Err(error) => {
            base::error!(error, "csi-resizer cannot start");
            error.code()
        }
    }
}

async fn begin(parsed: &Parsed, standard: &StandardFlags) -> Result<u8, StartError> {
    let timeouts = flags::timeouts(parsed);
    let setup = Setup {
        program: "csi-resizer",
        standard,
        master: Some(parsed.read::<ServerFlags>().master),
        probe_timeout: timeouts.identity,
        name_timeout: timeouts.identity,
        fatal_code: 1,
        call_log: CallLog::default(),
    };
    let started = start(&setup).await?;
    let said = process::capabilities(&started.host.driver, timeouts.expand, 1).await?;
    let in_tree = plugins(parsed).of_driver(started.host.driver_name.as_str()).map(|plugin| plugin.name());
    let mut caches = started.caches(KEEP, in_tree);
    let seat = take_seat(&started, &mut caches, parsed, &said).await?;
    Ok(started.work(said, caches, vec![seat]).await)
}

/// Builds the resizer for a process that has started: its election and its duty. `said` is what the driver answered
/// about its capabilities. `parsed` holds csi-resizer's flags under their own names.
///
/// # Errors
/// The driver can do nothing of what a resizer asks for, or does not say what its node can.
async fn take_seat(
    started: &Started,
    caches: &mut Caches,
    parsed: &Parsed,
    said: &process::Capabilities,
) -> Result<(Election, Duty), StartError> {
    let (standard, timeouts): (StandardFlags, _) = (parsed.read(), flags::timeouts(parsed));
    let driver = started.host.driver_name.as_str();
    let can = capabilities(&started.host.driver, said, timeouts.expand).await?;
    let gates = Gates {
        annotate: parsed.gates().is_enabled(flags::ANNOTATE),
        plugins: plugins(parsed),
        classes: match can.modify && parsed.gates().is_enabled(flags::VOLUME_ATTRIBUTES_CLASS) {
            true => attributes_classes(&started.host.client).await.map(AttributesVersion::name),
            false => None,
        },
    };
    if can.modify && gates.classes.is_none() {
        base::info!(
            "Feature gate VolumeAttributesClass is off, or the cluster does not serve the kind: volumes are not modified"
        );
    }
    let config = Config::new(&parsed.read(), timeouts, gates, driver, can);
    let election = Election {
        flags: standard.leader_election,
        lock: sanitize_driver_name(&format!("external-resizer-{driver}")),
        releases: parsed.gates().is_enabled(flags::RELEASE_LEASE),
    };
    Ok((election, resize(started.seat(&format!("external-resizer {driver}")), caches, config)))
}

fn plugins(parsed: &Parsed) -> Plugins {
    Plugins { rbd: parsed.gates().is_enabled(flags::MIGRATE_RBD) }
}

/// What the driver can. The node is asked only if the controller does not expand volumes.
async fn capabilities(
    driver: &Client,
    (plugin, controller): &process::Capabilities,
    timeout: Duration,
) -> Result<Capabilities, StartError> {
    if !plugin.has(Service::ControllerService) {
        let why = "CSI driver does not support controller service (CONTROLLER_SERVICE)";
        return Err(StartError::Useless { why, code: 1 });
    }
    let node = match controller.has(Rpc::ExpandVolume) {
        true => NodeCapabilities::default(),
        false => {
            let asked = node_capabilities(driver, timeout).await;
            let failed = |status| StartError::Capabilities { cause: csi::grpc_text(&status), code: 1 };
            asked.map_err(failed)?
        }
    };
    let can = Capabilities::new(*controller, node);
    if !can.is_useful() {
        let why = "CSI driver does not support resize nor modify: it has neither EXPAND_VOLUME, of its controller or its \
            node, nor MODIFY_VOLUME, so csi-resizer has nothing to do";
        return Err(StartError::Useless { why, code: USELESS });
    }
    if can.expansion == Some(Expansion::Node) {
        base::info!(
            "The CSI driver supports node resize only, using trivial resizer to handle resize requests"
        );
    }
    Ok(can)
}
