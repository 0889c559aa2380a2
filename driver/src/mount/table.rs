//! The kernel's table of mounts, as this process sees it (`/proc/self/mountinfo`).

use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::io::Errno;

/// Where something is inside its file system, whatever path leads there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file system, as `major:minor`.
    device: String,
    /// The path from the file system's own root.
    path: PathBuf,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    id: u64,
    point: PathBuf,
    /// What is mounted.
    pub root: Place,
    /// Options of this mount, such as `ro`; not those of its file system.
    options: Vec<String>,
}

impl Place {
    /// The place of `name` in this folder.
    pub fn join(&self, name: &str) -> Self {
        Self { device: self.device.clone(), path: self.path.join(name) }
    }
}

impl Entry {
    /// Whether the mount has an option.
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|present| present == option)
    }
}

/// The mount that a path is in; the topmost one, if it is mounted over. The path has no links.
///
/// # Errors
/// The system's, such as that the path does not exist.
pub fn entry(path: &Path) -> io::Result<Entry> {
    let entries = read()?;
    let id = match rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::MNT_ID) {
        Ok(stat) if StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::MNT_ID) => {
            Some(stat.stx_mnt_id)
        }
        // A kernel before 5.8, or a mount whose source is gone: the table itself must do.
        Ok(_) | Err(Errno::STALE) => None,
        Err(error) => return Err(error.into()),
    };
    let found = match id {
        Some(id) => entries.into_iter().find(|entry| entry.id == id),
        None => {
            let above = entries.into_iter().filter(|entry| path.starts_with(&entry.point));
            // The last one of the longest: it covers the others.
            above.max_by_key(|entry| entry.point.as_os_str().len())
        }
    };
    found.ok_or_else(|| io::Error::other(format!("{} is in no mount of the table", path.display())))
}

/// Where something is mounted.
///
/// # Errors
/// The system's.
pub fn points(root: &Place) -> io::Result<Vec<PathBuf>> {
    Ok(read()?.into_iter().filter(|entry| entry.root == *root).map(|entry| entry.point).collect())
}

/// Where the file system of a device (`major:minor`) is mounted, and its node, which is called so.
///
/// # Errors
/// The system's.
pub(crate) fn points_of_device(number: &str, node: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(read()?
        .into_iter()
        .filter(|entry| is_of_device(entry, number, node))
        .map(|entry| entry.point)
        .collect())
}

/// Decides about one mount. A node is mounted from the file system of `/dev`.
fn is_of_device(entry: &Entry, number: &str, node: &Path) -> bool {
    let name = node.file_name();
    entry.root.device == number
        || (name.is_some()
            && entry.root.path.parent() == Some(Path::new("/"))
            && entry.root.path.file_name() == name)
}

/// The place of a path without links.
///
/// # Errors
/// As [`entry`].
pub fn place(path: &Path) -> io::Result<Place> {
    let Entry { point, root, .. } = entry(path)?;
    let below = path.strip_prefix(&point).map_err(io::Error::other)?;
    Ok(Place { path: root.path.join(below), ..root })
}

fn read() -> io::Result<Vec<Entry>> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    Ok(table.split(|byte| *byte == b'\n').filter_map(parse).collect())
}

/// One line: id, parent, device, root, point, options, and more that is of no interest here.
fn parse(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mut text = || Some(String::from_utf8_lossy(fields.next()?).into_owned());
    let (id, _parent, device) = (text()?.parse().ok()?, text()?, text()?);
    let (root, point) = (unescaped(fields.next()?), unescaped(fields.next()?));
    // A folder that was removed while it was mounted.
    let root = root.strip_suffix(b"//deleted").unwrap_or(&root).to_vec();
    let options = String::from_utf8_lossy(fields.next()?).split(',').map(str::to_owned).collect();
    let path = |bytes: Vec<u8>| PathBuf::from(std::ffi::OsString::from_vec(bytes));
    Some(Entry { id, point: path(point), root: Place { device, path: path(root) }, options })
}

/// The table writes space, tab, newline and backslash as a backslash and three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        let code = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain
}

/// Whether the table has a mount exactly at `target`: for kernels whose statx does not tell.
pub(crate) fn lists(target: &Path) -> io::Result<bool> {
    Ok(read()?.iter().any(|entry| entry.point.as_os_str().as_bytes() == target.as_os_str().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_its_escapes() {
        let line = b"36 35 98:0 /a\\040b//deleted /mnt/c\\134d ro,nosuid shared:1 - ext3 /dev/root rw";
        let entry = parse(line).unwrap();
        assert_eq!((entry.id, entry.point.as_path()), (36, Path::new("/mnt/c\\d")));
        assert_eq!(entry.root, Place { device: "98:0".to_owned(), path: PathBuf::from("/a b") });
        assert!(entry.has("ro") && entry.has("nosuid") && !entry.has("rw"));
        assert_eq!(parse(b"36 35"), None);
    }

    #[test]
    fn a_device_is_mounted_as_file_system_or_as_node() {
        for (line, expected) in [
            ("36 35 7:3 / /staging/volume rw - ext4 /dev/loop3 rw", true),
            ("36 35 7:3 /folder /target rw - ext4 /dev/loop3 rw", true),
            ("36 35 0:6 /loop3 /staging/volume rw - devtmpfs udev rw", true),
            ("36 35 7:30 / /staging/volume rw - ext4 /dev/loop30 rw", false),
            ("36 35 0:6 /loop30 /staging/volume rw - devtmpfs udev rw", false),
            ("36 35 0:6 / /dev rw - devtmpfs udev rw", false),
        ] {
            let entry = parse(line.as_bytes()).unwrap();
            assert_eq!(is_of_device(&entry, "7:3", Path::new("/dev/loop3")), expected, "{line}");
        }
    }

    #[test]
    fn this_process_finds_its_own_mounts() {
        let root = entry(Path::new("/proc")).unwrap();
        assert_eq!((root.point.as_path(), root.root.path.as_path()), (Path::new("/proc"), Path::new("/")));
        assert_eq!(place(Path::new("/proc/self")).unwrap().path, Path::new("/self"));
        assert!(lists(Path::new("/proc")).unwrap() && !lists(Path::new("/nowhere")).unwrap());
    }
}
