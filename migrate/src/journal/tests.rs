use super::*;
use serde_json::json;

fn record(name: &str, direction: Direction) -> Record {
    Record {
        direction,
        volume: json!({"metadata": {"name": name}}),
        policy: "Delete".to_owned(),
        changes: Vec::new(),
        claim: None,
    }
}

#[test]
fn what_is_written_is_there_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("undo");
    let mut journal = Journal::open(&path, "first").unwrap();
    for name in ["a", "b", "c", "d"] {
        journal.replace(record(name, Direction::ToCsi)).unwrap();
    }
    journal.created("b").unwrap();
    for (name, how) in [("c", Ended::Replaced), ("d", Ended::AsItWas)] {
        journal.ended(name, how).unwrap();
    }
    let entries = journal.entries.clone();
    drop(journal);
    let again = Journal::open(&path, "second").unwrap();
    assert_eq!((again.id(), &again.entries), ("first", &entries));
    assert_eq!(again.unfinished(), ["a", "b"]);
    assert_eq!(again.converted(), ["c"]);
    assert!(again.entry("b").is_some_and(|entry| entry.created));
}

#[test]
fn a_volume_on_its_way_back_is_converted_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&folder.path().join("undo"), "id").unwrap();
    for (direction, how, converted) in [
        (Direction::ToCsi, Ended::Replaced, true),
        (Direction::ToInTree, Ended::AsItWas, true),
        (Direction::ToInTree, Ended::Replaced, false),
        (Direction::ToCsi, Ended::Gone, false),
    ] {
        journal.replace(record("a", direction)).unwrap();
        assert_eq!((journal.unfinished().len(), journal.converted().len()), (1, 0));
        journal.ended("a", how).unwrap();
        assert_eq!(journal.converted().len(), usize::from(converted), "{direction:?} {how:?}");
        assert!(journal.unfinished().is_empty());
    }
}

#[test]
fn a_line_that_a_crash_cut_off_counts_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("undo");
    let mut journal = Journal::open(&path, "id").unwrap();
    journal.replace(record("a", Direction::ToCsi)).unwrap();
    drop(journal);
    let whole = std::fs::read(&path).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let mut journal = Journal::open(&path, "id").unwrap();
        assert_eq!(journal.unfinished().len(), 0, "{length} bytes");
        journal.replace(record("b", Direction::ToCsi)).unwrap();
        drop(journal);
        assert_eq!(Journal::open(&path, "id").unwrap().unfinished(), ["b"], "{length} bytes");
    }
}

#[test]
fn only_an_undo_file_of_this_release_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("undo");
    for (content, expected) in [
        ("hello\n", "line 1"),
        (
            "{\"begin\":{\"version\":2,\"id\":\"a\"}}\n",
            "line 1 is not of an undo file of this release: version 2",
        ),
        ("{\"created\":{\"volume\":\"a\"}}\n", "line 1"),
        ("{\"begin\":{\"version\":1,\"id\":\"a\"}}\n{}\n", "line 2"),
    ] {
        std::fs::write(&path, content).unwrap();
        let error = Journal::open(&path, "id").unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content, "it is left alone");
    }
    let error = Journal::open_existing(&folder.path().join("none")).unwrap_err().to_string();
    assert!(error.ends_with("there is no such file"), "{error}");
    let one = Journal::open(&folder.path().join("locked"), "id").unwrap();
    assert!(matches!(Journal::open(one.path(), "id"), Err(JournalError::Locked(_))));
}
