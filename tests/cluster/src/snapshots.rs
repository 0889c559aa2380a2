//! The custom resources of snapshots, as external-snapshotter's Go module has them.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::apply::documents;
use crate::{ApplyError, ControlPlane, wait};

const MODULE: &str = "github.com/kubernetes-csi/external-snapshotter/client/v8";
/// The definitions, in the module's folder `config/crd`.
const FILES: [&str; 3] = ["volumesnapshotclasses", "volumesnapshotcontents", "volumesnapshots"];

/// The definitions could not be had.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionsError {
    /// A file or program could not be used.
    #[error("{what}: {source}")]
    Io {
        /// Which.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// Go does not give the module.
    #[error("go mod download {MODULE}: {0}")]
    Go(String),
    /// The API server does not take them.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// They were taken, and are not served.
    #[error("the API server does not serve snapshots: {0}")]
    NotServed(String),
}

/// The definitions of VolumeSnapshots and their contents and classes.
///
/// # Errors
/// Go cannot download the module, or it does not have them.
pub fn definitions() -> Result<Vec<Value>, DefinitionsError> {
    let io = |what: &str| {
        let what = what.to_owned();
        move |source| DefinitionsError::Io { what, source }
    };
    let folder = tempfile::tempdir().map_err(io("a temporary folder"))?;
    for (name, text) in [
        ("go.mod", include_str!("../go/snapshots/go.mod")),
        ("go.sum", include_str!("../go/snapshots/go.sum")),
    ] {
        std::fs::write(folder.path().join(name), text).map_err(io(name))?;
    }
    let mut go = Command::new("go");
    go.args(["mod", "download", "-json", MODULE]).current_dir(folder.path());
    let output = go.env("GOFLAGS", "-mod=mod").env("GOWORK", "off").output().map_err(io("go"))?;
    let said: Value = serde_json::from_slice(&output.stdout)
        .map_err(|_| DefinitionsError::Go(String::from_utf8_lossy(&output.stderr).into_owned()))?;
    let Some(module) = said.get("Dir").and_then(Value::as_str) else {
        return Err(DefinitionsError::Go(said.to_string()));
    };
    let mut all = Vec::new();
    for plural in FILES {
        let path = Path::new(module).join(format!("config/crd/snapshot.storage.k8s.io_{plural}.yaml"));
        let text = std::fs::read_to_string(&path).map_err(io(&path.display().to_string()))?;
        all.extend(documents(&text)?);
    }
    Ok(all)
}

impl ControlPlane {
    /// Makes the API server serve snapshots.
    ///
    /// # Errors
    /// The definitions cannot be had, or are not served in time.
    pub async fn serve_snapshots(&self) -> Result<(), DefinitionsError> {
        for definition in definitions()? {
            self.apply_object(definition, "").await?;
        }
        let client = self.client().map_err(ApplyError::from)?;
        let served = async || {
            let list = client.list_api_group_resources("snapshot.storage.k8s.io/v1").await.ok()?;
            let has = |kind: &str| list.resources.iter().any(|resource| resource.kind == kind);
            (has("VolumeSnapshot") && has("VolumeSnapshotContent")).then_some(())
        };
        let limit = std::time::Duration::from_secs(60);
        let ended = wait::until("snapshots to be served", limit, served).await;
        ended.map_err(|error| DefinitionsError::NotServed(error.to_string()))
    }
}
