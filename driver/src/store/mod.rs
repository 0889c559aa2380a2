//! What the driver knows, in memory and on disk, always alike.
//!
//! Lookups come from memory. A change is first written to the [`journal`], then applied in memory, then
//! acknowledged; so nobody ever sees what a crash could take back. The lock over the tables is held for
//! lookups only, never over a system call.

mod error;
pub mod journal;
pub(crate) mod migrate;
pub mod record;
mod tables;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

pub use error::OpenError;
use journal::{CommitError, Journal, Purpose};
pub use record::{Access, Change, Group, Publication, Snapshot, Source, Volume};
pub use tables::{Page, Tables};

use crate::refusal::Refusal;

/// The driver's memory.
#[derive(Debug)]
pub struct Store {
    journal: Journal,
    tables: Mutex<Tables>,
    /// Held shared from a commit to its place in the tables; alone while the journal is rewritten.
    gate: RwLock<()>,
    /// Held by the one operation that rewrites the journal, or waits to.
    rewriting: Mutex<()>,
    /// What tests let happen to commits.
    #[cfg(test)]
    pub(crate) fault: Mutex<Option<Fault>>,
}

/// What the disk does to commits, in tests.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is full: nothing can be taken.
    Full,
    /// The next commit fails, and a restart may bring it back.
    Unfinished,
}

#[cfg(test)]
impl Store {
    fn strike(&self, purpose: Purpose) -> Result<(), CommitError> {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match *fault {
            Some(Fault::Full) if purpose == Purpose::Take => {
                Err(CommitError { source: rustix::io::Errno::NOSPC.into(), is_undone: true })
            }
            Some(Fault::Unfinished) => {
                *fault = None;
                Err(CommitError { source: rustix::io::Errno::IO.into(), is_undone: false })
            }
            _ => Ok(()),
        }
    }
}

impl Store {
    /// Reads the state in `folder`; a Go driver's `state.json` there is taken over once. The snapshots that it
    /// names are still in `content` then.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed then.
    pub fn open(folder: &Path, content: &Path) -> Result<Self, OpenError> {
        let journal_error = |source| OpenError::Journal { folder: folder.display().to_string(), source };
        let (journal, changes) = Journal::open(folder).map_err(journal_error)?;
        let mut tables = Tables::default();
        let is_new = changes.is_empty();
        changes.into_iter().for_each(|change| tables.apply(change));
        if is_new {
            let legacy = migrate::read(folder, content)?;
            if !legacy.is_empty() {
                journal.commit(&legacy, Purpose::Take).map_err(|error| journal_error(error.source))?;
                base::info!("Took over the state of the Go driver"; "objects" => legacy.len());
                legacy.into_iter().for_each(|change| tables.apply(change));
            }
        }
        migrate::put_aside(folder);
        Ok(Self {
            journal,
            tables: Mutex::new(tables),
            gate: RwLock::new(()),
            rewriting: Mutex::new(()),
            #[cfg(test)]
            fault: Mutex::default(),
        })
    }

    /// The tables, for a lookup.
    pub fn read(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A volume by id.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub fn volume(&self, id: &str) -> Result<Arc<Volume>, Refusal> {
        self.read().volumes.get(id).cloned().ok_or_else(|| Refusal::no_volume(id))
    }

    /// A snapshot by id.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub fn snapshot(&self, id: &str) -> Result<Arc<Snapshot>, Refusal> {
        self.read().snapshots.get(id).cloned().ok_or_else(|| Refusal::no_snapshot(id))
    }

    /// Makes changes that belong together, all or none, for good.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED when the disk is full, else INTERNAL; nothing has changed then. UNAVAILABLE when a
    /// restart may bring the changes back.
    pub fn commit(&self, changes: Vec<Change>) -> Result<(), Refusal> {
        let removes = |change: &Change| {
            matches!(change, Change::NoVolume(_) | Change::NoSnapshot(_) | Change::NoGroup(_))
        };
        let purpose = if changes.iter().all(removes) { Purpose::LetGo } else { Purpose::Take };
        self.commit_for(changes, purpose)
    }

    fn commit_for(&self, changes: Vec<Change>, purpose: Purpose) -> Result<(), Refusal> {
        {
            let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
            #[cfg(test)]
            self.strike(purpose).map_err(refused)?;
            self.journal.commit(&changes, purpose).map_err(refused)?;
            let mut tables = self.read();
            changes.into_iter().for_each(|change| tables.apply(change));
        }
        if self.journal.is_large() {
            self.rewrite();
        }
        Ok(())
    }

    /// Changes one volume's record.
    ///
    /// # Errors
    /// As [`Self::commit`]; NOT_FOUND when it is gone.
    pub fn update(&self, id: &str, change: impl FnOnce(&mut Volume)) -> Result<(), Refusal> {
        self.update_for(id, change, Purpose::Take)
    }

    /// As [`Self::update`], for undoing something: goes on when the disk is full.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub fn undo(&self, id: &str, change: impl FnOnce(&mut Volume)) -> Result<(), Refusal> {
        self.update_for(id, change, Purpose::LetGo)
    }

    fn update_for(
        &self,
        id: &str,
        change: impl FnOnce(&mut Volume),
        purpose: Purpose,
    ) -> Result<(), Refusal> {
        let mut volume = Volume::clone(&*self.volume(id)?);
        change(&mut volume);
        self.commit_for(vec![Change::Volume(Box::new(volume))], purpose)
    }

    fn rewrite(&self) {
        // One waits for the commits under way, and new ones wait for it: under a steady load there is never a
        // moment without any.
        let Ok(_one) = self.rewriting.try_lock() else { return };
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let alive = || self.read().all();
        if let Err(error) = self.journal.rewrite_if_large(alive) {
            base::error!(error, "Cannot rewrite the driver's state; the old file stays in use");
        }
    }
}

fn refused(CommitError { source, is_undone }: CommitError) -> Refusal {
    let what = "cannot write the driver's state".to_owned();
    if is_undone { Refusal::System { what, source } } else { Refusal::Unfinished { what, source } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_load_does_not_starve_the_rewrite() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(journal::FILE);
        let length = || std::fs::metadata(&file).unwrap().len();
        let store = Store::open(folder.path(), folder.path()).unwrap();
        std::thread::scope(|scope| {
            // Another commit is under way when this one makes the journal large.
            let under_way = store.gate.read().unwrap();
            let large = scope.spawn(|| store.commit(vec![Change::NoVolume("x".repeat(2 << 20))]).unwrap());
            while !large.is_finished() && store.rewriting.try_lock().is_ok() {
                std::thread::yield_now();
            }
            drop(under_way);
        });
        assert!(length() < 1000, "{} bytes", length());
    }
}
