//! The driver for images in Ceph, without its gRPC server.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use crate::lock::{Locks, Slots};
use crate::rbd::ceph::{Library, LoadError, Pool};
use crate::rbd::config;
use crate::rbd::connections::{Connections, Site};
use crate::rbd::credentials::{self, Credentials};
use crate::rbd::deadline;
use crate::rbd::flatten::Flattening;
use crate::rbd::handle::Handle;
use crate::rbd::journal::Journal;
use crate::rbd::names::Kind;
use crate::rbd::node::Mappers;
use crate::rbd::options::RbdOptions;
use crate::rbd::plan::Attributes;
use crate::refusal::Refusal;

/// How many calls may work on Ceph at once. Each takes a thread, and an outage holds it for as long as the patience.
const CALLS: usize = 64;
/// How many times the patience with a request a call about a device may take: it makes some requests, maps, and runs mkfs. By default
/// that is a little less than what the kubelet gives it.
const REQUESTS: u32 = 10;

/// A driver for images. It keeps no state of its own: everything is in Ceph's journal.
#[derive(Debug)]
pub struct Rbd {
    /// For calls that outlive their answers.
    itself: Weak<Self>,
    /// The settings.
    pub(crate) options: RbdOptions,
    /// Who works on what.
    pub(crate) locks: Locks,
    /// Calls that work on Ceph.
    pub(crate) calls: Slots,
    /// Connections to clusters.
    pub(crate) connections: Connections,
    /// How images become devices.
    pub(crate) mappers: Mappers,
    /// Chains of clones that are being cut.
    pub(crate) flattening: Flattening,
}

/// A volume or snapshot that a journal knows.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// Its cluster.
    pub(crate) site: Site,
    /// Its journal.
    pub(crate) journal: Journal,
    /// Its id.
    pub(crate) handle: Handle,
    /// What the journal says.
    pub(crate) attributes: Attributes,
}

impl Known {
    /// Where its image is.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.journal.pool
    }
}

impl Rbd {
    /// Loads Ceph's libraries. No cluster is asked for anything.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn start(mut options: RbdOptions) -> Result<Arc<Self>, LoadError> {
        options.fuse_folder = real(&options.fuse_folder);
        let connections = Connections::new(Library::load()?, options.patience);
        // Mapping connects, opens the image and waits for its lock.
        let mappers = Mappers::new(3 * options.patience, options.fuse_folder.clone());
        Ok(Arc::new_cyclic(|itself| Self {
            itself: Weak::clone(itself),
            options,
            mappers,
            locks: Locks::default(),
            calls: Slots::new("calls that work on Ceph", CALLS),
            connections,
            flattening: Flattening::default(),
        }))
    }

    /// Makes a call that waits for a device, and answers in time: see [`deadline`].
    ///
    /// # Errors
    /// As the call; UNAVAILABLE when it takes too long.
    pub(crate) fn in_time<T: Send + 'static>(
        &self,
        what: &'static str,
        call: impl FnOnce(&Self) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let Some(itself) = self.itself.upgrade() else { return call(self) };
        deadline::within(REQUESTS * self.options.patience, what, move || itself.after(call(&itself)))
    }

    /// Connects to a cluster of the configuration.
    ///
    /// # Errors
    /// As [`config::cluster`] and [`Connections::site`].
    pub(crate) fn site(&self, cluster: &str, who: Credentials) -> Result<Site, Refusal> {
        self.connections.site(config::cluster(&self.options.config, cluster)?, who)
    }

    /// Who asks where a call carries no secrets.
    ///
    /// # Errors
    /// UNIMPLEMENTED without `--ceph-secret-folder`; FAILED_PRECONDITION when it cannot be read.
    pub(crate) fn own_credentials(&self, method: &'static str) -> Result<Credentials, Refusal> {
        let folder = self.options.secret_folder.as_ref().ok_or(Refusal::NotServed(method))?;
        credentials::of_folder(folder)
    }

    /// The journal in a pool.
    pub(crate) fn journal(&self, pool: Arc<Pool>, kind: Kind) -> Journal {
        Journal::new(pool, kind, &self.options.instance)
    }

    /// What a journal knows of an id; none if its pool or its object is gone.
    ///
    /// # Errors
    /// As [`Self::site`]; Ceph's.
    pub(crate) fn known(
        &self,
        handle: Handle,
        kind: Kind,
        who: Credentials,
    ) -> Result<Option<Known>, Refusal> {
        let site = self.site(&handle.cluster, who)?;
        let Some(pool) = site.pool(handle.pool)? else { return Ok(None) };
        let mut journal = self.journal(pool, kind);
        let Some(attributes) = journal.attributes(&handle.uuid)? else { return Ok(None) };
        if let Some(id) = attributes.journal_pool.filter(|id| *id != handle.pool)
            && let Some(directory) = site.pool(id)?
        {
            journal = journal.with_directory_in(directory);
        }
        Ok(Some(Known { site, journal, handle, attributes }))
    }

    /// What each call ends with: a client that a cluster has shut out stays shut out, so the next call is another client's.
    pub(crate) fn after<T>(&self, outcome: Result<T, Refusal>) -> Result<T, Refusal> {
        if let Err(Refusal::Outage { source, .. }) = &outcome
            && crate::rbd::ceph::is(source, rustix::io::Errno::SHUTDOWN)
        {
            base::warn!("Ceph has shut this client out: connecting anew");
            self.connections.forget();
        }
        outcome
    }
}

/// A path as the kernel shows it: without links and dots, as far as it is there.
fn real(path: &Path) -> PathBuf {
    let there = path.ancestors().find_map(|part| Some((part, part.canonicalize().ok()?)));
    let joined = there.map(|(part, real)| match path.strip_prefix(part) {
        Ok(rest) => real.join(rest),
        Err(_) => real,
    });
    joined.unwrap_or_else(|| path.to_owned()).components().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_known_by_its_real_path() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("run")).unwrap();
        std::os::unix::fs::symlink(root.join("run"), root.join("var")).unwrap();
        for (given, expected) in [
            ("run/rbd", "run/rbd"),
            ("var/rbd", "run/rbd"),
            ("var/./rbd/fuse/", "run/rbd/fuse"),
            ("var/../run", "run"),
            ("none/./rbd", "none/rbd"),
        ] {
            assert_eq!(real(&root.join(given)), root.join(expected), "{given}");
        }
    }
}
