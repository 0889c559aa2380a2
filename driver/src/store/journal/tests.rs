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
