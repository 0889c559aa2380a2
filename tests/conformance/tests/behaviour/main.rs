//! What csi-sanity does not look at: mounts as users see them, devices that grow, inline volumes,
//! snapshot metadata, groups, pools, limits, endpoints, the process itself.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::path::Path;
use std::time::Duration;

use conformance::request;
use csi::{Client, v1};
use tonic::{Code, Status};

const DEADLINE: Duration = Duration::from_secs(20);

/// Runs an async test body in a mount namespace of its own, with a driver started with these arguments.
macro_rules! with_driver {
    ($name:ident, $args:expr, |$folder:ident, $driver:ident| $body:block) => {
        conformance::in_own_mounts!($name, {
            #[tokio::main]
            async fn body() {
                let temporary = tempfile::tempdir().unwrap();
                let $folder = temporary.path();
                let $driver = conformance::Running::start($folder, &$args).await;
                $body
                let nothing = Vec::<std::path::PathBuf>::new();
                assert_eq!(conformance::mounts_below($folder), nothing);
                assert_eq!(conformance::loop_devices_below($folder), nothing);
            }
            body()
        });
    };
}

mod broken;
mod devices;
mod health;
mod inline;
mod limits;
mod logs;
mod mounts;
mod places;
mod process;
mod reboot;
mod snapshot_metadata;
mod space;
mod targets;

async fn volume(client: &Client, request: v1::CreateVolumeRequest) -> v1::Volume {
    client.call(request, DEADLINE).await.unwrap().volume.unwrap()
}

async fn published(
    client: &Client,
    id: &str,
    target: &Path,
    block: bool,
    readonly: bool,
) -> Result<(), Status> {
    let publish = request::publish(id, target.to_str().unwrap(), block);
    client.call(v1::NodePublishVolumeRequest { readonly, ..publish }, DEADLINE).await.map(drop)
}

async fn unpublished(client: &Client, id: &str, target: &Path) {
    client.call(request::unpublish(id, target.to_str().unwrap()), DEADLINE).await.unwrap();
    assert!(!target.exists(), "the target is gone");
}

fn code(outcome: Result<(), Status>) -> Code {
    outcome.map_or_else(|status| status.code(), |()| Code::Ok)
}
