//! The undo file: what every volume was, and how far its replacement has come.
//!
//! One line of JSON for each event, written through to the disk before what it announces is done. Whoever opens the file
//! again knows which volumes are replaced, and which are on their way. A line that a crash cut off announces nothing that
//! was done. The file is locked while it is open.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::record::{Direction, Ended, Record};

/// The format of the file.
const VERSION: u32 = 3;

/// How a file of ours begins, whatever its version.
const BEGINNING: &[u8] = b"{\"begin\":{\"version\":";

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
    #[error("undo file {0}: line {1}: this is no undo file of mooring migrate: give another name ({2})")]
    Foreign(String, usize, String),
    /// Another release has written it.
    #[error(
        "undo file {0}: another release of mooring has written it (format {1}): finish or undo with that release"
    )]
    OtherRelease(String, u32),
    /// It is of another cluster.
    #[error("undo file {0}: it is of {1}, and this is {2}")]
    OtherCluster(String, ClusterId, ClusterId),
    /// There is none.
    #[error("undo file {0}: there is no such file")]
    Missing(String),
    /// There is nothing in it.
    #[error("undo file {0}: it is empty: no volume was converted with it")]
    Empty(String),
}

/// Which cluster it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClusterId {
    /// The uid of its namespace kube-system.
    uid: String,
    /// The API server's address, by which people know it.
    server: String,
}

impl ClusterId {
    pub(crate) fn new(uid: &str, server: &str) -> Self {
        Self { uid: uid.to_owned(), server: server.to_owned() }
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the cluster at {} (uid of kube-system: {})", self.server, self.uid)
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    /// The first line. `id` is that of all runs with this file.
    Begin {
        version: u32,
        id: String,
        #[serde(default)]
        cluster: ClusterId,
    },
    /// A run begins to change things. The cluster knows the last run: a copy of the file that lacks it may lack more.
    Run { name: String },
    /// The volume is about to be replaced.
    Replace(Box<Record>),
    /// The object is about to be deleted.
    Deleting {
        volume: String,
        #[serde(flatten)]
        deleting: Deleting,
    },
    /// Others have changed it since it was deleted: the volume as it was when its finalizers came off.
    Seen(Box<Record>),
    /// The API server refuses the new volume with these words, so the old one is created again; without: it refuses that too.
    Unfit { volume: String, why: Option<String> },
    /// It was not: the API server has refused.
    Spared { volume: String },
    /// The volume is created anew, with this uid.
    Created { volume: String, uid: String },
    /// It is done.
    Ended { volume: String, how: Ended },
}

/// The object that we delete. Nobody else's deletion is taken for ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deleting {
    pub(crate) uid: String,
    /// The reclaim policy before, if we hold it at Retain.
    pub(crate) retained: Option<String>,
}

/// A volume's last event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VolumeState {
    pub(crate) record: Record,
    /// What we have deleted, or are about to.
    pub(crate) deleting: Option<Deleting>,
    /// The uid of the volume that we have created.
    pub(crate) created: Option<String>,
    /// Why the API server refuses the new volume.
    pub(crate) unfit: Option<String>,
    pub(crate) ended: Option<Ended>,
}

impl VolumeState {
    fn new(record: Record) -> Self {
        Self { record, deleting: None, created: None, unfit: None, ended: None }
    }

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
    /// The names of all runs that have changed things.
    runs: Vec<String>,
    entries: BTreeMap<String, VolumeState>,
}

impl Journal {
    /// Opens the file, or begins it under the name `id`.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub(crate) fn open(path: &Path, id: &str, cluster: &ClusterId) -> Result<Self, JournalError> {
        let mut journal = Self::locked(path, true)?;
        journal.read(cluster)?;
        if journal.id.is_empty() {
            let failed = |error| JournalError::Io(path.display().to_string(), error);
            // It has no secrets, but nobody else may say what is to be undone. Some file systems have no modes.
            let _ = journal.file.set_permissions(PermissionsExt::from_mode(0o600));
            id.clone_into(&mut journal.id);
            journal.write(&Line::Begin { version: VERSION, id: id.to_owned(), cluster: cluster.clone() })?;
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
    pub(crate) fn open_existing(path: &Path, cluster: &ClusterId) -> Result<Self, JournalError> {
        let mut journal = Self::locked(path, false)?;
        journal.read(cluster)?;
        match journal.id.is_empty() {
            true => Err(JournalError::Empty(path.display().to_string())),
            false => Ok(journal),
        }
    }

    fn locked(path: &Path, create: bool) -> Result<Self, JournalError> {
        let name = || path.display().to_string();
        let mut options = File::options();
        options.read(true).append(true).create(create);
        // Each line is on the disk before its write comes back.
        options.custom_flags(OFlags::DSYNC.bits().cast_signed());
        let file = match options.open(path) {
            Err(error) if !create && error.kind() == io::ErrorKind::NotFound => {
                return Err(JournalError::Missing(name()));
            }
            opened => opened.map_err(|error| JournalError::Io(name(), error))?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::Locked(name())),
            Err(TryLockError::Error(error)) => return Err(JournalError::Io(name(), error)),
        }
        let (path, id) = (path.to_owned(), String::new());
        Ok(Self { file, path, id, runs: Vec::new(), entries: BTreeMap::new() })
    }

    /// Reads what there is. Only once it is known to be ours and of this cluster, a last line that has no end is cut off.
    fn read(&mut self, here: &ClusterId) -> Result<(), JournalError> {
        let name = self.path.display().to_string();
        let failed = |error| JournalError::Io(name.clone(), error);
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes).map_err(failed)?;
        let common = bytes.len().min(BEGINNING.len());
        if bytes.get(..common) != BEGINNING.get(..common) {
            return Err(JournalError::Foreign(name, 1, "it has no beginning".to_owned()));
        }
        let all = bytes.len();
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        bytes.truncate(whole);
        for (index, line) in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).enumerate() {
            let foreign = |why: String| JournalError::Foreign(name.clone(), index + 1, why);
            let line = serde_json::from_slice(line).map_err(|error| foreign(error.to_string()))?;
            match (line, index) {
                (Line::Begin { version: VERSION, cluster, .. }, 0) if cluster.uid != here.uid => {
                    return Err(JournalError::OtherCluster(name, cluster, here.clone()));
                }
                (Line::Begin { version: VERSION, id, .. }, 0) => self.id = id,
                (Line::Begin { version, .. }, 0) => return Err(JournalError::OtherRelease(name, version)),
                (line, index) if index > 0 => self.take(line),
                _ => return Err(foreign("it has no beginning".to_owned())),
            }
        }
        if whole < all {
            self.file.set_len(whole as u64).map_err(failed)?;
        }
        self.file.rewind().map_err(failed)
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Begin { .. } => {}
            Line::Run { name } => self.runs.push(name),
            Line::Replace(record) => {
                self.entries.insert(record.name().to_owned(), VolumeState::new(*record));
            }
            Line::Deleting { volume, deleting } => self.of(&volume, |entry| {
                (entry.deleting, entry.created, entry.unfit) = (Some(deleting), None, None);
            }),
            Line::Seen(record) => {
                let name = record.name().to_owned();
                self.of(&name, |entry| entry.record = *record);
            }
            Line::Unfit { volume, why } => self.of(&volume, |entry| entry.unfit = why),
            // The old object is there: what was created is not, perhaps since etcd was restored.
            Line::Spared { volume } => {
                self.of(&volume, |entry| (entry.deleting, entry.created) = (None, None))
            }
            Line::Created { volume, uid } => self.of(&volume, |entry| entry.created = Some(uid)),
            Line::Ended { volume, how } => self.of(&volume, |entry| entry.ended = Some(how)),
        }
    }

    fn of(&mut self, volume: &str, change: impl FnOnce(&mut VolumeState)) {
        if let Some(entry) = self.entries.get_mut(volume) {
            change(entry);
        }
    }

    fn write(&mut self, line: &Line) -> Result<(), JournalError> {
        let failed = |error| JournalError::Io(self.path.display().to_string(), error);
        let mut bytes = serde_json::to_vec(line).map_err(|error| failed(error.into()))?;
        bytes.push(b'\n');
        self.file.write_all(&bytes).map_err(failed)
    }

    fn note(&mut self, line: Line) -> Result<(), JournalError> {
        self.write(&line)?;
        self.take(line);
        Ok(())
    }

    /// Writes down that a run of this name, which no other has, begins to change things.
    pub(crate) fn run(&mut self, name: &str) -> Result<(), JournalError> {
        self.note(Line::Run { name: name.to_owned() })
    }

    /// Writes down that this volume is about to be replaced.
    pub(crate) fn replace(&mut self, record: Record) -> Result<(), JournalError> {
        self.note(Line::Replace(Box::new(record)))
    }

    /// Writes down that we are about to delete this object.
    pub(crate) fn deleting(&mut self, volume: &str, deleting: Deleting) -> Result<(), JournalError> {
        self.note(Line::Deleting { volume: volume.to_owned(), deleting })
    }

    /// Writes down the volume that we have deleted as it was at its end.
    pub(crate) fn seen(&mut self, record: Record) -> Result<(), JournalError> {
        self.note(Line::Seen(Box::new(record)))
    }

    /// Writes down why the API server refuses the new volume; `None`: it refuses the old one too.
    pub(crate) fn unfit(&mut self, volume: &str, why: Option<&str>) -> Result<(), JournalError> {
        self.note(Line::Unfit { volume: volume.to_owned(), why: why.map(str::to_owned) })
    }

    /// Writes down that we have not deleted it.
    pub(crate) fn spared(&mut self, volume: &str) -> Result<(), JournalError> {
        self.note(Line::Spared { volume: volume.to_owned() })
    }

    /// Writes down that the volume is created anew.
    pub(crate) fn created(&mut self, volume: &str, uid: &str) -> Result<(), JournalError> {
        self.note(Line::Created { volume: volume.to_owned(), uid: uid.to_owned() })
    }

    /// Writes down how it ended.
    pub(crate) fn ended(&mut self, volume: &str, how: Ended) -> Result<(), JournalError> {
        self.note(Line::Ended { volume: volume.to_owned(), how })
    }

    /// The name of all runs with this file.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The names of all runs, the last one at the end.
    pub(crate) fn runs(&self) -> &[String] {
        &self.runs
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A volume's last event.
    pub(crate) fn entry(&self, volume: &str) -> Option<&VolumeState> {
        self.entries.get(volume)
    }

    /// The volumes that are on their way.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        self.named(|entry| entry.ended.is_none())
    }

    /// The volumes that were converted with this file.
    pub(crate) fn converted(&self) -> Vec<String> {
        self.named(VolumeState::is_converted)
    }

    fn named(&self, wanted: impl Fn(&VolumeState) -> bool) -> Vec<String> {
        self.entries.iter().filter(|(_, entry)| wanted(entry)).map(|(name, _)| name.clone()).collect()
    }
}

/// A name that no other run has.
pub(crate) fn unique() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", now.as_nanos(), std::process::id())
}

#[cfg(test)]
mod tests;
