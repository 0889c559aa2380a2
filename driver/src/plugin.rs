//! A CSI plugin without its gRPC server: its settings, records, locks and storage.
//!
//! The operations are plain blocking functions in `controller` and `node`. `service` calls them on threads
//! that may block.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::backend::{Backend, Item};
use crate::boot;
use crate::folder::Folder;
use crate::lock::{Key, Locks, Slots};
use crate::options::Options;
use crate::refusal::Refusal;
use crate::store::{Change, OpenError, Store, Volume};

/// One CSI plugin.
pub struct Plugin {
    /// The settings.
    pub options: Options,
    /// The memory.
    pub store: Store,
    /// Who works on what.
    pub locks: Locks,
    /// This boot's id, if the system tells.
    pub(crate) boot: Option<String>,
    /// The storage.
    pub backend: Box<dyn Backend>,
    /// Names of content that is recorded and not in its place: it could not be shown, or its removal did not end. The
    /// next call or the next start finishes it.
    hidden: Mutex<HashSet<String>>,
    /// Copies under way: clones, snapshots, restores.
    pub(crate) copies: Slots,
    /// Removals of content under way.
    pub(crate) removals: Slots,
    /// Streams of snapshot metadata under way.
    pub(crate) streams: Slots,
    /// Held while an attachment is counted and made, if there is a limit.
    pub(crate) attaching: Mutex<()>,
    /// Keeps a second process of this driver out of the state folder.
    _folder: Folder,
}

/// The driver cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state cannot be used.
    #[error(transparent)]
    State(#[from] OpenError),
    /// The state folder cannot be used.
    #[error("state folder {folder}: {source}")]
    Folder {
        /// The folder.
        folder: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Another process has it.
    #[error(
        "state folder {0} is in use by another driver process of this name: stop it, or give this one another --statedir or --drivername"
    )]
    InUse(String),
}

impl Plugin {
    /// Opens the state folder, takes up the state, and brings mounts and content into agreement with it;
    /// [`Self::clean`] removes the rest. `backend` is given the folder for content and the one where content may lie that was taken over.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(
        options: Options,
        backend: impl FnOnce(&Path, &Path) -> std::io::Result<Box<dyn Backend>>,
    ) -> Result<Self, StartError> {
        let name = options.state_folder.display().to_string();
        let wrong = |source| StartError::Folder { folder: name.clone(), source };
        let folder = Folder::claim(&options.state_folder, &options.name).map_err(wrong)?;
        let folder = folder.ok_or_else(|| StartError::InUse(name.clone()))?;
        let store = Store::open(&folder.own, &folder.shared)?;
        let plugin = Self {
            options,
            store,
            locks: Locks::default(),
            boot: boot::id(),
            backend: backend(&folder.own, &folder.shared).map_err(wrong)?,
            hidden: Mutex::default(),
            copies: Slots::new("copies", 48),
            removals: Slots::new("removals", 128),
            streams: Slots::new("streams of snapshot metadata", 32),
            attaching: Mutex::new(()),
            _folder: folder,
        };
        plugin.recover();
        Ok(plugin)
    }

    /// Brings records, mounts and content into agreement after a kill or a reboot.
    fn recover(&self) {
        self.forget_lost();
        let tables = self.store.read();
        let volumes = tables.volumes.values().map(|volume| Item::from(&**volume));
        let snapshots = tables.snapshots.values().map(|snapshot| Item::from(&**snapshot));
        let recorded: Vec<Item> = volumes.chain(snapshots).collect();
        let published = tables.volumes.values().filter(|volume| !volume.published.is_empty());
        let in_use: Vec<Item> = published.map(|volume| Item::from(&**volume)).collect();
        drop(tables);
        let unsettled = self.backend.recover(&recorded, &in_use);
        self.hide(&unsettled);
    }

    /// Removes the content that the start found to be nobody's, which may take long.
    pub fn clean(&self) {
        if let Err(error) = self.backend.clean() {
            base::error!(error, "Cannot remove content that nothing owns; the next start tries again");
        }
    }

    /// Removes a volume for good. The caller holds its locks.
    pub(crate) fn destroy(&self, volume: &Volume) -> Result<(), Refusal> {
        let item = Item::from(volume);
        self.retire_and_commit(&[item], vec![Change::NoVolume(volume.id.clone())])
    }

    /// Hides content, records that it is gone, destroys it. If recording fails all is as before; unless a
    /// restart may bring the change back: then the content stays hidden, for the next call or start.
    pub(crate) fn retire_and_commit(&self, items: &[Item], changes: Vec<Change>) -> Result<(), Refusal> {
        let _slot = self.removals.take()?;
        let outcome = items
            .iter()
            .try_for_each(|item| self.backend.retire(item))
            .map_err(Refusal::system("cannot retire the content"))
            .and_then(|()| self.store.commit(changes));
        match outcome {
            Ok(()) => {}
            Err(refusal @ Refusal::Unfinished { .. }) => {
                self.hide(items);
                return Err(refusal);
            }
            Err(refusal) => {
                for item in items {
                    if let Err(error) = self.backend.keep(item) {
                        base::error!(error, "Cannot bring back content whose removal failed"; "name" => item.name);
                        self.hide(std::slice::from_ref(item));
                    }
                }
                return Err(refusal);
            }
        }
        for item in items {
            self.hidden().remove(&item.name);
            if let Err(error) = self.backend.remove(item) {
                // It is hidden and owned by nobody: the next start removes it.
                base::error!(error, "Cannot remove retired content yet"; "name" => item.name);
            }
        }
        Ok(())
    }

    /// Records new objects and shows their prepared content; or removes the content if that fails. What is
    /// recorded and cannot be shown is UNAVAILABLE: a final code would make the caller forget it.
    pub(crate) fn commit_and_keep(&self, items: &[Item], changes: Vec<Change>) -> Result<(), Refusal> {
        match self.store.commit(changes) {
            Ok(()) => self.show(items),
            // A restart may bring the records back, and they would need the content.
            Err(refusal @ Refusal::Unfinished { .. }) => Err(refusal),
            Err(refusal) => {
                self.discard(items);
                Err(refusal)
            }
        }
    }

    fn show(&self, items: &[Item]) -> Result<(), Refusal> {
        for item in items {
            if let Err(source) = self.backend.keep(item) {
                self.hide(items);
                let what = "cannot put the content in its place".to_owned();
                return Err(Refusal::Unfinished { what, source });
            }
        }
        Ok(())
    }

    /// Whether a repeated call may answer that the object which an earlier one made is there: recorded, in its
    /// place, and not being removed. Content that could not be shown is shown now.
    pub(crate) fn confirm(&self, id: &str, item: &Item) -> Result<(), Refusal> {
        self.show_recorded(id, item)?;
        let key = Key::Content(id.to_owned());
        let busy = Refusal::Busy(key.text());
        let _content = self.locks.shared(key)?;
        if !self.store.read().has_content(id) {
            return Err(busy);
        }
        match self.backend.is_there(item) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Refusal::Away(id.to_owned())),
            Err(source) => Err(Refusal::Unfinished { what: "cannot look at the content".to_owned(), source }),
        }
    }

    /// Shows content that an earlier call recorded and could not show. It is held by the id of its volume or
    /// snapshot, so that nobody removes it meanwhile.
    pub(crate) fn show_recorded(&self, id: &str, item: &Item) -> Result<(), Refusal> {
        if !self.is_hidden(item) {
            return Ok(());
        }
        let key = Key::Content(id.to_owned());
        let busy = Refusal::Busy(key.text());
        let _content = self.locks.alone(key)?;
        if !self.store.read().has_content(id) {
            return Err(busy);
        }
        self.show(std::slice::from_ref(item))?;
        self.hidden().remove(&item.name);
        Ok(())
    }

    /// Whether content is recorded and could not be shown yet.
    pub(crate) fn is_hidden(&self, item: &Item) -> bool {
        self.hidden().contains(&item.name)
    }

    fn hide(&self, items: &[Item]) {
        self.hidden().extend(items.iter().map(|item| item.name.clone()));
    }

    fn hidden(&self) -> MutexGuard<'_, HashSet<String>> {
        self.hidden.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes prepared content that will not be recorded.
    pub(crate) fn discard(&self, items: &[Item]) {
        for item in items {
            if let Err(error) = self.backend.remove(item) {
                base::error!(error, "Cannot remove prepared content yet"; "name" => item.name);
            }
        }
    }

    /// Whether volumes on this node can have this topology.
    pub(crate) fn is_here(&self, topology: &csi::v1::Topology) -> bool {
        let Some(ours) = self.options.topology() else { return true };
        topology
            .segments
            .iter()
            .all(|(key, value)| ours.segments.iter().any(|(k, v)| k.eq_ignore_ascii_case(key) && v == value))
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("options", &self.options).finish_non_exhaustive()
    }
}

/// A name for new content; it is never used again.
pub(crate) fn new_name() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Seconds and nanoseconds since 1970.
pub(crate) fn now() -> (i64, i32) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (i64::try_from(since.as_secs()).unwrap_or(0), i32::try_from(since.subsec_nanos()).unwrap_or(0))
}

#[cfg(test)]
mod tests;
