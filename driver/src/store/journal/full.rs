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
