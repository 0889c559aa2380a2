//! Mounts as the kernel makes them. Each test has a mount namespace and a file system of its own: what the code does wrong does
//! not reach the machine's mounts.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use super::*;

/// Set in the process inside the namespace: the folder over which it mounts its file system.
const FOLDER: &str = "MOORING_TEST_OWN_FOLDER";

/// `in_own_mounts!(name, |folder| body)`: a test in a mount namespace of its own, with the empty file system `folder` there.
macro_rules! in_own_mounts {
    ($name:ident, |$folder:ident| $body:block) => {
        #[test]
        fn $name() {
            if let Some(folder) = own_folder(stringify!($name)) {
                let $folder = folder.as_path();
                $body
            }
        }
    };
}

/// Inside the namespace: the test's folder. Outside: none, after the test has run inside, or was left out.
fn own_folder(test: &str) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os(FOLDER) {
        mount_new(Path::new(&folder), MountFlags::empty());
        return Some(folder.into());
    }
    let test = format!("mount::tests::{test}");
    if !Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success()) {
        // As `cluster::skip` says it.
        let line = format!("{test}: needs root with the right to mount; run the tests as root");
        assert!(std::env::var_os("MOORING_SKIP_NOTHING").is_none(), "this may not be left out: {line}");
        println!("skipped: {line}");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let inside = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture"])
        .env(FOLDER, folder.path().canonicalize().unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&inside.stdout) + String::from_utf8_lossy(&inside.stderr);
    assert!(inside.status.success() && said.contains(" 1 passed; 0 failed; "), "inside: {said}");
    None
}

/// Mounts a new file system.
fn mount_new(target: &Path, options: MountFlags) {
    rustix::mount::mount("mooring-test", target, "tmpfs", options, None).unwrap();
}

/// A new folder.
fn made(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir(&path).unwrap();
    path
}

/// The names of the options that a mount has, of those that we know.
fn options_of(target: &Path) -> BTreeSet<&'static str> {
    let entry = table::entry(target).unwrap();
    OPTIONS.iter().map(|(name, _)| *name).filter(|name| entry.has(name)).collect()
}

fn code(outcome: io::Result<()>) -> Option<Errno> {
    outcome.err().as_ref().and_then(Errno::from_io_error)
}

#[test]
fn options_are_found_between_commas_too() {
    let all = MountFlags::RDONLY | MountFlags::NOEXEC | MountFlags::NODEV;
    assert_eq!(flags_of(["ro,noexec", "vers=3,nodev"]), all);
    assert_eq!(flags_of(["context=ro", "noexecs,x", ""]), MountFlags::empty());
}

in_own_mounts!(a_target_is_made_once_with_its_mode, |folder| {
    rustix::process::umask(Mode::empty());
    let (dir, file) = (folder.join("dir"), folder.join("file"));
    for _ in 0..2 {
        make_target(&dir, Target::Folder).unwrap();
        make_target(&file, Target::File).unwrap();
    }
    let mode = |path: &Path| std::fs::symlink_metadata(path).unwrap().mode();
    assert_eq!((mode(&dir), mode(&file)), (0o040_750, 0o100_644));
    assert_eq!(code(make_target(&folder.join("no/dir"), Target::Folder)), Some(Errno::NOENT));
    assert_eq!(code(make_target(&folder.join("no/file"), Target::File)), Some(Errno::NOENT));
});

in_own_mounts!(a_target_of_another_kind_is_refused, |folder| {
    let (dir, file, link) = (made(folder, "dir"), folder.join("file"), folder.join("link"));
    std::fs::write(&file, "content").unwrap();
    std::os::unix::fs::symlink(&dir, &link).unwrap();
    let refused = [
        (&file, Target::Folder, Errno::NOTDIR),
        (&link, Target::Folder, Errno::NOTDIR),
        (&dir, Target::File, Errno::ISDIR),
        (&file, Target::File, Errno::EXIST),
        (&link, Target::File, Errno::EXIST),
    ];
    for (path, kind, error) in refused {
        assert_eq!(code(make_target(path, kind)), Some(error), "{kind:?} at {}", path.display());
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"content");
});

in_own_mounts!(a_target_is_removed_only_if_it_is_empty, |folder| {
    let (dir, file, link) = (made(folder, "dir"), folder.join("file"), folder.join("link"));
    std::fs::write(&file, "content").unwrap();
    std::fs::write(dir.join("inside"), "content").unwrap();
    std::os::unix::fs::symlink(&dir, &link).unwrap();
    assert_eq!(code(remove_target(&dir)), Some(Errno::NOTEMPTY));
    assert_eq!(code(remove_target(&file)), Some(Errno::NOTEMPTY));
    assert_eq!(code(remove_target(&link)), Some(Errno::EXIST));
    assert!(dir.join("inside").exists() && file.exists() && link.is_symlink());
    std::fs::remove_file(dir.join("inside")).unwrap();
    std::fs::write(&file, "").unwrap();
    for path in [&dir, &file, &folder.join("absent"), &folder.join("absent/below"), &link.join("absent")] {
        remove_target(path).unwrap();
        remove_target(path).unwrap();
    }
    assert!(!dir.exists() && !file.exists() && link.is_symlink());
});

in_own_mounts!(a_path_is_mounted_only_where_the_mount_begins, |folder| {
    let (source, target, link) = (made(folder, "source"), made(folder, "target"), folder.join("link"));
    made(&source, "below");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    assert!(!is_mounted(&target).unwrap());
    bind(&source, &target, MountFlags::empty()).unwrap();
    assert!(is_mounted(&target).unwrap() && table::lists(&target).unwrap());
    std::fs::write(folder.join("file"), "").unwrap();
    for path in ["source", "target/below", "link", "absent", "file/below"] {
        let path = folder.join(path);
        assert!(!is_mounted(&path).unwrap() && !table::lists(&path).unwrap(), "{}", path.display());
    }
});

in_own_mounts!(a_mount_has_each_option_asked_for_and_no_other, |folder| {
    type Bind = fn(&Path, &Path, MountFlags) -> io::Result<()>;
    let (source, target) = (made(folder, "source"), made(folder, "target"));
    std::fs::write(source.join("file"), "").unwrap();
    let before = options_of(&source);
    for (way, bind) in [("at once", bind as Bind), ("in steps", bind_in_steps)] {
        bind(&source, &target, MountFlags::empty()).unwrap();
        assert!(target.join("file").exists() && options_of(&target) == before, "{way}");
        unmount(&target).unwrap();
        for (name, flag) in OPTIONS {
            bind(&source, &target, flag).unwrap();
            let mut expected = &before | &BTreeSet::from([name]);
            if flag == MountFlags::NOATIME {
                expected.remove("relatime");
            }
            assert_eq!(options_of(&target), expected, "{name}, {way}");
            assert_eq!(is_readonly(&target).unwrap(), name == "ro", "{name}, {way}");
            unmount(&target).unwrap();
        }
    }
    assert_eq!(options_of(&source), before);
    assert!(!is_readonly(&source).unwrap(), "the file system itself stays writable");
});

in_own_mounts!(a_mount_keeps_the_options_of_its_source, |folder| {
    let (source, target) = (made(folder, "source"), made(folder, "target"));
    mount_new(&source, MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME);
    for bind in [bind, bind_in_steps] {
        bind(&source, &target, MountFlags::RDONLY | MountFlags::NOEXEC).unwrap();
        let all = BTreeSet::from(["ro", "nosuid", "nodev", "noexec", "noatime"]);
        assert_eq!(options_of(&target), all);
        unmount(&target).unwrap();
    }
    bind(&source, &target, MountFlags::RELATIME).unwrap();
    let one_way = BTreeSet::from(["nosuid", "nodev", "relatime"]);
    assert_eq!(options_of(&target), one_way, "one way to keep access times");
    assert_eq!(options_of(&source), BTreeSet::from(["nosuid", "nodev", "noatime"]));
});

in_own_mounts!(a_mount_shows_its_source_without_what_is_mounted_there, |folder| {
    let (source, target) = (made(folder, "source"), made(folder, "target"));
    let inner = made(&source, "inner");
    mount_new(&inner, MountFlags::empty());
    std::fs::write(inner.join("file"), "").unwrap();
    bind(&source, &target, MountFlags::empty()).unwrap();
    assert!(target.join("inner").exists() && !target.join("inner/file").exists());
});

in_own_mounts!(a_source_that_is_a_link_is_not_followed, |folder| {
    let (source, target) = (made(folder, "source"), made(folder, "target"));
    std::os::unix::fs::symlink(&source, folder.join("link")).unwrap();
    assert!(bind(&folder.join("link"), &target, MountFlags::empty()).is_err());
    assert_eq!(code(bind(&folder.join("absent"), &target, MountFlags::empty())), Some(Errno::NOENT));
    assert!(!is_mounted(&target).unwrap());
});

in_own_mounts!(a_mount_has_options_if_it_has_those_that_protect, |folder| {
    let (source, target) = (made(folder, "source"), made(folder, "target"));
    let protecting = [MountFlags::RDONLY, MountFlags::NOSUID, MountFlags::NODEV, MountFlags::NOEXEC];
    for missing in protecting {
        let present = protecting.into_iter().filter(|flag| *flag != missing);
        let present = present.fold(MountFlags::empty(), MountFlags::union);
        bind(&source, &target, present).unwrap();
        for wanted in [MountFlags::empty(), present, present | MountFlags::NOATIME | MountFlags::NODIRATIME] {
            assert!(has_options(&target, wanted).unwrap(), "{wanted:?}");
        }
        assert!(!has_options(&target, missing).unwrap(), "{missing:?}");
        assert!(!has_options(&target, present | missing).unwrap(), "{missing:?}");
        unmount(&target).unwrap();
    }
    assert!(has_options(&folder.join("absent"), MountFlags::empty()).is_err());
});

in_own_mounts!(all_mounts_at_a_target_are_unmounted, |folder| {
    let (source, target) = (made(folder, "source"), made(folder, "target"));
    for _ in 0..3 {
        bind(&source, &target, MountFlags::empty()).unwrap();
    }
    let asked = Cell::new(0);
    let ours = || {
        asked.set(asked.get() + 1);
        Ok(asked.get() < 3)
    };
    assert!(!unmount_while(&target, ours).unwrap(), "the third is not ours");
    assert!(is_mounted(&target).unwrap() && asked.get() == 3);
    assert!(unmount_while(&target, || Err(Errno::IO.into())).is_err());
    assert!(is_mounted(&target).unwrap());
    assert!(unmount_while(&target, || Ok(true)).unwrap());
    assert!(!is_mounted(&target).unwrap() && source.exists());
    assert!(unmount_while(&target, || Ok(false)).unwrap(), "nothing is there to be asked about");
    bind(&source, &target, MountFlags::empty()).unwrap();
    unmount(&target).unwrap();
    assert!(!is_mounted(&target).unwrap());
    unmount(&folder.join("absent")).unwrap();
});

in_own_mounts!(a_mount_that_is_in_use_stays, |folder| {
    let (source, target) = (made(folder, "source"), made(folder, "target"));
    bind(&source, &target, MountFlags::empty()).unwrap();
    let open = std::fs::File::create(target.join("file")).unwrap();
    assert_eq!(code(unmount(&target)), Some(Errno::BUSY));
    assert!(is_mounted(&target).unwrap());
    drop(open);
    unmount(&target).unwrap();
});

in_own_mounts!(the_table_says_where_a_folder_is_mounted, |folder| {
    let (source, other) = (made(folder, "so urce"), made(folder, "other"));
    let (one, two, three) = (made(folder, "one"), made(folder, "two"), made(folder, "three"));
    made(&source, "below");
    bind(&source, &one, MountFlags::empty()).unwrap();
    bind(&source, &two, MountFlags::empty()).unwrap();
    bind(&other, &three, MountFlags::empty()).unwrap();
    let place = table::place(&source).unwrap();
    assert_eq!(table::points(&place).unwrap(), [one.clone(), two]);
    assert_eq!(table::points(&place.join("below")).unwrap(), Vec::<PathBuf>::new());
    for path in [source.join("below"), one.join("below")] {
        assert_eq!(table::place(&path).unwrap(), place.join("below"), "{}", path.display());
    }
    assert_eq!(table::entry(&one).unwrap().root, place);
    assert_ne!(table::place(&other).unwrap(), place);
    assert!(table::place(&folder.join("absent")).is_err());
});

in_own_mounts!(a_mount_that_another_one_covers_is_not_where_a_path_is, |folder| {
    let (parent, over) = (made(folder, "parent"), made(folder, "over"));
    mount_new(&made(&parent, "target"), MountFlags::empty());
    made(&over, "target");
    bind(&over, &parent, MountFlags::empty()).unwrap();
    let target = parent.join("target");
    assert_eq!(table::place(&target).unwrap(), table::place(&over.join("target")).unwrap());
    assert!(!is_mounted(&target).unwrap());
});
