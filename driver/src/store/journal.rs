//! The state file: a journal of changes that survives a kill at any byte.
//!
//! A commit is acknowledged only after it is on the disk (fdatasync). Commits of concurrent operations share
//! one write and one sync: whoever comes first writes for all that wait by then, so the rate is not
//! bound to the disk's sync latency. Together they are one line, a batch: see [`format`].
//!
//! Reading stops at a last line that is torn; such a line was never acknowledged. A line that is intact
//! and unknown, or damaged with good ones behind, stops the start. A write that fails (disk full) is
//! undone by cutting the file back, its commits are refused, and nothing before it is touched.
//!
//! Users' data shares the disk with this file, and a full disk must not keep volumes from being unmounted
//! and deleted. So the file owns some space beyond its end, which only commits that let go of something
//! ([`Purpose::LetGo`]) may use: others are refused when that space cannot be kept ahead of them. A failed write
//! gives the space away; it is taken again at once, or before the next of those commits. A rewrite that cannot get
//! the same for its new file leaves the old one in force.
//!
//! When the file has grown to several times what is alive it is written anew: temporary file, sync,
//! rename.
//!
//! Differs: the Go driver rewrites a whole `state.json` at each change, in place, so that a crash there
//! loses everything and 10,000 volumes cost 10,000 records a change.

pub mod disk;
mod format;
mod tail;

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::record::Change;
use disk::{Disk, DiskFile, Folder};
pub use tail::CommitError;
use tail::{MIN_REWRITE, Tail, joined};

/// File name inside the state folder.
pub const FILE: &str = "state.journal";
const TEMPORARY: &str = "state.journal.new";
/// What a commit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Something is made or taken: refused when the disk is full.
    Take,
    /// Something is removed or undone: goes on when the disk is full.
    LetGo,
}

/// An open journal.
#[derive(Debug)]
pub struct Journal<D: Disk = Folder> {
    disk: Arc<D>,
    queue: Mutex<Queue<D>>,
    done: Condvar,
}

#[derive(Debug)]
struct Queue<D: Disk> {
    /// The file; away while somebody writes.
    file: Option<Tail<D>>,
    /// Whether the file was large enough for a rewrite when it was last here.
    is_large: bool,
    /// Changes that nobody writes yet, of commits that let go and of those that take.
    letting_go: Waiting,
    taking: Waiting,
    /// Number of the batch that these will be.
    batch: u64,
    /// All batches below this are decided.
    decided: u64,
    /// What failed, until all its waiters have looked.
    failed: Vec<Failed>,
}

/// Changes to be written together.
#[derive(Debug, Default)]
struct Waiting {
    changes: Vec<u8>,
    commits: usize,
}

/// The part of a batch that could not be written.
#[derive(Debug)]
struct Failed {
    batch: u64,
    purpose: Purpose,
    error: CommitError,
    waiters: usize,
}

impl Journal {
    /// Opens the journal in `folder` and returns it with the changes it holds, in order. A missing file
    /// is an empty one.
    ///
    /// # Errors
    /// The system's, when the file cannot be made, read or cut behind its last whole line; or the file
    /// cannot be used as it is.
    pub fn open(folder: &Path) -> io::Result<(Self, Vec<Change>)> {
        Self::on(Folder(folder.to_owned()))
    }
}

impl<D: Disk> Journal<D> {
    fn on(disk: D) -> io::Result<(Self, Vec<Change>)> {
        // Left by a kill during a rewrite; the journal itself is still whole.
        let _ = disk.remove(TEMPORARY);
        let mut file = disk.open(FILE)?;
        let bytes = file.read()?;
        let (changes, end) = format::parse(&bytes)
            .map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, format!("{FILE}: {reason}")))?;
        if end < bytes.len() {
            base::warn!("The last change was cut off and never acknowledged: dropped";
                "file" => FILE, "bytes" => bytes.len() - end);
            file.cut(end as u64)?;
        }
        disk.sync_names()?;
        let disk = Arc::new(disk);
        let mut tail = Tail::new(disk.clone(), file, end as u64, true);
        if let Err(error) = tail.own(0) {
            base::warn!("The disk is full: nothing can be made until there is space"; "err" => error);
        }
        let queue = Queue {
            is_large: tail.is_large(),
            file: Some(tail),
            letting_go: Waiting::default(),
            taking: Waiting::default(),
            batch: 1,
            decided: 1,
            failed: Vec::new(),
        };
        Ok((Self { disk, queue: Mutex::new(queue), done: Condvar::new() }, changes))
    }

    /// Writes changes that belong together, and waits until they are on the disk.
    ///
    /// # Errors
    /// The system's; then none of the changes is in force. The error says whether a restart may change that.
    pub fn commit(&self, changes: &[Change], purpose: Purpose) -> Result<(), CommitError> {
        let changes = format::changes(changes).map_err(|source| CommitError { source, is_undone: true })?;
        let mut queue = self.lock();
        let batch = queue.batch;
        let waiting = match purpose {
            Purpose::LetGo => &mut queue.letting_go,
            Purpose::Take => &mut queue.taking,
        };
        waiting.changes = joined(&waiting.changes, &changes);
        waiting.commits += 1;
        loop {
            if batch < queue.decided {
                return outcome(&mut queue, batch, purpose);
            }
            queue = match queue.file.take() {
                None => self.done.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(tail) => self.write(queue, tail),
            };
        }
    }

    /// Writes all that waits, without holding up those who come meanwhile.
    fn write<'a>(
        &'a self,
        mut queue: MutexGuard<'a, Queue<D>>,
        mut tail: Tail<D>,
    ) -> MutexGuard<'a, Queue<D>> {
        let batch = queue.batch;
        let letting_go = std::mem::take(&mut queue.letting_go);
        let taking = std::mem::take(&mut queue.taking);
        queue.batch += 1;
        drop(queue);
        let outcomes = tail.append_both(&letting_go.changes, &taking.changes);
        let mut queue = self.lock();
        queue.is_large = tail.is_large();
        queue.file = Some(tail);
        queue.decided = batch + 1;
        let parts = [(Purpose::LetGo, letting_go.commits), (Purpose::Take, taking.commits)];
        for ((purpose, waiters), outcome) in parts.into_iter().zip(outcomes) {
            if let (Err(error), true) = (outcome, waiters > 0) {
                queue.failed.push(Failed { batch, purpose, error, waiters });
            }
        }
        self.done.notify_all();
        queue
    }

    /// Whether [`Self::rewrite_if_large`] might have something to do.
    pub fn is_large(&self) -> bool {
        self.lock().is_large
    }

    /// Writes the journal anew with only what is alive, if it has grown enough to be worth it. The caller
    /// sees to it that no commit is between its acknowledgement and `alive`.
    ///
    /// # Errors
    /// The system's. Before the rename the old file stays in force, afterwards the new one, whether its name
    /// could be brought to the disk or not.
    pub fn rewrite_if_large(&self, alive: impl FnOnce() -> Vec<Change>) -> io::Result<bool> {
        let mut queue = self.lock();
        let Some(tail) = queue.file.as_mut() else { return Ok(false) };
        if tail.end < MIN_REWRITE {
            return Ok(false);
        }
        let mut bytes = format::header()?;
        for change in alive() {
            bytes.extend(format::batch(&format::changes(std::slice::from_ref(&change))?));
        }
        let end = bytes.len() as u64;
        if tail.end < 4 * end {
            tail.next_look = 4 * end;
            queue.is_large = false;
            return Ok(false);
        }
        let written = self.disk.open_empty(TEMPORARY).and_then(|file| {
            file.write(&bytes, 0)?;
            let mut new = Tail::new(self.disk.clone(), file, end, true);
            // The old file has spare space, and keeps it if the disk is too full for more.
            new.own(0)?;
            new.sync()?;
            self.disk.rename(TEMPORARY, FILE)?;
            Ok(new)
        });
        let mut new = match written {
            Ok(new) => new,
            Err(error) => {
                tail.look_later();
                queue.is_large = false;
                // The next start removes it otherwise, and the next rewrite empties it.
                let _ = self.disk.remove(TEMPORARY);
                return Err(error);
            }
        };
        let named = self.disk.sync_names();
        new.is_named = named.is_ok();
        queue.file = Some(new);
        queue.is_large = false;
        named.map(|()| true)
    }

    fn lock(&self) -> MutexGuard<'_, Queue<D>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of a decided batch, for one of its waiters.
fn outcome<D: Disk>(queue: &mut Queue<D>, batch: u64, purpose: Purpose) -> Result<(), CommitError> {
    let is_it = |failed: &Failed| failed.batch == batch && failed.purpose == purpose;
    let Some(index) = queue.failed.iter().position(is_it) else {
        return Ok(());
    };
    let Some(failed) = queue.failed.get_mut(index) else { return Ok(()) };
    let CommitError { source, is_undone } = &failed.error;
    let source = source.raw_os_error().map_or_else(|| source.kind().into(), io::Error::from_raw_os_error);
    let error = CommitError { source, is_undone: *is_undone };
    failed.waiters -= 1;
    if failed.waiters == 0 {
        queue.failed.swap_remove(index);
    }
    Err(error)
}

/// The changes of a journal that is not in use, in order, without changing the file.
///
/// # Errors
/// The system's; or the file cannot be used as it is.
pub(crate) fn read(path: &Path) -> io::Result<Vec<Change>> {
    Ok(changes_in(&std::fs::read(path)?)?.0)
}

/// The changes that a journal of these bytes holds, in order, and where its last whole line ends.
///
/// # Errors
/// It cannot be used as it is.
pub fn changes_in(bytes: &[u8]) -> io::Result<(Vec<Change>, usize)> {
    Ok(format::parse(bytes)?)
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod full;
#[cfg(test)]
mod tests;
