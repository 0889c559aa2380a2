//! The journal on a full disk: what lets go goes on.

use super::faults::{LARGE, SimDisk, gone};
use super::*;

fn open(disk: &SimDisk) -> Journal<SimDisk> {
    Journal::on(disk.clone()).unwrap().0
}

/// Users' data takes all that is left.
fn fill(disk: &SimDisk) {
    disk.with(|world| world.size = Some(world.used(usize::MAX, 0)));
}

fn assert_only_lets_go(journal: &Journal<SimDisk>) {
    let take = || journal.commit(&[gone(&"new".repeat(1000))], Purpose::Take);
    let refused = (0..1000).find_map(|_| take().err());
    assert!(refused.unwrap().is_undone);
    for number in 0..1000 {
        journal.commit(&[gone(&format!("volume-{number}"))], Purpose::LetGo).unwrap();
    }
}

#[test]
fn a_full_disk_lets_go_right_after_a_rewrite() {
    let disk = SimDisk::default();
    let journal = open(&disk);
    journal.commit(&[gone(&"x".repeat(LARGE))], Purpose::Take).unwrap();
    assert!(journal.rewrite_if_large(|| vec![gone("alive")]).unwrap());
    fill(&disk);
    assert_only_lets_go(&journal);
}

#[test]
fn a_rewrite_without_room_for_spare_space_keeps_the_old_file() {
    let disk = SimDisk::default();
    let journal = open(&disk);
    journal.commit(&[gone(&"x".repeat(LARGE))], Purpose::Take).unwrap();
    // Enough for the new file itself.
    disk.with(|world| world.size = Some(world.used(usize::MAX, 0) + 1000));
    assert!(journal.rewrite_if_large(|| vec![gone("alive")]).is_err());
    assert!(!journal.is_large(), "not tried again at each commit");
    fill(&disk);
    assert_only_lets_go(&journal);
}

#[test]
fn a_failed_write_does_not_cost_the_spare_space() {
    let disk = SimDisk::default();
    let journal = open(&disk);
    journal.commit(&[gone("a")], Purpose::Take).unwrap();
    disk.fail_next();
    journal.commit(&[gone("b")], Purpose::Take).unwrap_err();
    disk.healed();
    fill(&disk);
    assert_only_lets_go(&journal);
}

#[test]
fn spare_space_is_taken_again_as_soon_as_there_is_some() {
    let disk = SimDisk::default();
    disk.with(|world| world.size = Some(1000));
    let journal = open(&disk);
    // The disk was full at the start, and a volume is deleted now.
    disk.with(|world| world.size = None);
    journal.commit(&[gone("a")], Purpose::LetGo).unwrap();
    fill(&disk);
    assert_only_lets_go(&journal);
}

#[test]
fn spare_space_stays_ahead_of_the_file_in_large_steps() {
    const SPARE: usize = 256 * 1024;
    let disk = SimDisk::default();
    let journal = open(&disk);
    let mut reserved = 0;
    for size in [10, 10, 100_000, 300_000, 10, 1000, 500_000, 10] {
        let before = disk.with(|world| world.operations());
        journal.commit(&[gone(&"x".repeat(size))], Purpose::Take).unwrap();
        let (operations, (length, owned)) =
            disk.with(|world| (world.operations() - before, world.owned(FILE)));
        assert!((length + SPARE..=length + 2 * SPARE).contains(&owned), "{size}: {length}, {owned}");
        // A write and a sync, and at times one that reserves.
        assert!([2, 3].contains(&operations), "{operations}");
        reserved += operations - 2;
    }
    assert_eq!(reserved, 2, "with the two large ones");
}

/// Both in one batch: what lets go is written again, without what takes.
#[test]
fn a_write_that_fails_is_tried_again_with_what_lets_go() {
    let inside = |id: &str| format::changes(&[gone(id)]).unwrap();
    for (failures, letting_go, taking) in
        [(1, None, Some(true)), (2, None, Some(true)), (100, Some(false), Some(false))]
    {
        let disk = SimDisk::default();
        let file = disk.open(FILE).unwrap();
        let mut tail = Tail::new(Arc::new(disk.clone()), file, 0, true);
        assert!(tail.append_both(&inside("a"), &inside("b")).iter().all(Result::is_ok));
        disk.fail(failures);
        let outcomes = tail.append_both(&inside("c"), &inside("d"));
        let undone = outcomes.map(|outcome| outcome.err().map(|error| error.is_undone));
        assert_eq!(undone, [letting_go, taking], "{failures} failures");
        if letting_go.is_none() {
            let (_, changes) = Journal::on(disk.healed()).unwrap();
            assert_eq!(changes, ["a", "b", "c"].map(gone), "{failures} failures");
        }
    }
}

/// Only what takes is in the batch, and what was written of it cannot be cut off.
#[test]
fn a_write_that_may_come_back_is_not_called_undone() {
    let inside = |id: &str| format::changes(&[gone(id)]).unwrap();
    for (failures, is_undone) in [(1, true), (2, false)] {
        let disk = SimDisk::default();
        let file = disk.open(FILE).unwrap();
        let mut tail = Tail::new(Arc::new(disk.clone()), file, 0, true);
        assert!(tail.append_both(&[], &inside("a")).iter().all(Result::is_ok));
        disk.fail(failures);
        let [nothing, taking] = tail.append_both(&[], &inside("b"));
        assert!(nothing.is_ok() && taking.unwrap_err().is_undone == is_undone, "{failures} failures");
    }
}
