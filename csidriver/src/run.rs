//! The life of `mooring csidriver`: asks the driver, compares, writes.

use std::path::PathBuf;

use base::flag::Parsed;
use base::flag::standard::LoggingFlags;
use base::metrics::Metrics;
use csi::identity::{NameError, controller_capabilities, driver_name, plugin_capabilities};
use csi::{CallLog, Client, Connection, DialError, DialOptions, Endpoint, EndpointError, v1};
use k8s_openapi::api::storage::v1::CSIDriver;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kubernetes::api;
use kubernetes::client::{ClientError, ClientOptions, client};
use serde_json::json;
use thiserror::Error;
use tokio::time::sleep;
use tonic::Status;

use crate::decide::{Step, Wanted, decide};
use crate::flags::{Flags, wanted};

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
    /// The cluster cannot be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The API server refuses.
    #[error("CSIDriver {0}: {1}")]
    Api(String, String),
    /// The API server lets nobody change what differs.
    #[error(
        "CSIDriver {0}: {1} differs from what the driver needs and cannot be changed: delete the object, or give --replace"
    )]
    Fixed(String, String),
}

/// Runs the command. Returns the exit code.
pub async fn main(parsed: &Parsed) -> u8 {
    base::log::init(parsed.read::<LoggingFlags>().options());
    let flags: Flags = parsed.read();
    loop {
        match correct(&flags, wanted(parsed)).await {
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

/// Asks the driver, and makes its object what it should be.
async fn correct(flags: &Flags, mut wanted: Wanted) -> Result<(), CsiDriverError> {
    let connection = Connection::dial(Endpoint::parse(&flags.csi_address)?, DialOptions::default()).await?;
    let driver = Client::new(connection, Metrics::new(), CallLog::default());
    let name = driver_name(&driver, flags.timeout).await?.to_string();
    wanted.set("attachRequired", json!(attaches(&driver, flags).await?));
    let options = ClientOptions {
        kubeconfig: Some(flags.kubeconfig.as_str()).filter(|path| !path.is_empty()).map(PathBuf::from),
        user_agent: format!("mooring-csidriver/{}", env!("CARGO_PKG_VERSION")),
        ..ClientOptions::default()
    };
    let objects: Api<CSIDriver> = Api::all(client(&options).await?);
    let failed = |error: kube::Error| CsiDriverError::Api(name.clone(), api::text(&error));
    let present = objects.get_opt(&name).await.map_err(failed)?;
    match decide(present.as_ref().map(|object| &object.spec), &wanted) {
        Step::Nothing => base::info!("The CSIDriver object is right"; "driver" => name),
        Step::Create => create(&objects, &name, &wanted).await?,
        Step::Patch(patch) => {
            objects.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.map_err(failed)?;
            base::info!("CSIDriver object corrected"; "driver" => name, "patch" => patch);
        }
        Step::Replace(fields) if flags.replace => {
            let uid = present.and_then(|object| object.metadata.uid);
            let only_this = Preconditions { uid, resource_version: None };
            let parameters = DeleteParams { preconditions: Some(only_this), ..DeleteParams::default() };
            objects.delete(&name, &parameters).await.map_err(failed)?;
            base::info!("CSIDriver object deleted, to be created anew"; "driver" => name, "fields" => fields.join(", "));
            create(&objects, &name, &wanted).await?;
        }
        Step::Replace(fields) => return Err(CsiDriverError::Fixed(name, fields.join(", "))),
    }
    Ok(())
}

/// Whether volumes must be attached before they are used.
async fn attaches(driver: &Client, flags: &Flags) -> Result<bool, Status> {
    let plugin = plugin_capabilities(driver, flags.timeout).await?;
    if !plugin.has(v1::plugin_capability::service::Type::ControllerService) {
        return Ok(false);
    }
    let controller = controller_capabilities(driver, flags.timeout).await?;
    Ok(controller.has(v1::controller_service_capability::rpc::Type::PublishUnpublishVolume))
}

async fn create(objects: &Api<CSIDriver>, name: &str, wanted: &Wanted) -> Result<(), CsiDriverError> {
    let failed = |reason: String| CsiDriverError::Api(name.to_owned(), reason);
    let object = json!({ "metadata": { "name": name }, "spec": wanted.spec() });
    let object = serde_json::from_value(object).map_err(|error| failed(error.to_string()))?;
    objects.create(&PostParams::default(), &object).await.map_err(|error| failed(api::text(&error)))?;
    base::info!("CSIDriver object created"; "driver" => name, "spec" => wanted.spec());
    Ok(())
}
