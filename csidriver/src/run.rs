//! The life of `mooring csidriver`: asks the driver, compares, writes.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use base::flag::Parsed;
use base::flag::standard::LoggingFlags;
use base::metrics::Metrics;
use csi::identity::{NameError, controller_capabilities, driver_name, plugin_capabilities};
use csi::{CallLog, Client, Connection, DialError, DialOptions, Endpoint, EndpointError, v1};
use k8s_openapi::api::storage::v1::CSIDriver;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kubernetes::api;
use kubernetes::client::{ClientError, ClientOptions, client};
use serde_json::json;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tonic::Status;

use crate::decide::{Step, Wanted, decide};
use crate::flags::{Flags, wanted};
use crate::replace::{ReplaceError, replace};

/// How often it is tried to create a deleted object anew with --once: over half a minute.
const TRIES: u32 = 6;
/// How long a signal waits for an object that is being replaced. The kubelet kills after 30 s.
const GRACE: Duration = Duration::from_secs(20);

/// Why the object is not as it should be.
#[derive(Debug, Error)]
enum CsiDriverError {
    /// `--csi-address` names nothing that can be dialled.
    #[error("--csi-address: {0}")]
    Endpoint(#[from] EndpointError),
    /// The driver does not answer.
    #[error("--csi-address: {0}")]
    Dial(#[from] DialError),
    /// The driver does not say its name.
    #[error("failed to get the CSI driver's name: {0}")]
    Name(#[from] NameError),
    /// The driver does not say what it can do.
    #[error("failed to get the CSI driver's capabilities: {0}")]
    Capabilities(#[from] Status),
    /// What was asked is no Controller plugin.
    #[error(
        "--csi-address: the program there has no Controller service, so it does not say whether volumes must be attached: run this \
         beside the driver's controller part, or give --attach-required=true or =false, which nobody can change later"
    )]
    NoController,
    /// The cluster cannot be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The API server refuses.
    #[error("CSIDriver {0}: {1}")]
    Api(String, String),
    /// It is not replaced.
    #[error("CSIDriver {0} {1}")]
    Replace(String, ReplaceError),
    /// The API server lets nobody change what differs.
    #[error(
        "CSIDriver {0}: {1} differs from what the driver needs and cannot be changed: delete the object, or give --replace"
    )]
    Fixed(String, String),
}

/// Runs the command. Returns the exit code.
pub async fn main(parsed: &Parsed) -> u8 {
    base::log::init(parsed.read::<LoggingFlags>().options());
    let stop = match signalled() {
        Ok(stop) => stop,
        Err(error) => {
            base::error!(error, "Cannot receive signals");
            return 1;
        }
    };
    let (replacing, seen) = watch::channel(false);
    tokio::select! {
        code = keep(parsed, &replacing) => code,
        code = stopped(stop, seen) => code,
    }
}

/// Keeps the object right; with --once, makes it right.
async fn keep(parsed: &Parsed, replacing: &watch::Sender<bool>) -> u8 {
    let flags: Flags = parsed.read();
    loop {
        match correct(&flags, wanted(parsed), replacing).await {
            Ok(()) if flags.once => return 0,
            Ok(()) => {}
            Err(error) if flags.once => {
                base::error!(error, "Cannot go on");
                return 1;
            }
            Err(error) => base::error!(error, "The CSIDriver object is not right, will retry"),
        }
        sleep(flags.resync).await;
    }
}

/// Waits for SIGTERM or SIGINT. The handlers are installed at once: the kernel drops unhandled signals to PID 1.
fn signalled() -> io::Result<impl Future<Output = ()>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

/// The end by a signal: at once, but not between the deletion and the creation of an object. Returns the exit code.
async fn stopped(stop: impl Future<Output = ()>, mut replacing: watch::Receiver<bool>) -> u8 {
    stop.await;
    if timeout(GRACE, replacing.wait_for(|replacing| !replacing)).await.is_ok() {
        return 0;
    }
    base::error!(
        "no time left",
        "The CSIDriver object was deleted and is not created anew: it is in the log"
    );
    1
}

/// Asks the driver, and makes its object what it should be.
async fn correct(
    flags: &Flags,
    mut wanted: Wanted,
    replacing: &watch::Sender<bool>,
) -> Result<(), CsiDriverError> {
    let connection = Connection::dial(Endpoint::parse(&flags.csi_address)?, DialOptions::default()).await?;
    let driver = Client::new(connection, Metrics::new(), CallLog::default());
    let name = driver_name(&driver, flags.timeout).await?.to_string();
    if !wanted.has("attachRequired") {
        wanted.set("attachRequired", json!(attaches(&driver, flags).await?));
    }
    let options = ClientOptions {
        kubeconfig: Some(flags.kubeconfig.as_str()).filter(|path| !path.is_empty()).map(PathBuf::from),
        user_agent: format!("mooring-csidriver/{}", env!("CARGO_PKG_VERSION")),
        ..ClientOptions::default()
    };
    // Not read as a CSIDriver: a replacement keeps the fields of later releases too.
    let kind = ApiResource::erase::<CSIDriver>(&());
    let objects: Api<DynamicObject> = Api::all_with(client(&options).await?, &kind);
    let failed = |error: kube::Error| CsiDriverError::Api(name.clone(), api::text(&error));
    let present = objects.get_opt(&name).await.map_err(failed)?;
    match (decide(present.as_ref().map(|object| json!(object)).as_ref(), &wanted), present) {
        (Step::Nothing, _) => base::info!("The CSIDriver object is right"; "driver" => name),
        (Step::Create, _) | (Step::Replace(_), None) => {
            create(&objects, &name, &wanted).await.map_err(failed)?
        }
        (Step::Patch(patch), _) => {
            objects.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.map_err(failed)?;
            base::info!("CSIDriver object corrected"; "driver" => name, "patch" => patch);
        }
        (Step::Replace(_), Some(present)) if flags.replace => {
            replacing.send_replace(true);
            let replaced = replace(&objects, &present, &wanted, flags.once.then_some(TRIES)).await;
            replacing.send_replace(false);
            replaced.map_err(|error| CsiDriverError::Replace(name, error))?;
        }
        (Step::Replace(fields), Some(_)) => return Err(CsiDriverError::Fixed(name, fields.join(", "))),
    }
    Ok(())
}

/// Whether volumes must be attached before they are used.
async fn attaches(driver: &Client, flags: &Flags) -> Result<bool, CsiDriverError> {
    let plugin = plugin_capabilities(driver, flags.timeout).await?;
    if !plugin.has(v1::plugin_capability::service::Type::ControllerService) {
        return Err(CsiDriverError::NoController);
    }
    let controller = controller_capabilities(driver, flags.timeout).await?;
    Ok(controller.has(v1::controller_service_capability::rpc::Type::PublishUnpublishVolume))
}

async fn create(objects: &Api<DynamicObject>, name: &str, wanted: &Wanted) -> Result<(), kube::Error> {
    let value = wanted.object(name);
    let object = serde_json::from_value(value.clone()).map_err(kube::Error::SerdeError)?;
    objects.create(&PostParams::default(), &object).await?;
    base::info!("CSIDriver object created"; "driver" => name, "object" => value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::ready;

    #[tokio::test(start_paused = true)]
    async fn signal_waits_for_a_replacement_but_not_for_ever() {
        let (replacing, seen) = watch::channel(false);
        assert_eq!(stopped(ready(()), seen.clone()).await, 0);
        replacing.send_replace(true);
        let ends = async {
            sleep(GRACE / 2).await;
            replacing.send_replace(false);
        };
        let ((), code) = tokio::join!(ends, stopped(ready(()), seen.clone()));
        assert_eq!(code, 0);
        replacing.send_replace(true);
        assert_eq!(stopped(ready(()), seen).await, 1);
    }
}
