use super::*;
use serde_json::json;

fn here() -> ClusterId {
    ClusterId::new("here", "https://here")
}

fn open(path: &Path) -> Result<Journal, JournalError> {
    Journal::open(path, "id", &here())
}

fn record(name: &str, direction: Direction) -> Record {
    Record { direction, volume: json!({"metadata": {"name": name}}), changes: Vec::new(), claim: None }
}

#[test]
fn what_is_written_is_there_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("undo");
    let mut journal = Journal::open(&path, "first", &here()).unwrap();
    for run in ["one", "two"] {
        journal.run(run).unwrap();
    }
    for name in ["a", "b", "c", "d"] {
        journal.replace(record(name, Direction::ToCsi)).unwrap();
    }
    let deleting = |uid: &str| Deleting { uid: uid.to_owned(), retained: Some("Delete".to_owned()) };
    journal.deleting("a", deleting("u")).unwrap();
    journal.spared("a").unwrap();
    journal.deleting("b", deleting("v")).unwrap();
    journal.created("b", "w").unwrap();
    for (name, how) in [("c", Ended::Replaced), ("d", Ended::AsItWas)] {
        journal.ended(name, how).unwrap();
    }
    let entries = journal.entries.clone();
    drop(journal);
    let again = Journal::open(&path, "second", &here()).unwrap();
    assert_eq!((again.id(), &again.entries), ("first", &entries));
    assert_eq!(again.runs(), ["one", "two"]);
    assert_eq!(again.unfinished(), ["a", "b"]);
    assert_eq!(again.converted(), ["c"]);
    let found = |name: &str| again.entry(name).map(|entry| (entry.deleting.clone(), entry.created.clone()));
    assert_eq!(found("a"), Some((None, None)));
    assert_eq!(found("b"), Some((Some(deleting("v")), Some("w".to_owned()))));
}

#[test]
fn a_volume_on_its_way_back_is_converted_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(&folder.path().join("undo")).unwrap();
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
    let mut journal = open(&path).unwrap();
    journal.replace(record("a", Direction::ToCsi)).unwrap();
    drop(journal);
    let whole = std::fs::read(&path).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let mut journal = open(&path).unwrap();
        assert_eq!(journal.unfinished().len(), 0, "{length} bytes");
        journal.replace(record("b", Direction::ToCsi)).unwrap();
        drop(journal);
        assert_eq!(open(&path).unwrap().unfinished(), ["b"], "{length} bytes");
    }
}

#[test]
fn only_an_undo_file_of_this_release_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("undo");
    let other = "{\"begin\":{\"version\":3,\"id\":\"a\",\"cluster\":{\"uid\":\"there\",\"server\":\"https://there\"}}}\n";
    let ours = other.replace("there", "here");
    for (content, expected) in [
        ("hello\n", "line 1"),
        ("hello", "line 1"),
        ("a\nb", "line 1"),
        (
            "{\"begin\":{\"version\":1,\"id\":\"a\"}}\n",
            "another release of mooring has written it (format 1): finish or undo with that release",
        ),
        ("{\"begin\":{\"version\":1,\"id\":\"a\"}}\n{\"repl", "another release"),
        ("{\"created\":{\"volume\":\"a\",\"uid\":\"u\"}}\n", "line 1"),
        (&format!("{ours}{{}}\n"), "line 2"),
        (&format!("{ours}{{}}\n{{\"repl"), "line 2"),
        (
            &format!("{other}{{\"repl"),
            "it is of the cluster at https://there (uid of kube-system: there), and this is the cluster at https://here (uid",
        ),
    ] {
        std::fs::write(&path, content).unwrap();
        for opened in [open(&path), Journal::open_existing(&path, &here())] {
            let error = opened.unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains('\n'), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content, "it is left alone");
        }
    }
    let one = open(&folder.path().join("locked")).unwrap();
    assert!(matches!(open(one.path()), Err(JournalError::Locked(_))));
}

#[test]
fn there_is_nothing_to_undo_without_a_file_or_in_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("undo");
    let undo = || Journal::open_existing(&path, &here()).map(|_| ()).unwrap_err().to_string();
    assert!(undo().ends_with("there is no such file"), "{}", undo());
    assert!(!path.exists(), "none is made");
    for content in ["", "{\"begin\":{\"version\":3,\"id\""] {
        std::fs::write(&path, content).unwrap();
        assert!(undo().ends_with("it is empty: no volume was converted with it"), "{}", undo());
    }
    drop(open(&path).unwrap());
    assert!(Journal::open_existing(&path, &here()).is_ok());
}

/// A crash of the machine must not take back what was announced.
#[test]
fn each_line_is_on_the_disk_and_only_the_owner_reads_it() {
    use std::os::fd::AsRawFd as _;
    const DSYNC: u32 = 0o10000;
    let folder = tempfile::tempdir().unwrap();
    let (new, touched) = (folder.path().join("new"), folder.path().join("touched"));
    std::fs::write(&touched, "").unwrap();
    for path in [new, touched] {
        let journal = open(&path).unwrap();
        let info =
            std::fs::read_to_string(format!("/proc/self/fdinfo/{}", journal.file.as_raw_fd())).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
        assert_eq!(flags & DSYNC, DSYNC, "{flags:o}");
        let mode = journal.file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    }
}

/// Etcd was restored to before the deletion: the old object is there again, and the new one is not.
#[test]
fn an_object_that_is_deleted_again_is_not_created_yet() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("undo");
    for spared in [false, true] {
        let mut journal = open(&path).unwrap();
        let deleting = || Deleting { uid: "u".to_owned(), retained: None };
        journal.replace(record("a", Direction::ToCsi)).unwrap();
        journal.deleting("a", deleting()).unwrap();
        journal.created("a", "v").unwrap();
        if spared {
            journal.spared("a").unwrap();
        } else {
            journal.deleting("a", deleting()).unwrap();
        }
        assert_eq!(journal.entry("a").unwrap().created, None);
        drop(journal);
        assert_eq!(open(&path).unwrap().entry("a").unwrap().created, None);
    }
}

#[test]
fn a_volume_whose_claim_went_is_converted_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(&folder.path().join("undo")).unwrap();
    journal.replace(record("a", Direction::ToCsi)).unwrap();
    journal.ended("a", Ended::Kept).unwrap();
    assert_eq!(journal.converted(), ["a"]);
}
