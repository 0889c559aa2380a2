//! Connections to clusters, kept for the next call: one costs 36 MB and a tenth of a second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::rbd::ceph::{Cluster, Library, Pool, Settings};
use crate::rbd::config;
use crate::rbd::credentials::Credentials;
use crate::rbd::error;
use crate::refusal::Refusal;

/// How many are kept: one for each cluster and user.
const KEPT: usize = 8;

/// The connections; the one that was used last is the last.
#[derive(Debug)]
pub(crate) struct Connections {
    library: &'static Library,
    patience: Duration,
    open: Mutex<Vec<(Settings, Arc<Cluster>)>>,
}

/// A cluster that a call works on.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    /// What the configuration says about it.
    pub(crate) config: config::Cluster,
    /// The connection.
    pub(crate) cluster: Arc<Cluster>,
}

impl Connections {
    /// None yet. `patience` is the longest that one request to Ceph may take.
    pub(crate) fn new(library: &'static Library, patience: Duration) -> Self {
        Self { library, patience, open: Mutex::default() }
    }

    /// Connects to a cluster, or takes the connection that is there.
    ///
    /// # Errors
    /// UNAVAILABLE when no monitor answers; UNAUTHENTICATED when the user or its key are wrong.
    pub(crate) fn site(&self, config: config::Cluster, who: Credentials) -> Result<Site, Refusal> {
        let monitors = config.monitors.join(",");
        let settings = Settings { monitors, user: who.user, key: who.key, patience: self.patience };
        if let Some(cluster) = self.kept(&settings) {
            return Ok(Site { config, cluster });
        }
        // Several calls may connect at once: then one connection is kept, and the others end with their calls.
        let what = format!("cannot connect to cluster {:?} as {:?}", config.id, settings.user);
        let cluster = Cluster::connect(self.library, &settings).map_err(error::connecting(what))?;
        base::info!("Connected to Ceph"; "cluster" => config.id, "user" => settings.user, "address" => cluster.address());
        self.keep(settings, &cluster);
        Ok(Site { config, cluster })
    }

    /// Forgets all connections, of which a cluster has shut one out: the next calls make new ones.
    pub(crate) fn forget(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten = std::mem::take(&mut *open);
        drop(open);
        // Closing may take long.
        drop(forgotten);
    }

    fn kept(&self, settings: &Settings) -> Option<Arc<Cluster>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let at = open.iter().position(|(kept, _)| kept == settings)?;
        let found = open.remove(at);
        let cluster = Arc::clone(&found.1);
        open.push(found);
        Some(cluster)
    }

    fn keep(&self, settings: Settings, cluster: &Arc<Cluster>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut closed = Vec::new();
        if !open.iter().any(|(kept, _)| *kept == settings) {
            open.push((settings, Arc::clone(cluster)));
            let surplus = open.len().saturating_sub(KEPT);
            closed.extend(open.drain(..surplus));
        }
        drop(open);
        drop(closed);
    }
}

impl Site {
    /// A pool by its id, in the namespace that the configuration names; none if there is no such pool.
    ///
    /// # Errors
    /// Ceph's.
    pub(crate) fn pool(&self, id: i64) -> Result<Option<Arc<Pool>>, Refusal> {
        let namespace = &self.config.rbd.rados_namespace;
        let opened = crate::rbd::ceph::found(Pool::open(&self.cluster, id, namespace));
        Ok(opened.map_err(error::ceph(format!("cannot open pool {id}")))?.map(Arc::new))
    }

    /// A pool by its name.
    ///
    /// # Errors
    /// Ceph's.
    pub(crate) fn pool_named(&self, name: &str) -> Result<Option<Arc<Pool>>, Refusal> {
        let id = crate::rbd::ceph::found(self.cluster.pool_id(name));
        match id.map_err(error::ceph(format!("cannot look for pool {name:?}")))? {
            None => Ok(None),
            Some(id) => self.pool(id),
        }
    }
}
