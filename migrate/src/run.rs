//! Reads the cluster, makes the plan and shows it.

use std::path::PathBuf;

use base::flag::Parsed;
use kube::Client;
use kubernetes::api;
use kubernetes::client::{ClientError, ClientOptions, client};
use thiserror::Error;
use translation::{Plugin, Plugins};

use crate::cluster::Cluster;
use crate::decide::{converted, converted_claim, obstacles};
use crate::diff::diff;
use crate::flags::Flags;
use crate::report::{Entry, Report};

/// Why there is no plan.
#[derive(Debug, Error)]
pub enum MigrateError {
    /// The cluster cannot be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The API server refuses, or does not answer.
    #[error("cannot read the cluster: {0}")]
    Read(String),
    /// An object cannot be shown.
    #[error("cannot show PersistentVolume {0}: {1}")]
    Shown(String, serde_json::Error),
    /// There is no in-tree volume of the name.
    #[error("{0} is no in-tree PersistentVolume of a plugin that a CSI driver has replaced")]
    NotFound(String),
}

/// Shows the plan. Returns the exit code.
pub async fn main(parsed: &Parsed) -> u8 {
    match begin(&parsed.read()).await {
        Ok(report) => {
            println!("{report}");
            0
        }
        Err(error) => {
            eprintln!("mooring migrate: {error}");
            1
        }
    }
}

async fn begin(flags: &Flags) -> Result<Report, MigrateError> {
    let options = ClientOptions {
        kubeconfig: kubeconfig(&flags.kubeconfig),
        user_agent: format!("mooring-migrate/{}", env!("CARGO_PKG_VERSION")),
        ..ClientOptions::default()
    };
    let name = Some(flags.volume.as_str()).filter(|name| !name.is_empty());
    plan(&client(&options).await?, Plugins { rbd: flags.rbd }, name).await
}

/// Where kubectl would look.
fn kubeconfig(flag: &str) -> Option<PathBuf> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if !flag.is_empty() {
        return Some(flag.into());
    }
    let home = || Some(PathBuf::from(set("HOME")?).join(".kube/config"));
    set("KUBECONFIG").map(PathBuf::from).or_else(|| home().filter(|path| path.is_file()))
}

/// What would become of each in-tree volume, or of the one called `only`. Nothing is written.
///
/// # Errors
/// The cluster cannot be read, or `only` is no in-tree volume.
pub async fn plan(client: &Client, plugins: Plugins, only: Option<&str>) -> Result<Report, MigrateError> {
    let cluster = Cluster::read(client).await.map_err(|error| MigrateError::Read(api::text(&error)))?;
    let wanted = |name: &&String| only.is_none_or(|only| only == name.as_str());
    let mut report = Report::default();
    for name in cluster.volumes.keys().filter(wanted) {
        let entry = entry(&cluster, plugins, name);
        report.entries.extend(entry.map_err(|error| MigrateError::Shown(name.clone(), error))?);
    }
    match only.filter(|_| report.entries.is_empty()) {
        Some(name) => Err(MigrateError::NotFound(name.to_owned())),
        None => Ok(report),
    }
}

/// The plan for one volume; `None` if it is not in-tree.
fn entry(cluster: &Cluster, plugins: Plugins, name: &str) -> Result<Option<Entry>, serde_json::Error> {
    let Some(volume) = cluster.volumes.get(name) else { return Ok(None) };
    let Some(plugin) = volume.spec.as_ref().and_then(Plugin::of_volume) else { return Ok(None) };
    let holder = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    let claim = holder.map(|holder| {
        format!(
            "{}/{}",
            holder.namespace.as_deref().unwrap_or_default(),
            holder.name.as_deref().unwrap_or_default()
        )
    });
    let (becomes, obstacles) = match converted(plugins, plugin, volume.clone()) {
        Ok(after) => {
            let users = cluster.users(name, claim.as_deref());
            let of_claim = match claim.as_ref().and_then(|claim| cluster.claims.get(claim)) {
                Some(claim) => diff(claim, &converted_claim(plugin, claim.clone()))?,
                None => Vec::new(),
            };
            (Ok((diff(volume, &after)?, of_claim)), obstacles(plugin, volume, &after, &users))
        }
        Err(error) => (Err(error), Vec::new()),
    };
    Ok(Some(Entry { volume: name.to_owned(), claim, plugin, becomes, obstacles }))
}
