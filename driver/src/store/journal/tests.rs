use super::faults::SimDisk;
use super::*;

fn gone(id: &str) -> Change {
    Change::NoVolume(id.to_owned())
}

#[test]
fn committed_changes_come_back_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, changes) = Journal::open(folder.path()).unwrap();
    assert!(changes.is_empty());
    journal.commit(&[gone("a"), gone("b")], Purpose::Take).unwrap();
    journal.commit(&[gone("c")], Purpose::Take).unwrap();
    drop(journal);
    let (_, changes) = Journal::open(folder.path()).unwrap();
    assert_eq!(changes, [gone("a"), gone("b"), gone("c")]);
}

#[test]
fn a_cut_at_any_byte_loses_only_the_unacknowledged_line() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(folder.path()).unwrap();
    journal.commit(&[gone("kept")], Purpose::Take).unwrap();
    let kept = std::fs::metadata(folder.path().join(FILE)).unwrap().len();
    journal.commit(&[gone("torn-1"), gone("torn-2")], Purpose::Take).unwrap();
    drop(journal);
    let whole = std::fs::read(folder.path().join(FILE)).unwrap();
    for cut in usize::try_from(kept).unwrap()..whole.len() {
        std::fs::write(folder.path().join(FILE), &whole[..cut]).unwrap();
        let (journal, changes) = Journal::open(folder.path()).unwrap();
        assert_eq!(changes, [gone("kept")], "cut at {cut}");
        journal.commit(&[gone("next")], Purpose::Take).unwrap();
        let (_, changes) = Journal::open(folder.path()).unwrap();
        assert_eq!(changes, [gone("kept"), gone("next")], "cut at {cut}");
    }
}

#[test]
fn damage_inside_a_line_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(folder.path()).unwrap();
    journal.commit(&[gone("kept")], Purpose::Take).unwrap();
    journal.commit(&[gone("damaged")], Purpose::Take).unwrap();
    let path = folder.path().join(FILE);
    let text = std::fs::read_to_string(&path).unwrap().replace("damaged", "dXmaged");
    std::fs::write(&path, text).unwrap();
    let (journal, changes) = Journal::open(folder.path()).unwrap();
    assert_eq!(changes, [gone("kept")]);
    journal.commit(&[gone("last")], Purpose::Take).unwrap();
    let text = std::fs::read_to_string(&path).unwrap().replace("kept", "kXpt");
    std::fs::write(&path, text).unwrap();
    let error = Journal::open(folder.path()).unwrap_err().to_string();
    // Behind the line with the version.
    assert!(error.contains("damaged at byte 31"), "{error}");
}

#[test]
fn concurrent_commits_are_all_there() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(folder.path()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let journal = &journal;
            scope.spawn(move || {
                for n in 0..20 {
                    journal.commit(&[gone(&format!("{thread}-{n}"))], Purpose::Take).unwrap();
                }
            });
        }
    });
    let (_, changes) = Journal::open(folder.path()).unwrap();
    assert_eq!(changes.len(), 320);
}

#[test]
fn a_rewrite_keeps_what_is_alive_and_further_commits() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(folder.path()).unwrap();
    assert!(!journal.rewrite_if_large(Vec::new).unwrap(), "too small to bother");
    journal.commit(&[gone(&"x".repeat(2 << 20))], Purpose::Take).unwrap();
    assert!(journal.rewrite_if_large(|| vec![gone("alive")]).unwrap());
    journal.commit(&[gone("after")], Purpose::Take).unwrap();
    let (_, changes) = Journal::open(folder.path()).unwrap();
    assert_eq!(changes, [gone("alive"), gone("after")]);
}

#[test]
fn a_torn_line_is_cut_off_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(folder.path()).unwrap();
    journal.commit(&[gone("kept")], Purpose::Take).unwrap();
    drop(journal);
    let path = folder.path().join(FILE);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&whole, &b"torn"[..]].concat()).unwrap();
    assert_eq!(read(&path).unwrap(), [gone("kept")], "one that only reads changes nothing");
    assert_eq!(changes_in(&std::fs::read(&path).unwrap()).unwrap(), (vec![gone("kept")], whole.len()));
    Journal::open(folder.path()).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), whole);
}

/// Its changes are in one batch while the first one's are written.
#[test]
fn each_commit_of_a_batch_learns_its_own_outcome() {
    let disk = SimDisk::default();
    let (journal, _) = Journal::on(disk.clone()).unwrap();
    journal.commit(&[gone("first")], Purpose::Take).unwrap();
    let tail = journal.lock().file.take().unwrap();
    std::thread::scope(|scope| {
        let commits = ["a", "b", "c", "d"].map(|id| {
            let purpose = if id < "c" { Purpose::LetGo } else { Purpose::Take };
            let journal = &journal;
            scope.spawn(move || journal.commit(&[gone(id)], purpose).is_ok())
        });
        let waiting = || {
            let queue = journal.lock();
            queue.letting_go.commits + queue.taking.commits
        };
        while waiting() < commits.len() && !commits.iter().any(|commit| commit.is_finished()) {
            std::thread::yield_now();
        }
        disk.fail_next();
        drop(journal.write(journal.lock(), tail));
        assert_eq!(commits.map(|commit| commit.join().unwrap()), [true, true, false, false]);
    });
    assert!(journal.lock().failed.is_empty(), "all have looked");
    let (_, changes) = Journal::on(disk).unwrap();
    assert!(
        changes.len() == 3 && changes.contains(&gone("a")) && changes.contains(&gone("b")),
        "{changes:?}"
    );
}

#[test]
fn a_commit_by_itself_is_one_batch() {
    let (journal, _) = Journal::on(SimDisk::default()).unwrap();
    for batches in 1..=3 {
        journal.commit(&[gone("a")], Purpose::Take).unwrap();
        let queue = journal.lock();
        assert_eq!((queue.batch, queue.decided), (1 + batches, 1 + batches));
    }
}

#[test]
fn a_journal_that_is_mostly_alive_is_not_rewritten() {
    let (journal, _) = Journal::on(SimDisk::default()).unwrap();
    let grow = |kib: usize| journal.commit(&[gone(&"x".repeat(kib << 10))], Purpose::Take).unwrap();
    let alive = || vec![gone(&"y".repeat(300 << 10))];
    grow(1000);
    assert!(!journal.is_large() && !journal.rewrite_if_large(Vec::new).unwrap(), "less than a mebibyte");
    grow(100);
    assert!(journal.is_large());
    assert!(!journal.rewrite_if_large(alive).unwrap(), "less than four times what is alive");
    assert!(!journal.is_large(), "not looked at again before it is");
    grow(90);
    assert!(!journal.is_large());
    grow(20);
    assert!(journal.is_large());
    assert!(journal.rewrite_if_large(alive).unwrap());
    assert!(!journal.is_large() && !journal.rewrite_if_large(alive).unwrap());
}

#[test]
fn a_rewrite_that_failed_is_tried_again_after_growth() {
    let disk = SimDisk::default();
    let (journal, _) = Journal::on(disk.clone()).unwrap();
    let grow = |kib: usize| journal.commit(&[gone(&"x".repeat(kib << 10))], Purpose::Take).unwrap();
    grow(1100);
    disk.fail_next();
    journal.rewrite_if_large(Vec::new).unwrap_err();
    grow(250);
    assert!(!journal.is_large());
    grow(10);
    assert!(journal.is_large() && journal.rewrite_if_large(Vec::new).unwrap());
}
