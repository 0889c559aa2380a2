//! An API server that goes back in time, or is of an older kind.

use serde_json::Value;

use super::store::Store;
use super::{ApiServer, discovery};

/// What etcd held at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot(Store);

/// What an older API server does not serve as this one does.
#[derive(Debug, Default)]
pub(crate) struct Served {
    /// Plurals that do not exist.
    hidden: Vec<String>,
    /// Plurals that exist as v1beta1, and not as v1.
    beta: Vec<String>,
}

impl Served {
    pub(crate) fn is_hidden(&self, plural: &str) -> bool {
        self.hidden.iter().any(|name| name == plural)
    }

    fn is_beta(&self, plural: &str) -> bool {
        self.beta.iter().any(|name| name == plural)
    }

    /// The path at which this model keeps what `path` asks for.
    pub(crate) fn kept_at(&self, path: &str) -> String {
        for plural in &self.beta {
            let (beta, stable) = (format!("/v1beta1/{plural}"), format!("/v1/{plural}"));
            if path.contains(&beta) {
                return path.replacen(&beta, &stable, 1);
            }
            if path.contains(&stable) {
                return "/nowhere".to_owned();
            }
        }
        path.to_owned()
    }

    /// The discovery document at `path`; `None` if there is none.
    pub(crate) fn document(&self, path: &str) -> Option<Value> {
        match path.strip_suffix("/v1beta1") {
            Some(group) if !self.beta.is_empty() => {
                discovery::document(&format!("{group}/v1"), &|resource| !self.is_beta(resource.plural))
            }
            Some(_) | None => discovery::document(path, &|resource| {
                self.is_hidden(resource.plural) || self.is_beta(resource.plural)
            }),
        }
    }
}

impl ApiServer {
    /// The resource `plural` does not exist, as on an older cluster.
    pub fn hide(&self, plural: &str) {
        self.state().served.hidden.push(plural.to_owned());
    }

    /// The resource `plural` exists as v1beta1, and not as v1, as on an older cluster.
    pub fn serve_as_beta(&self, plural: &str) {
        self.state().served.beta.push(plural.to_owned());
    }

    /// From now on lists are refused as streams, as with the feature gate off: they must be asked for in pages.
    pub fn refuse_streams(&self) {
        self.state().streams = false;
    }

    /// What etcd holds now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.state().store.clone())
    }

    /// Restores etcd from a snapshot, and restarts the API server: versions go on from the snapshot's.
    pub fn restore(&self, snapshot: Snapshot) {
        let version = {
            let mut state = self.state();
            state.store = snapshot.0;
            state.store.forget();
            state.unread.clear();
            state.store.version
        };
        self.changed.send_replace(version);
        self.break_watches();
    }
}
