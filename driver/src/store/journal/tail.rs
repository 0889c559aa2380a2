//! The file of a journal, to which batches are appended.

use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::format;

/// Space kept beyond the end of the file, in bytes: thousands of removals.
const SPARE: u64 = 256 * 1024;

/// The journal is rewritten when it is this many bytes and four times what a rewrite would leave.
pub(super) const MIN_REWRITE: u64 = 1024 * 1024;

/// The file and where its valid part ends.
#[derive(Debug)]
pub(super) struct Tail<D: Disk> {
    disk: Arc<D>,
    file: D::File,
    pub(super) end: u64,
    /// Up to here the disk has space set aside for it.
    owned: u64,
    /// Do not consider a rewrite before this size.
    pub(super) next_look: u64,
    /// Whether the file's name is on the disk. Nothing is acknowledged before it is.
    pub(super) is_named: bool,
}

/// Changes could not be written.
#[derive(Debug)]
pub struct CommitError {
    /// The system's reason.
    pub source: io::Error,
    /// Whether they are certainly not in force, now or after a restart. Else a restart may bring them back.
    pub is_undone: bool,
}

impl<D: Disk> Tail<D> {
    /// A file whose valid part ends at `end`.
    pub(super) fn new(disk: Arc<D>, file: D::File, end: u64, is_named: bool) -> Self {
        Self { disk, file, end, owned: end, next_look: 0, is_named }
    }

    /// Whether a rewrite may be worth it.
    pub(super) fn is_large(&self) -> bool {
        self.end >= MIN_REWRITE && self.end >= self.next_look
    }

    /// Do not consider a rewrite again before the file has grown by as much as its spare space.
    pub(super) fn look_later(&mut self) {
        self.next_look = self.end + SPARE;
    }

    /// Brings what was written to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// What lets go is written in any case; what takes only if the spare space can be kept. Both are changes
    /// as [`format::changes`] gives them.
    pub(super) fn append_both(&mut self, letting_go: &[u8], taking: &[u8]) -> [Result<(), CommitError>; 2] {
        let is_undone = true;
        if taking.is_empty() {
            // Else it takes of the spare space.
            let _ = self.own(letting_go.len());
            return [self.append(letting_go), Ok(())];
        }
        let all = joined(letting_go, taking);
        if let Err(source) = self.own(all.len()) {
            return [self.append(letting_go), Err(CommitError { source, is_undone })];
        }
        match self.append(&all) {
            Ok(()) => [Ok(()), Ok(())],
            Err(error) if letting_go.is_empty() => [Ok(()), Err(error)],
            // What is written now takes the place of what failed, so that this is undone at the latest then.
            Err(error) => match self.append(letting_go) {
                Ok(()) => [Ok(()), Err(CommitError { is_undone, ..error })],
                again => [again, Err(error)],
            },
        }
    }

    /// Makes sure that the file owns space for so many bytes, and the spare space behind them.
    pub(super) fn own(&mut self, more: usize) -> io::Result<()> {
        let needed = self.end + more as u64 + SPARE;
        if needed <= self.owned {
            return Ok(());
        }
        // In larger steps, so that most commits need none.
        let wanted = needed + SPARE;
        let is_reserved = self.file.reserve(self.end, wanted - self.end)?;
        self.owned = if is_reserved { wanted } else { u64::MAX };
        Ok(())
    }

    /// One line with these changes on the disk, or an error that says whether it may come back.
    fn append(&mut self, changes: &[u8]) -> Result<(), CommitError> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        let is_undone = true;
        if self.end == 0 {
            bytes = format::header().map_err(|source| CommitError { source, is_undone })?;
        }
        bytes.extend(format::batch(changes));
        let named = if self.is_named { Ok(()) } else { self.disk.sync_names() };
        named.map_err(|source| CommitError { source, is_undone })?;
        self.is_named = true;
        let Err(source) = self.file.write(&bytes, self.end).and_then(|()| self.file.sync()) else {
            self.end += bytes.len() as u64;
            return Ok(());
        };
        // Cutting gives the space beyond the end away. Where it fails, the next append overwrites the place.
        let is_undone = self.file.cut(self.end).and_then(|()| self.file.sync()).is_ok();
        if self.owned != u64::MAX {
            self.owned = self.end;
            let _ = self.own(0);
        }
        Err(CommitError { source, is_undone })
    }
}

/// Two lists of changes as one.
pub(super) fn joined(one: &[u8], other: &[u8]) -> Vec<u8> {
    let comma: &[u8] = if one.is_empty() || other.is_empty() { b"" } else { b"," };
    [one, comma, other].concat()
}
