//! Whether what is mounted at a place is an image's device.

use std::io;
use std::path::Path;

use super::device::At;
use super::mapper::Spec;
use super::stash::Stash;

/// Whether what is mounted in a staging folder is the device that its note names; `mapped` is the image's device if the note does not
/// say, as an old ceph-csi's.
pub(super) fn is_staged(at: &At, stash: Option<&Stash>, mapped: Option<&Path>) -> bool {
    stash.is_some_and(|stash| match stash.device.as_str() {
        "" => mapped == Some(at.device()),
        device => Path::new(device) == at.device(),
    })
}

/// Whether one of these notes, of other staging folders, is about an image.
pub(super) fn is_one_of(spec: &Spec, mut notes: impl Iterator<Item = Stash>) -> bool {
    notes.any(|note| note.spec().may_be(spec))
}

/// Whether a device is of a kind that images become: krbd's, rbd-nbd's, or a loop device with a file that rbd-fuse serves. Where a
/// call does not say what was staged, it touches no other.
///
/// # Errors
/// The system's.
pub(super) fn is_of_image(device: &Path, fuse_folder: &Path) -> io::Result<bool> {
    let name = device.file_name().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
    let shown = std::fs::read_to_string(format!("/sys/block/{name}/loop/backing_file"));
    match shown {
        Ok(shown) => Ok(judge(name, Some(shown.trim_end_matches('\n')), fuse_folder)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(judge(name, None, fuse_folder)),
        Err(error) => Err(error),
    }
}

/// Decides by a device's name, and by the path of its file if it is a loop device. A file whose mount is in another mount namespace, or
/// is gone, is shown with its path from there.
fn judge(name: &str, file: Option<&str>, fuse_folder: &Path) -> bool {
    let is_numbered = |kind: &str| {
        let number = name.strip_prefix(kind).unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_served = |file: &str| {
        let file = Path::new(file.strip_suffix(" (deleted)").unwrap_or(file));
        file.starts_with(fuse_folder) || file.parent() == Some(Path::new("/"))
    };
    is_numbered("rbd") || is_numbered("nbd") || (is_numbered("loop") && file.is_some_and(is_served))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::mapper::Kind;
    use super::*;

    #[test]
    fn a_mount_is_the_staged_one_only_if_the_note_names_its_device() {
        let text = |text: &str| text.to_owned();
        let spec = Spec { cluster: text(""), pool: text("rbd"), namespace: text(""), image: text("image") };
        let stash =
            |device: &str| Stash { device: text(device), ..Stash::new(&spec, Kind::Krbd, String::new()) };
        for at in [At::Folder(PathBuf::from("/dev/rbd1")), At::Block(PathBuf::from("/dev/rbd1"))] {
            for (stash, mapped, expected) in [
                (None, Some("/dev/rbd1"), false),
                (Some(stash("/dev/rbd1")), None, true),
                (Some(stash("/dev/rbd2")), Some("/dev/rbd1"), false),
                (Some(stash("")), Some("/dev/rbd1"), true),
                (Some(stash("")), Some("/dev/rbd2"), false),
                (Some(stash("")), None, false),
            ] {
                let found = is_staged(&at, stash.as_ref(), mapped.map(Path::new));
                assert_eq!(found, expected, "{at:?} {stash:?} {mapped:?}");
            }
        }
    }

    #[test]
    fn disks_and_other_peoples_loop_devices_are_of_no_image() {
        for (name, file, expected) in [
            ("rbd0", None, true),
            ("nbd12", None, true),
            ("loop3", Some("/run/mooring-rbd/f1%2Frbd%2Fimage/mount/image"), true),
            ("loop3", Some("/run/mooring-rbd/f1%2Frbd%2Fimage/mount/image (deleted)"), true),
            ("loop3", Some("/image"), true),
            ("loop3", Some("/var/lib/disk"), false),
            ("loop3", None, false),
            ("vda1", None, false),
            ("dm-0", None, false),
            ("rbd", None, false),
            ("", None, false),
        ] {
            assert_eq!(judge(name, file, Path::new("/run/mooring-rbd")), expected, "{name} {file:?}");
        }
    }
}
