//! The undo file: what every volume was, and how far its replacement has come.
//!
//! One line of JSON for each event, written through to the disk before what it announces is done. Whoever opens the file
//! again knows which volumes are replaced, and which are on their way. A line that a crash cut off announces nothing that
//! was done. The file is locked while it is open.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::record::{Direction, Ended, Record};

/// The format of the file.
const VERSION: u32 = 1;

/// Why the undo file cannot be used.
#[derive(Debug, Error)]
pub enum JournalError {
    /// It cannot be opened, read or written.
    #[error("undo file {0}: {1}")]
    Io(String, io::Error),
    /// Another process has it.
    #[error("undo file {0}: another mooring migrate is using it")]
    Locked(String),
    /// It is something else, or of another release.
    #[error("undo file {0}: line {1} is not of an undo file of this release: {2}")]
    Foreign(String, usize, String),
    /// There is none.
    #[error("undo file {0}: there is no such file")]
    Missing(String),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    /// The first line. `id` is that of all runs with this file.
    Begin { version: u32, id: String },
    /// The volume is about to be replaced.
    Replace(Box<Record>),
    /// It is created anew.
    Created { volume: String },
    /// It is done.
    Ended { volume: String, how: Ended },
}

/// A volume's last event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) record: Record,
    pub(crate) created: bool,
    pub(crate) ended: Option<Ended>,
}

impl Entry {
    /// Whether the volume is a CSI volume now that was none.
    pub(crate) fn is_converted(&self) -> bool {
        match self.record.direction {
            Direction::ToCsi => matches!(self.ended, Some(Ended::Replaced | Ended::Kept)),
            Direction::ToInTree => self.ended == Some(Ended::AsItWas),
        }
    }
}

/// The open file.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
    id: String,
    entries: BTreeMap<String, Entry>,
}

impl Journal {
    /// Opens the file, or begins it under the name `id`.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub(crate) fn open(path: &Path, id: &str) -> Result<Self, JournalError> {
        let failed = |error| JournalError::Io(path.display().to_string(), error);
        let mut options = File::options();
        options.read(true).append(true).create(true);
        // It has no secrets, but nobody else may say what is to be undone.
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::Locked(path.display().to_string())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let mut journal = Self { file, path: path.to_owned(), id: String::new(), entries: BTreeMap::new() };
        journal.read()?;
        if journal.id.is_empty() {
            id.clone_into(&mut journal.id);
            journal.write(&Line::Begin { version: VERSION, id: id.to_owned() })?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))
                .and_then(|folder| folder.sync_all())
                .map_err(failed)?;
        }
        Ok(journal)
    }

    /// Opens a file that there is.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub(crate) fn open_existing(path: &Path) -> Result<Self, JournalError> {
        match path.is_file() {
            true => Self::open(path, "undo"),
            false => Err(JournalError::Missing(path.display().to_string())),
        }
    }

    /// Reads what there is, and cuts off a last line that has no end.
    fn read(&mut self) -> Result<(), JournalError> {
        let name = self.path.display().to_string();
        let failed = |error| JournalError::Io(name.clone(), error);
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes).map_err(failed)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        bytes.truncate(whole);
        self.file.set_len(whole as u64).and_then(|()| self.file.rewind()).map_err(failed)?;
        for (index, line) in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).enumerate() {
            let foreign = |why: String| JournalError::Foreign(name.clone(), index + 1, why);
            let line = serde_json::from_slice(line).map_err(|error| foreign(error.to_string()))?;
            match (line, index) {
                (Line::Begin { version: VERSION, id }, 0) => self.id = id,
                (Line::Begin { version, .. }, 0) => return Err(foreign(format!("version {version}"))),
                (line, index) if index > 0 => self.take(line),
                _ => return Err(foreign("it has no beginning".to_owned())),
            }
        }
        Ok(())
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Begin { .. } => {}
            Line::Replace(record) => {
                let name = record.name().to_owned();
                self.entries.insert(name, Entry { record: *record, created: false, ended: None });
            }
            Line::Created { volume } => {
                if let Some(entry) = self.entries.get_mut(&volume) {
                    entry.created = true;
                }
            }
            Line::Ended { volume, how } => {
                if let Some(entry) = self.entries.get_mut(&volume) {
                    entry.ended = Some(how);
                }
            }
        }
    }

    fn write(&mut self, line: &Line) -> Result<(), JournalError> {
        let failed = |error| JournalError::Io(self.path.display().to_string(), error);
        let mut bytes = serde_json::to_vec(line).map_err(|error| failed(error.into()))?;
        bytes.push(b'\n');
        self.file.write_all(&bytes).and_then(|()| self.file.sync_data()).map_err(failed)
    }

    /// Writes down that this volume is about to be replaced.
    pub(crate) fn replace(&mut self, record: Record) -> Result<(), JournalError> {
        let line = Line::Replace(Box::new(record));
        self.write(&line)?;
        self.take(line);
        Ok(())
    }

    /// Writes down that the volume is created anew.
    pub(crate) fn created(&mut self, volume: &str) -> Result<(), JournalError> {
        let line = Line::Created { volume: volume.to_owned() };
        self.write(&line)?;
        self.take(line);
        Ok(())
    }

    /// Writes down how it ended.
    pub(crate) fn ended(&mut self, volume: &str, how: Ended) -> Result<(), JournalError> {
        let line = Line::Ended { volume: volume.to_owned(), how };
        self.write(&line)?;
        self.take(line);
        Ok(())
    }

    /// The name of all runs with this file.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A volume's last event.
    pub(crate) fn entry(&self, volume: &str) -> Option<&Entry> {
        self.entries.get(volume)
    }

    /// The volumes that are on their way.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        self.named(|entry| entry.ended.is_none())
    }

    /// The volumes that were converted with this file.
    pub(crate) fn converted(&self) -> Vec<String> {
        self.named(Entry::is_converted)
    }

    fn named(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<String> {
        self.entries.iter().filter(|(_, entry)| wanted(entry)).map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests;
