//! The state file: a journal of changes that survives a kill at any byte.
//!
//! One line per commit: a checksum of 16 hex digits, a space, a JSON array of [`Change`]s. A commit is
//! acknowledged only after its line is on the disk (fdatasync). Commits of concurrent operations share
//! one write and one sync: whoever comes first writes for all that wait by then, so the rate is not
//! bound to the disk's sync latency.
//!
//! Reading stops at the first line that is torn or damaged; such a line was never acknowledged. A write
//! that fails (disk full) is undone by cutting the file back, its commits are refused, and nothing
//! before it is touched.
//!
//! Users' data shares the disk with this file, and a full disk must not keep volumes from being unmounted
//! and deleted. So the file owns some space beyond its end, which only commits that let go of something
//! ([`Purpose::LetGo`]) may use: others are refused when that space cannot be kept ahead of them.
//!
//! When the file has grown to several times what is alive it is written anew: temporary file, sync,
//! rename.
//!
//! Differs: the Go driver rewrites a whole `state.json` at each change, in place, so that a crash there
//! loses everything and 10,000 volumes cost 10,000 records a change.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use super::record::Change;

/// File name inside the state folder.
pub const FILE: &str = "state.journal";
const TEMPORARY: &str = "state.journal.new";
/// The journal is rewritten when it is this many bytes and four times what a rewrite would leave.
const MIN_REWRITE: u64 = 1024 * 1024;

/// Space kept beyond the end of the file, in bytes: thousands of removals.
const SPARE: u64 = 256 * 1024;

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
pub struct Journal {
    folder: PathBuf,
    queue: Mutex<Queue>,
    done: Condvar,
}

#[derive(Debug)]
struct Queue {
    /// The file; away while somebody writes.
    file: Option<Tail>,
    /// Lines that nobody writes yet, of commits that let go and of those that take.
    letting_go: Lines,
    taking: Lines,
    /// Number of the batch that these lines will be.
    batch: u64,
    /// All batches below this are decided.
    decided: u64,
    /// What failed, until all its waiters have looked.
    failed: Vec<Failed>,
}

/// Lines to be written together.
#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    commits: usize,
}

/// The part of a batch that could not be written.
#[derive(Debug)]
struct Failed {
    batch: u64,
    purpose: Purpose,
    kind: io::ErrorKind,
    code: Option<i32>,
    waiters: usize,
}

/// The file and where its valid part ends.
#[derive(Debug)]
struct Tail {
    file: File,
    end: u64,
    /// Up to here the disk has space set aside for it.
    owned: u64,
    /// Do not consider a rewrite before this size.
    next_look: u64,
}

impl Journal {
    /// Opens the journal in `folder` and returns it with the changes it holds, in order. A missing file
    /// is an empty one.
    ///
    /// # Errors
    /// The system's, when the file cannot be made, read or cut behind its last whole line.
    pub fn open(folder: &Path) -> io::Result<(Self, Vec<Change>)> {
        // Left by a kill during a rewrite; the journal itself is still whole.
        let _ = std::fs::remove_file(folder.join(TEMPORARY));
        let mut file = open_file(&folder.join(FILE))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (changes, end) = parse(&bytes);
        let rest = bytes.get(end..).unwrap_or_default();
        if rest.split_inclusive(|byte| *byte == b'\n').any(|line| parse_line(line).is_some()) {
            // Cutting here would drop acknowledged changes: that is for a human to decide.
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{}: damaged at byte {end}, with good lines behind", folder.join(FILE).display()),
            ));
        }
        if end < bytes.len() {
            base::warn!("The last change was cut off and never acknowledged: dropped";
                "file" => folder.join(FILE).display(), "bytes" => bytes.len() - end);
        }
        if end < bytes.len() {
            file.set_len(end as u64)?;
        }
        sync_folder(folder)?;
        let mut tail = Tail { file, end: end as u64, owned: end as u64, next_look: 0 };
        if let Err(error) = tail.own(0) {
            base::warn!("The disk is full: nothing can be made until there is space"; "err" => error);
        }
        let queue = Queue {
            file: Some(tail),
            letting_go: Lines::default(),
            taking: Lines::default(),
            batch: 1,
            decided: 1,
            failed: Vec::new(),
        };
        let journal = Self { folder: folder.to_owned(), queue: Mutex::new(queue), done: Condvar::new() };
        Ok((journal, changes))
    }

    /// Writes changes that belong together, and waits until they are on the disk.
    ///
    /// # Errors
    /// The system's; then none of the changes is in force, now or after a restart.
    pub fn commit(&self, changes: &[Change], purpose: Purpose) -> io::Result<()> {
        let line = line(changes)?;
        let mut queue = self.lock();
        let batch = queue.batch;
        let lines = match purpose {
            Purpose::LetGo => &mut queue.letting_go,
            Purpose::Take => &mut queue.taking,
        };
        lines.bytes.extend_from_slice(&line);
        lines.commits += 1;
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
    fn write<'a>(&'a self, mut queue: MutexGuard<'a, Queue>, mut tail: Tail) -> MutexGuard<'a, Queue> {
        let batch = queue.batch;
        let letting_go = std::mem::take(&mut queue.letting_go);
        let taking = std::mem::take(&mut queue.taking);
        queue.batch += 1;
        drop(queue);
        let outcomes = tail.append_both(&letting_go.bytes, &taking.bytes);
        let mut queue = self.lock();
        queue.file = Some(tail);
        queue.decided = batch + 1;
        let parts = [(Purpose::LetGo, letting_go.commits), (Purpose::Take, taking.commits)];
        for ((purpose, waiters), outcome) in parts.into_iter().zip(outcomes) {
            if let (Err(error), true) = (outcome, waiters > 0) {
                let (kind, code) = (error.kind(), error.raw_os_error());
                queue.failed.push(Failed { batch, purpose, kind, code, waiters });
            }
        }
        self.done.notify_all();
        queue
    }

    /// Whether [`Self::rewrite_if_large`] might have something to do.
    pub fn is_large(&self) -> bool {
        self.lock().file.as_ref().is_some_and(|tail| tail.end >= MIN_REWRITE && tail.end >= tail.next_look)
    }

    /// Writes the journal anew with only what is alive, if it has grown enough to be worth it. The caller
    /// sees to it that no commit is between its acknowledgement and `alive_lines`.
    ///
    /// # Errors
    /// The system's; the old file stays in force.
    pub fn rewrite_if_large(&self, alive_lines: impl FnOnce() -> Vec<Change>) -> io::Result<bool> {
        let mut queue = self.lock();
        let Some(tail) = queue.file.as_mut() else { return Ok(false) };
        if tail.end < MIN_REWRITE {
            return Ok(false);
        }
        let mut bytes = Vec::new();
        for change in alive_lines() {
            bytes.extend_from_slice(&line(std::slice::from_ref(&change))?);
        }
        if tail.end < 4 * bytes.len() as u64 {
            tail.next_look = 4 * bytes.len() as u64;
            return Ok(false);
        }
        let temporary = self.folder.join(TEMPORARY);
        let replace = || {
            let mut file = open_file(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&temporary, self.folder.join(FILE))?;
            sync_folder(&self.folder)?;
            let end = bytes.len() as u64;
            Ok(Tail { file, end, owned: end, next_look: 0 })
        };
        match replace() {
            Ok(tail) => {
                queue.file = Some(tail);
                Ok(true)
            }
            Err(error) => {
                let _ = std::fs::remove_file(&temporary);
                Err(error)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of a decided batch, for one of its waiters.
fn outcome(queue: &mut Queue, batch: u64, purpose: Purpose) -> io::Result<()> {
    let is_it = |failed: &Failed| failed.batch == batch && failed.purpose == purpose;
    let Some(index) = queue.failed.iter().position(is_it) else {
        return Ok(());
    };
    let Some(failed) = queue.failed.get_mut(index) else { return Ok(()) };
    let error = failed.code.map_or_else(|| io::Error::from(failed.kind), io::Error::from_raw_os_error);
    failed.waiters -= 1;
    if failed.waiters == 0 {
        queue.failed.swap_remove(index);
    }
    Err(error)
}

impl Tail {
    /// What lets go is written in any case; what takes only if the spare space can be kept.
    fn append_both(&mut self, letting_go: &[u8], taking: &[u8]) -> [io::Result<()>; 2] {
        let room = if taking.is_empty() { Ok(()) } else { self.own(letting_go.len() + taking.len()) };
        match room {
            Ok(()) => match self.append(&[letting_go, taking].concat()) {
                Ok(()) => [Ok(()), Ok(())],
                Err(error) => [self.append(letting_go), Err(error)],
            },
            Err(error) => [self.append(letting_go), Err(error)],
        }
    }

    /// Makes sure that the file owns space for so many bytes, and the spare space behind them.
    fn own(&mut self, more: usize) -> io::Result<()> {
        let needed = self.end + more as u64 + SPARE;
        if needed <= self.owned {
            return Ok(());
        }
        // In larger steps, so that most commits need none.
        let wanted = needed + SPARE;
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, self.end, wanted - self.end) {
            Ok(()) => self.owned = wanted,
            // A file system that cannot promise space.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.owned = u64::MAX,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// All bytes on the disk, or none of them in force.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        if bytes.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all_at(bytes, self.end).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.end += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Best effort: the next append overwrites the same place anyway. Cutting gives the space
                // beyond the end away.
                let _ = self.file.set_len(self.end);
                self.owned = self.owned.min(self.end);
                Err(error)
            }
        }
    }
}

/// The changes of a journal that is not in use, in order, without changing the file.
///
/// # Errors
/// The system's.
pub(crate) fn read(path: &Path) -> io::Result<Vec<Change>> {
    Ok(parse(&std::fs::read(path)?).0)
}

fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(File::from(rustix::fs::open(path, flags, Mode::from(0o600))?))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn line(changes: &[Change]) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(changes)?;
    let mut line = format!("{:016x} ", checksum(&json)).into_bytes();
    line.extend_from_slice(&json);
    line.push(b'\n');
    Ok(line)
}

/// The changes of all whole lines, and where the last of them ends.
fn parse(bytes: &[u8]) -> (Vec<Change>, usize) {
    let mut changes = Vec::new();
    let mut end = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(more) = parse_line(line) else { break };
        changes.extend(more);
        end += line.len();
    }
    (changes, end)
}

fn parse_line(line: &[u8]) -> Option<Vec<Change>> {
    let (sum, json) = line.strip_suffix(b"\n")?.split_at_checked(16)?;
    let json = json.strip_prefix(b" ")?;
    let sum = u64::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    if sum != checksum(json) {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// FNV-1a, 64 bits: enough to tell a torn line.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests;
