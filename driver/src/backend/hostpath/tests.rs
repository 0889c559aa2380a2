use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;

struct Disk {
    folder: tempfile::TempDir,
    backend: Hostpath,
}

fn disk() -> Disk {
    disk_with(Space::WhenWritten)
}

fn disk_with(space: Space) -> Disk {
    disk_in(tempfile::tempdir().unwrap(), space)
}

fn disk_in(folder: tempfile::TempDir, space: Space) -> Disk {
    let backend = Hostpath::open(folder.path(), folder.path(), space).unwrap();
    Disk { folder, backend }
}

fn item(name: &str, kind: Kind, access: Access) -> Item {
    Item { name: name.to_owned(), kind, access }
}

fn folder(name: &str) -> Item {
    item(name, Kind::Volume, Access::Mount)
}

fn device(name: &str) -> Item {
    item(name, Kind::Volume, Access::Block)
}

#[test]
fn prepared_content_shows_only_after_it_is_kept() {
    let disk = disk();
    for new in [folder("a"), device("b")] {
        let place = disk.folder.path().join(&new.name);
        disk.backend.prepare(&new, 1 << 20, Content::Empty).unwrap();
        assert!(!place.exists());
        disk.backend.keep(&new).unwrap();
        assert!(place.exists());
        disk.backend.keep(&new).unwrap();
        disk.backend.retire(&new).unwrap();
        assert!(!place.exists());
        disk.backend.keep(&new).unwrap();
        assert!(place.exists(), "a retirement can be taken back");
        disk.backend.retire(&new).unwrap();
        disk.backend.remove(&new).unwrap();
        disk.backend.remove(&new).unwrap();
        assert!(disk.backend.keep(&new).is_err());
    }
    assert_eq!(std::fs::metadata(disk.folder.path().join(NEW)).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn the_disk_is_read_and_is_gone_with_its_folder() {
    let disk = disk();
    let seen = disk.backend.disk().unwrap();
    assert!(seen.total > seen.available && seen.available > 0 && !seen.readonly, "{seen:?}");
    let left: Vec<_> = std::fs::read_dir(disk.folder.path().join(NEW)).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    let away = disk.folder.path().with_extension("away");
    std::fs::rename(disk.folder.path(), &away).unwrap();
    assert_eq!(disk.backend.disk().unwrap_err().kind(), io::ErrorKind::NotFound);
    std::fs::create_dir(disk.folder.path()).unwrap();
    assert!(disk.backend.disk().unwrap_err().to_string().contains("is another folder"));
    std::fs::remove_dir(disk.folder.path()).unwrap();
    std::fs::rename(&away, disk.folder.path()).unwrap();
    assert_eq!(disk.backend.disk().unwrap().total, seen.total);
}

#[test]
fn devices_are_sparse_on_demand() {
    let disk = disk();
    let new = device("big");
    disk.backend.prepare(&new, 1 << 40, Content::Empty).unwrap();
    disk.backend.keep(&new).unwrap();
    let file = std::fs::metadata(disk.folder.path().join("big")).unwrap();
    assert_eq!((file.len(), file.blocks()), (1 << 40, 0));
}

#[test]
fn devices_have_all_their_space_from_the_beginning() {
    let disk = disk_with(Space::AtOnce);
    let space = |name: &str| {
        let file = std::fs::metadata(disk.folder.path().join(name)).unwrap();
        (file.len(), file.blocks() * 512 >= file.len())
    };
    disk.backend.prepare(&device("source"), 4 << 20, Content::Empty).unwrap();
    disk.backend.keep(&device("source")).unwrap();
    assert_eq!(space("source"), (4 << 20, true));
    disk.backend.grow(&device("source"), 6 << 20).unwrap();
    assert_eq!(space("source"), (6 << 20, true));
    let source = File::options().write(true).open(disk.folder.path().join("source")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&source, b"data", 5 << 20).unwrap();
    // A snapshot keeps its holes; what is restored from it has its space again, and the data.
    let snapshot = item("snap", Kind::Snapshot, Access::Block);
    disk.backend.prepare(&snapshot, 0, Content::CopyOf(&device("source"))).unwrap();
    disk.backend.keep(&snapshot).unwrap();
    disk.backend.prepare(&device("restored"), 8 << 20, Content::CopyOf(&snapshot)).unwrap();
    disk.backend.keep(&device("restored")).unwrap();
    assert_eq!(space("restored"), (8 << 20, true));
    let bytes = std::fs::read(disk.folder.path().join("restored")).unwrap();
    assert_eq!(&bytes[5 << 20..(5 << 20) + 4], b"data");
    // More than there is: refused, and nothing is left of it.
    let refused = disk.backend.prepare(&device("huge"), 1 << 46, Content::Empty).unwrap_err();
    assert!(["StorageFull", "FileTooLarge"].contains(&format!("{:?}", refused.kind()).as_str()), "{refused}");
    assert_eq!(std::fs::read_dir(disk.folder.path().join(NEW)).unwrap().count(), 0);
    assert!(disk.backend.grow(&device("source"), 1 << 46).is_err());
    assert_eq!(space("source"), (6 << 20, true));
}

#[test]
fn recovery_keeps_the_recorded_and_removes_its_own_rest() {
    let disk = disk();
    let path = disk.folder.path();
    for name in ["recorded-new", "unrecorded-new", "recorded-old", "unrecorded-old"] {
        disk.backend.prepare(&folder(name), 0, Content::Empty).unwrap();
    }
    for name in ["recorded-old", "unrecorded-old"] {
        disk.backend.keep(&folder(name)).unwrap();
        disk.backend.retire(&folder(name)).unwrap();
    }
    std::fs::create_dir(path.join("stranger")).unwrap();
    // One that cannot be taken up does not keep the others from it.
    let bad = folder("no/name");
    let recorded = [bad.clone(), folder("recorded-new"), folder("recorded-old"), folder("lost")];
    assert_eq!(disk.backend.recover(&recorded, &[]), [bad]);
    // The removal goes on while the driver works.
    disk.backend.prepare(&folder("later"), 0, Content::Empty).unwrap();
    assert!(path.join(NEW).join("unrecorded-new").exists());
    disk.backend.clean().unwrap();
    disk.backend.keep(&folder("later")).unwrap();
    let mut left: Vec<_> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, [".new", ".old", "later", "recorded-new", "recorded-old", "stranger"]);
    assert_eq!(std::fs::read_dir(path.join(NEW)).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(path.join(OLD)).unwrap().count(), 0);
    assert!(!disk.backend.is_there(&folder("lost")).unwrap());
}

/// Like a pod that digs as deep as it can.
fn dig(folder: &Path, levels: usize) {
    let mut at = rustix::fs::open(folder, folder_flags(), Mode::empty()).unwrap();
    for level in 0..levels {
        rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, "d", folder_flags(), Mode::empty()).unwrap();
        if level % 100 == 0 {
            rustix::fs::openat(&at, "f", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
        }
    }
}

#[test]
fn a_tree_deeper_than_any_stack_is_removed_after_a_restart() {
    // In memory, if there is such a place: a disk takes a minute for so many folders.
    let place = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let disk = disk_in(place, Space::WhenWritten);
    disk.backend.prepare(&folder("deep"), 0, Content::Empty).unwrap();
    disk.backend.keep(&folder("deep")).unwrap();
    dig(&disk.folder.path().join("deep"), 30_000);
    let snapshot = item("snap", Kind::Snapshot, Access::Mount);
    let refused = disk.backend.prepare(&snapshot, 0, Content::CopyOf(&folder("deep"))).unwrap_err();
    assert!(refused.to_string().contains("nested deeper"), "{refused}");
    disk.backend.retire(&folder("deep")).unwrap();
    let restarted = Hostpath::open(disk.folder.path(), disk.folder.path(), Space::WhenWritten).unwrap();
    restarted.recover(&[], &[]);
    restarted.clean().unwrap();
    assert_eq!(std::fs::read_dir(disk.folder.path().join(OLD)).unwrap().count(), 0);
}

#[test]
fn names_cannot_leave_the_folder() {
    let disk = disk();
    for name in ["..", "../x", "/etc", "a/b", ".new", "", "a\0b"] {
        for bad in [folder(name), device(name)] {
            assert!(disk.backend.prepare(&bad, 1, Content::Empty).is_err(), "{name:?}");
            assert!(disk.backend.keep(&bad).is_err() && disk.backend.retire(&bad).is_err());
            assert!(disk.backend.remove(&bad).is_err() && disk.backend.attach(&bad, false).is_err());
        }
    }
    // A link in a volume's place leads nowhere.
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), disk.folder.path().join("link")).unwrap();
    assert!(disk.backend.attach(&folder("link"), false).is_err());
    let copy = Content::CopyOf(&Item { name: "link".to_owned(), kind: Kind::Volume, access: Access::Mount });
    assert!(disk.backend.prepare(&folder("copy"), 0, copy).is_err());
    assert_eq!(std::fs::read_dir(disk.folder.path().join(NEW)).unwrap().count(), 0, "no rest of the failure");
}

/// Gives a file an owner, as far as this process may, and an attribute.
fn own(path: &Path, number: u32) {
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(path, Some(number), Some(number + 100)).unwrap();
    }
    if !path.is_symlink() {
        let set =
            rustix::fs::setxattr(path, "user.number", &number.to_be_bytes(), rustix::fs::XattrFlags::empty());
        assert!(set.is_ok() || set == Err(Errno::OPNOTSUPP), "{set:?}");
    }
}

/// Owner, group and attribute.
fn identity(path: &Path) -> (u32, u32, Option<Vec<u8>>) {
    let mut value = [0; 8];
    let length = rustix::fs::lgetxattr(path, "user.number", &mut value).ok();
    let metadata = std::fs::symlink_metadata(path).unwrap();
    (metadata.uid(), metadata.gid(), length.map(|length| value[..length].to_vec()))
}

#[test]
fn a_folders_copy_has_all_that_is_in_it_and_follows_no_link() {
    let disk = disk();
    let source = folder("source");
    disk.backend.prepare(&source, 0, Content::Empty).unwrap();
    disk.backend.keep(&source).unwrap();
    let at = disk.folder.path().join("source");
    std::fs::create_dir_all(at.join("a/b")).unwrap();
    std::fs::write(at.join("a/b/file"), "content").unwrap();
    std::fs::hard_link(at.join("a/b/file"), at.join("linked")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", at.join("symbolic")).unwrap();
    std::os::unix::fs::symlink("..", at.join("a/up")).unwrap();
    let holes = File::create(at.join("holes")).unwrap();
    holes.set_len(1 << 30).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&holes, b"x", 1 << 29).unwrap();
    let owned = ["", "a", "a/b/file", "symbolic"];
    for (number, name) in (7001..).zip(owned) {
        own(&at.join(name), number);
    }
    // A change of the owner would take the first bit.
    std::fs::set_permissions(at.join("a/b/file"), std::fs::Permissions::from_mode(0o4751)).unwrap();
    let snapshot = item("snap", Kind::Snapshot, Access::Mount);
    disk.backend.prepare(&snapshot, 0, Content::CopyOf(&source)).unwrap();
    disk.backend.keep(&snapshot).unwrap();
    // The source changes; the snapshot does not.
    std::fs::write(at.join("a/b/file"), "changed").unwrap();
    let restored = folder("restored");
    disk.backend.prepare(&restored, 0, Content::CopyOf(&snapshot)).unwrap();
    disk.backend.keep(&restored).unwrap();
    let copy = disk.folder.path().join("restored");
    assert_eq!(owned.map(|name| identity(&copy.join(name))), owned.map(|name| identity(&at.join(name))));
    assert_eq!(std::fs::read_to_string(copy.join("linked")).unwrap(), "content");
    let file = std::fs::metadata(copy.join("a/b/file")).unwrap();
    assert_eq!((file.mode() & 0o7777, file.nlink()), (0o4751, 2));
    assert_eq!(std::fs::read_link(copy.join("symbolic")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(std::fs::read_link(copy.join("a/up")).unwrap(), Path::new(".."));
    let holes = std::fs::metadata(copy.join("holes")).unwrap();
    assert!(holes.len() == 1 << 30 && holes.blocks() < 1000, "{} blocks", holes.blocks());
}

#[test]
fn a_devices_copy_is_whole_sparse_and_may_be_larger() {
    let disk = disk();
    let source = device("source");
    disk.backend.prepare(&source, 8 << 20, Content::Empty).unwrap();
    disk.backend.keep(&source).unwrap();
    let file = File::options().write(true).open(disk.folder.path().join("source")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"data", 5 << 20).unwrap();
    let larger = device("larger");
    disk.backend.prepare(&larger, 16 << 20, Content::CopyOf(&source)).unwrap();
    disk.backend.keep(&larger).unwrap();
    let copy = std::fs::read(disk.folder.path().join("larger")).unwrap();
    assert_eq!((copy.len(), &copy[5 << 20..(5 << 20) + 4]), (16 << 20, &b"data"[..]));
    assert!(std::fs::metadata(disk.folder.path().join("larger")).unwrap().blocks() < 1000);
}

#[test]
fn a_go_drivers_archive_is_restored_and_cannot_write_elsewhere() {
    let disk = disk();
    let archive = |entries: &[(&str, &str)]| {
        let mut builder =
            tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        for (name, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o640);
            header.set_uid(0);
            header.set_gid(0);
            // The builder itself would refuse a name that leads out.
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    };
    let bytes = archive(&[("./file", "old data"), ("../../escaped", "bad")]);
    std::fs::write(disk.folder.path().join("old.snap"), bytes).unwrap();
    let old = item("old", Kind::Archive, Access::Mount);
    disk.backend.prepare(&folder("new"), 0, Content::CopyOf(&old)).unwrap();
    disk.backend.keep(&folder("new")).unwrap();
    let restored = disk.folder.path().join("new");
    assert_eq!(std::fs::read_to_string(restored.join("file")).unwrap(), "old data");
    assert_eq!(std::fs::read_dir(&restored).unwrap().count(), 1);
    assert!(!disk.folder.path().join("escaped").exists());
    assert!(!disk.folder.path().parent().unwrap().join("escaped").exists());
}

#[test]
fn a_copys_root_keeps_its_mode() {
    let disk = disk();
    let mode = |name: &str| std::fs::metadata(disk.folder.path().join(name)).unwrap().mode() & 0o7777;
    disk.backend.prepare(&folder("source"), 0, Content::Empty).unwrap();
    disk.backend.keep(&folder("source")).unwrap();
    assert_eq!(mode("source"), 0o777);
    // As a database wants it.
    let closed = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(disk.folder.path().join("source"), closed).unwrap();
    let snapshot = item("snap", Kind::Snapshot, Access::Mount);
    disk.backend.prepare(&snapshot, 0, Content::CopyOf(&folder("source"))).unwrap();
    disk.backend.keep(&snapshot).unwrap();
    disk.backend.prepare(&folder("restored"), 0, Content::CopyOf(&snapshot)).unwrap();
    disk.backend.keep(&folder("restored")).unwrap();
    assert_eq!((mode("snap.snap"), mode("restored")), (0o700, 0o700));
}

#[test]
fn an_archives_pipes_devices_and_attributes_are_restored() {
    use std::os::unix::fs::FileTypeExt;
    let disk = disk();
    let mut builder =
        tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut add = |name: &str, kind: tar::EntryType, mode: u32| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        if kind == tar::EntryType::Regular || kind == tar::EntryType::Directory {
            builder.append_pax_extensions([("SCHILY.xattr.user.color", b"blue".as_slice())]).unwrap();
        }
        header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, io::empty()).unwrap();
    };
    add("./", tar::EntryType::Directory, 0o750);
    add("./deep/pipe", tar::EntryType::Fifo, 0o622);
    add("./null", tar::EntryType::Char, 0o666);
    add("../escaped", tar::EntryType::Fifo, 0o666);
    add("./file", tar::EntryType::Regular, 0o640);
    let bytes = builder.into_inner().unwrap().finish().unwrap();
    std::fs::write(disk.folder.path().join("old.snap"), bytes).unwrap();
    let old = item("old", Kind::Archive, Access::Mount);
    disk.backend.prepare(&folder("new"), 0, Content::CopyOf(&old)).unwrap();
    let made = disk.folder.path().join(NEW).join("new");
    let kind = |name: &str| std::fs::symlink_metadata(made.join(name)).unwrap();
    assert!(kind("deep/pipe").file_type().is_fifo() && kind("deep/pipe").mode() & 0o777 == 0o622);
    if rustix::process::geteuid().is_root() {
        let null = kind("null");
        assert!(null.file_type().is_char_device());
        assert_eq!(null.rdev(), rustix::fs::makedev(1, 3));
    }
    assert_eq!(kind("").mode() & 0o777, 0o750, "the archive's root brings its mode");
    assert!(!disk.folder.path().join(NEW).join("escaped").exists());
    for name in ["file", ""] {
        let mut value = [0; 8];
        match rustix::fs::getxattr(made.join(name), "user.color", &mut value) {
            Ok(length) => assert_eq!(&value[..length], b"blue", "{name:?}"),
            Err(error) => assert_eq!(error, Errno::OPNOTSUPP, "{name:?}"),
        }
    }
}
