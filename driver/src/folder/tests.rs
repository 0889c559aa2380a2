use std::os::unix::fs::MetadataExt;

use super::*;
use crate::options::Options;

fn staged_by(driver: &str) -> String {
    let hash = "0123456789abcdef".repeat(4);
    format!(r#"["/var/lib/kubelet/plugins/kubernetes.io/csi/{driver}/{hash}/globalmount"]"#)
}

/// A state folder as the Go driver leaves it: one volume with a file in it.
fn left_by_go(staged: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let state = format!(
        r#"{{"Volumes": [{{"VolName": "pvc-1", "VolID": "0000-1", "VolSize": 5, "Staged": {staged}}}]}}"#
    );
    std::fs::write(folder.path().join(migrate::FILE), state).unwrap();
    std::fs::create_dir(folder.path().join("0000-1")).unwrap();
    std::fs::write(folder.path().join("0000-1/file"), "data").unwrap();
    folder
}

fn volumes(folder: &Path, name: &str) -> usize {
    let options = Options { name: name.to_owned(), ..Options::for_tests(folder.to_owned()) };
    let plugin = crate::open(options).unwrap();
    plugin.store.read().volumes.len()
}

#[test]
fn old_state_goes_to_the_driver_that_staged_its_volumes() {
    let folder = left_by_go(&staged_by("a.example"));
    assert_eq!(volumes(folder.path(), "b.example"), 0);
    assert_eq!(volumes(folder.path(), "a.example"), 1);
    assert_eq!(volumes(folder.path(), "b.example"), 0);
    assert_eq!(volumes(folder.path(), "a.example"), 1, "after a restart too");
    let file = folder.path().join("drivers/a.example/0000-1/file");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "data");
}

#[test]
fn old_state_without_staged_volumes_goes_to_the_first_driver() {
    let folder = left_by_go("null");
    assert_eq!(volumes(folder.path(), "a.example"), 1);
    assert_eq!(volumes(folder.path(), "b.example"), 0);
}

/// As an earlier version had it: all in the state folder itself, and a volume not yet kept.
fn left_by_an_earlier_version() -> tempfile::TempDir {
    let folder = left_by_go(&staged_by("a.example"));
    assert_eq!(volumes(folder.path(), "a.example"), 1);
    let own = folder.path().join("drivers/a.example");
    std::fs::rename(own.join("0000-1"), own.join(".new/0000-1")).unwrap();
    for file in [journal::FILE, ".new", ".old"] {
        std::fs::rename(own.join(file), folder.path().join(file)).unwrap();
    }
    std::fs::remove_dir_all(folder.path().join("drivers")).unwrap();
    folder
}

#[test]
fn an_earlier_versions_journal_is_taken_over_with_its_content() {
    let folder = left_by_an_earlier_version();
    assert_eq!(volumes(folder.path(), "b.example"), 0);
    assert_eq!(volumes(folder.path(), "a.example"), 1);
    let file = folder.path().join("drivers/a.example/0000-1/file");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "data");
    assert!(!folder.path().join(journal::FILE).exists());
}

#[test]
fn a_takeover_that_a_kill_cut_short_is_finished() {
    for moved in 0..=3 {
        let folder = left_by_an_earlier_version();
        let own = folder.path().join("drivers/a.example");
        std::fs::create_dir_all(&own).unwrap();
        for file in [".new", ".old", journal::FILE].into_iter().take(moved) {
            std::fs::rename(folder.path().join(file), own.join(file)).unwrap();
        }
        assert_eq!(volumes(folder.path(), "a.example"), 1, "{moved} moved");
        assert_eq!(std::fs::read_to_string(own.join("0000-1/file")).unwrap(), "data", "{moved} moved");
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{moved} moved: {left:?}");
    }
}

#[test]
fn content_is_closed_to_others_whatever_the_state_folders_mode() {
    let folder = tempfile::tempdir().unwrap();
    let drivers = folder.path().join(DRIVERS);
    std::fs::create_dir(&drivers).unwrap();
    for path in [folder.path(), &drivers] {
        std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    let claimed = Folder::claim(folder.path(), "a.example").unwrap().unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(&drivers), mode(&claimed.own)), (0o750, 0o750));
    assert_eq!(mode(folder.path()), 0o755, "the operator's");
}

#[test]
fn only_the_kubelets_staging_paths_name_a_driver() {
    let hash = "0123456789abcdef".repeat(4);
    let path = format!("/var/lib/kubelet/plugins/kubernetes.io/csi/a.example/{hash}/globalmount");
    assert_eq!(driver_of(&path), Some("a.example"));
    for other in ["/stage", "/kubernetes.io/csi/pv/pvc-1/globalmount", ""] {
        assert_eq!(driver_of(other), None, "{other}");
    }
}
