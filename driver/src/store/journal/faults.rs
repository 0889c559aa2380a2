//! The journal on a disk that fails at each of its operations, and loses its power after each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

use super::disk::DiskFile;
use super::*;

/// Part of a file may reach the disk without a sync: in these units.
const PAGE: usize = 64;

/// A file: what programs see, and what a power cut leaves.
#[derive(Debug, Clone, Default)]
struct Content {
    seen: Vec<u8>,
    synced: Vec<u8>,
    /// Up to here it has space set aside.
    owned: usize,
}

#[derive(Debug, Default)]
pub(super) struct World {
    files: Vec<Content>,
    /// Numbers of files by name: as programs see them, and on the disk.
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    operations: usize,
    fault: Option<Fault>,
    /// Bytes for all files that have a name; none: endless.
    pub(super) size: Option<usize>,
}

/// What fails, and how.
#[derive(Debug, Clone, Copy)]
struct Fault {
    at: usize,
    /// How many operations fail in a row.
    count: usize,
    code: Errno,
}

#[derive(Debug, Clone, Default)]
pub(super) struct SimDisk(Arc<Mutex<World>>);

#[derive(Debug)]
pub(super) struct SimFile(SimDisk, usize);

/// What of the unsynced pages a power cut leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    Everything,
    EvenPages,
    OddPages,
}

impl World {
    /// Counts an operation; an error if it is one that fails.
    fn step(&mut self) -> io::Result<()> {
        self.operations += 1;
        match self.fault {
            Some(fault) if (fault.at..fault.at + fault.count).contains(&self.operations) => {
                Err(fault.code.into())
            }
            _ => Ok(()),
        }
    }

    /// Bytes that the files have of the disk, if this one has so many.
    pub(super) fn used(&self, file: usize, length: usize) -> usize {
        let taken = |number: &usize| match &self.files[*number] {
            content if *number == file => content.owned.max(content.seen.len()).max(length),
            content => content.owned.max(content.seen.len()),
        };
        self.names.values().map(taken).sum()
    }

    /// How many operations there were.
    pub(super) fn operations(&self) -> usize {
        self.operations
    }

    /// How long a file is, and up to where it has space set aside.
    pub(super) fn owned(&self, name: &str) -> (usize, usize) {
        let content = &self.files[self.names[name]];
        (content.seen.len(), content.owned)
    }

    fn has_room(&self, file: usize, length: usize) -> bool {
        self.size.is_none_or(|size| self.used(file, length) <= size)
    }

    fn open(&mut self, name: &str) -> usize {
        let next = self.files.len();
        let number = *self.names.entry(name.to_owned()).or_insert(next);
        if number == next {
            self.files.push(Content::default());
        }
        number
    }
}

impl SimDisk {
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn fail_next(&self) {
        self.fail(1);
    }

    /// The next operations fail, so many of them.
    pub(super) fn fail(&self, count: usize) {
        self.with(|world| world.fault = Some(Fault { at: world.operations + 1, count, code: Errno::IO }));
    }

    pub(super) fn healed(&self) -> Self {
        self.with(|world| world.fault = None);
        self.clone()
    }

    /// The disk after a power cut; the names that were not synced are there or not.
    fn after_power_cut(&self, left: Left, is_named: bool) -> Self {
        self.with(|world| {
            let files: Vec<Content> = world.files.iter().map(|file| cut(file, left)).collect();
            let names = if is_named { world.names.clone() } else { world.synced_names.clone() };
            let synced_names = names.clone();
            Self(Arc::new(Mutex::new(World { files, names, synced_names, ..World::default() })))
        })
    }
}

fn cut(file: &Content, left: Left) -> Content {
    let mut bytes = file.synced.clone();
    if left != Left::Nothing {
        bytes.resize(file.seen.len(), 0);
        for (number, page) in bytes.chunks_mut(PAGE).enumerate() {
            let seen = &file.seen[number * PAGE..number * PAGE + page.len()];
            if left == Left::Everything || (number % 2 == 0) == (left == Left::EvenPages) {
                page.copy_from_slice(seen);
            }
        }
    }
    Content { seen: bytes.clone(), synced: bytes, owned: 0 }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn open(&self, name: &str) -> io::Result<SimFile> {
        self.with(|world| world.step().map(|()| SimFile(self.clone(), world.open(name))))
    }

    fn open_empty(&self, name: &str) -> io::Result<SimFile> {
        let file = self.open(name)?;
        self.with(|world| {
            world.files[file.1] = Content { synced: world.files[file.1].synced.clone(), ..Content::default() }
        });
        Ok(file)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.with(|world| {
            world.step()?;
            let number = world.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            world.names.insert(to.to_owned(), number);
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.with(|world| {
            world.step()?;
            world.names.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    fn sync_names(&self) -> io::Result<()> {
        self.with(|world| {
            world.step()?;
            world.synced_names = world.names.clone();
            Ok(())
        })
    }
}

impl SimFile {
    fn with<T>(&self, work: impl FnOnce(&mut Content) -> T) -> io::Result<T> {
        self.0.with(|world| world.step().map(|()| work(&mut world.files[self.1])))
    }
}

impl DiskFile for SimFile {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        self.with(|file| file.seen.clone())
    }

    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let at = usize::try_from(at).unwrap();
        let room = |world: &mut World| {
            if world.has_room(self.1, at + bytes.len()) { Ok(()) } else { Err(Errno::NOSPC.into()) }
        };
        let outcome = self.with(|_| ()).and_then(|()| self.0.with(room));
        // Half of it is written before the error.
        let written = if outcome.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        self.0.with(|world| {
            let seen = &mut world.files[self.1].seen;
            seen.resize(seen.len().max(at + written.len()), 0);
            seen[at..at + written.len()].copy_from_slice(written);
        });
        outcome
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.with(|file| {
            file.seen.truncate(usize::try_from(length).unwrap());
            file.owned = file.seen.len();
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|file| file.synced = file.seen.clone())
    }

    fn reserve(&self, from: u64, length: u64) -> io::Result<bool> {
        let end = usize::try_from(from + length).unwrap();
        self.0.with(|world| {
            world.step()?;
            if !world.has_room(self.1, end) {
                return Err(Errno::NOSPC.into());
            }
            world.files[self.1].owned = end;
            Ok(true)
        })
    }
}

pub(super) fn gone(id: &str) -> Change {
    Change::NoVolume(id.to_owned())
}

/// What callers were told.
#[derive(Debug, Default)]
struct Told {
    acknowledged: BTreeSet<String>,
    /// Refused, and certainly not in force.
    undone: BTreeSet<String>,
    rewritten: bool,
}

/// Commits of different sizes, and a rewrite between them. `size` makes the journal large enough for it.
fn scenario(disk: &SimDisk, size: usize) -> Told {
    let mut told = Told::default();
    let Ok((journal, _)) = Journal::on(disk.clone()) else { return told };
    // The large one is dead when the journal is rewritten.
    let large = "x".repeat(size);
    for (number, name) in ["a", "bb", &large, "c", "rewrite", "d", "ee", "f"].into_iter().enumerate() {
        if name == "rewrite" {
            let alive = || told.acknowledged.iter().filter(|id| **id != large).map(|id| gone(id)).collect();
            told.rewritten = journal.rewrite_if_large(alive).unwrap_or(false);
            continue;
        }
        let purpose = if number % 2 == 0 { Purpose::Take } else { Purpose::LetGo };
        // More than a page, so that a cut can tear it.
        let id = if name.len() > 2 { name.to_owned() } else { format!("{name}-{}", "-".repeat(150)) };
        match journal.commit(&[gone(&id)], purpose) {
            Ok(()) => _ = told.acknowledged.insert(id),
            Err(error) if error.is_undone => _ = told.undone.insert(id),
            Err(_) => {}
        }
    }
    told.acknowledged.remove(&large);
    told.undone.remove(&large);
    told
}

/// Opens what is left, and compares it with what was told. Refused commits may come back only if that was
/// said.
fn check(left: &SimDisk, told: &Told, context: &str) {
    let opened = Journal::on(left.clone());
    let (_, changes) = opened.unwrap_or_else(|error| panic!("{context}: {error}"));
    let found: BTreeSet<String> = changes
        .into_iter()
        .map(|change| match change {
            Change::NoVolume(id) => id,
            other => panic!("{context}: {other:?}"),
        })
        .collect();
    let lost: Vec<_> = told.acknowledged.difference(&found).collect();
    assert!(lost.is_empty(), "{context}: lost {lost:?}");
    let returned: Vec<_> = told.undone.intersection(&found).collect();
    assert!(returned.is_empty(), "{context}: refused, and back again: {returned:?}");
}

fn power_cuts(disk: &SimDisk, told: &Told, context: &str) {
    for left in [Left::Nothing, Left::Everything, Left::EvenPages, Left::OddPages] {
        for is_named in [false, true] {
            let after = disk.after_power_cut(left, is_named);
            check(&after, told, &format!("{context}, power cut {left:?}, named {is_named}"));
        }
    }
}

pub(super) const LARGE: usize = 1100 * 1024;

#[test]
fn no_fault_of_the_disk_loses_an_acknowledged_commit() {
    let quiet = SimDisk::default();
    assert!(scenario(&quiet, LARGE).rewritten, "the scenario rewrites the journal");
    let operations = quiet.with(|world| world.operations);
    let mut faults = 0;
    for at in 1..=operations {
        for code in [Errno::IO, Errno::NOSPC] {
            for count in [1, 2, usize::MAX - operations] {
                let disk = SimDisk::default();
                disk.with(|world| world.fault = Some(Fault { at, count, code }));
                let told = scenario(&disk, LARGE);
                let context = format!("{code:?} at {at}, {count} times");
                power_cuts(&disk, &told, &context);
                check(&disk.healed(), &told, &format!("{context}, kill"));
                faults += 1;
            }
        }
    }
    println!("{faults} faults at {operations} operations, each with 8 power cuts and a kill");
    assert!(operations > 20, "{operations}");
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_acknowledged() {
    let quiet = SimDisk::default();
    scenario(&quiet, LARGE);
    let operations = quiet.with(|world| world.operations);
    for at in 1..=operations {
        // From here on the disk does nothing more: whatever is told after that is told to nobody.
        let disk = SimDisk::default();
        disk.with(|world| world.fault = Some(Fault { at, count: usize::MAX - at, code: Errno::IO }));
        let mut told = scenario(&disk, LARGE);
        told.undone.clear();
        power_cuts(&disk, &told, &format!("stopped at {at}"));
    }
}

#[test]
fn a_rewrite_does_not_keep_the_rest_of_an_earlier_attempt() {
    let disk = SimDisk::default();
    let (journal, _) = Journal::on(disk.clone()).unwrap();
    journal.commit(&[gone(&"x".repeat(LARGE))], Purpose::Take).unwrap();
    // An attempt whose temporary file could not be removed.
    disk.with(|world| {
        let file = world.open(TEMPORARY);
        world.files[file].seen = format::batch(&format::changes(&[gone("rest")]).unwrap()).repeat(100);
    });
    assert!(journal.rewrite_if_large(|| vec![gone("alive")]).unwrap());
    let (_, changes) = Journal::on(disk).unwrap();
    assert_eq!(changes, [gone("alive")]);
}

#[test]
fn commits_after_an_unsynced_rewrite_are_in_the_new_file() {
    let disk = SimDisk::default();
    let (journal, _) = Journal::on(disk.clone()).unwrap();
    journal.commit(&[gone(&"x".repeat(LARGE))], Purpose::Take).unwrap();
    // Open, write, reserve, sync, rename, and then the sync of the names.
    let at = disk.with(|world| world.operations) + 6;
    disk.with(|world| world.fault = Some(Fault { at, count: 2, code: Errno::IO }));
    assert!(journal.rewrite_if_large(|| vec![gone("alive")]).is_err());
    let refused = journal.commit(&[gone("early")], Purpose::Take).unwrap_err();
    assert!(refused.is_undone, "nothing is acknowledged before the name is on the disk");
    journal.commit(&[gone("late")], Purpose::Take).unwrap();
    let (_, changes) = Journal::on(disk.after_power_cut(Left::Nothing, false)).unwrap();
    assert_eq!(changes, [gone("alive"), gone("late")]);
}

#[test]
fn a_batch_is_read_whole_or_not_at_all() {
    let inside = |id: &str| format::changes(&[gone(&id.repeat(150))]).unwrap();
    for left in [Left::Nothing, Left::Everything, Left::EvenPages, Left::OddPages] {
        let disk = SimDisk::default();
        let file = disk.open(FILE).unwrap();
        disk.sync_names().unwrap();
        let mut tail = Tail::new(Arc::new(disk.clone()), file, 0, true);
        assert!(tail.append_both(&inside("a"), &[]).iter().all(Result::is_ok));
        // The power goes while the batch of two commits is written: its sync never comes.
        let at = disk.with(|world| world.operations) + 2;
        disk.with(|world| world.fault = Some(Fault { at, count: 10, code: Errno::IO }));
        assert!(tail.append_both(&inside("b"), &inside("c")).iter().any(Result::is_err));
        let opened = Journal::on(disk.after_power_cut(left, true));
        let (_, changes) = opened.unwrap_or_else(|error| panic!("{left:?}: {error}"));
        assert!([1, 3].contains(&changes.len()), "{left:?}: {} changes", changes.len());
    }
}
