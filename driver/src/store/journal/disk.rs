//! What the journal needs of a disk: a seam for tests that fail or lose what was not synced.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{CWD, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

/// A folder with files.
pub trait Disk: Debug + Send + Sync {
    /// One of its files.
    type File: DiskFile;

    /// Opens a file for reading and writing, made if it is not there.
    ///
    /// # Errors
    /// The system's, as of all these.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// As [`Self::open`], and empties it.
    ///
    /// # Errors
    /// The system's.
    fn open_empty(&self, name: &str) -> io::Result<Self::File>;

    /// Gives a file another name, whoever has that so far.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Brings all names to the disk.
    ///
    /// # Errors
    /// The system's.
    fn sync_names(&self) -> io::Result<()>;
}

/// An open file.
pub trait DiskFile: Debug + Send {
    /// All that is in it.
    ///
    /// # Errors
    /// The system's, as of all these.
    fn read(&mut self) -> io::Result<Vec<u8>>;

    /// Writes at a position. After an error a part may be written.
    ///
    /// # Errors
    /// The system's.
    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Cuts it off.
    ///
    /// # Errors
    /// The system's.
    fn cut(&self, length: u64) -> io::Result<()>;

    /// Brings its content and length to the disk.
    ///
    /// # Errors
    /// The system's.
    fn sync(&self) -> io::Result<()>;

    /// Sets space aside beyond its end. False if the file system cannot.
    ///
    /// # Errors
    /// The system's, such as a full disk.
    fn reserve(&self, from: u64, length: u64) -> io::Result<bool>;
}

/// A folder of the system's.
#[derive(Debug)]
pub struct Folder(pub PathBuf);

impl Folder {
    fn open_with(&self, name: &str, more: OFlags) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | more;
        Ok(File::from(rustix::fs::openat(CWD, self.0.join(name), flags, Mode::from(0o600))?))
    }
}

impl Disk for Folder {
    type File = File;

    fn open(&self, name: &str) -> io::Result<File> {
        self.open_with(name, OFlags::empty())
    }

    fn open_empty(&self, name: &str) -> io::Result<File> {
        self.open_with(name, OFlags::TRUNC)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.0.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

impl DiskFile for File {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn reserve(&self, from: u64, length: u64) -> io::Result<bool> {
        match rustix::fs::fallocate(self, FallocateFlags::KEEP_SIZE, from, length) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn content(opened: io::Result<File>) -> Vec<u8> {
        DiskFile::read(&mut opened.unwrap()).unwrap()
    }

    #[test]
    fn a_file_is_made_for_its_owner_alone_and_keeps_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Folder(folder.path().to_owned());
        let file = disk.open("a").unwrap();
        file.write(b"content", 0).unwrap();
        file.write(b"T", 3).unwrap();
        let metadata = std::fs::metadata(folder.path().join("a")).unwrap();
        assert_eq!(metadata.mode() & 0o777, 0o600);
        assert_eq!(content(disk.open("a")), b"conTent");
        file.cut(4).unwrap();
        assert_eq!(content(disk.open("a")), b"conT");
        assert_eq!(content(disk.open_empty("a")), b"");
    }

    #[test]
    fn a_link_in_the_place_of_a_file_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Folder(folder.path().to_owned());
        std::fs::write(folder.path().join("other"), "other").unwrap();
        std::os::unix::fs::symlink("other", folder.path().join("link")).unwrap();
        assert!(disk.open("link").is_err() && disk.open_empty("link").is_err());
        assert_eq!(std::fs::read(folder.path().join("other")).unwrap(), b"other");
    }

    #[test]
    fn a_file_gets_another_name_and_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Folder(folder.path().to_owned());
        disk.open("a").unwrap().write(b"a", 0).unwrap();
        disk.open("b").unwrap();
        disk.rename("a", "b").unwrap();
        assert_eq!(content(disk.open("b")), b"a");
        disk.remove("b").unwrap();
        assert!(disk.remove("b").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        disk.sync_names().unwrap();
        assert!(Folder(folder.path().join("absent")).sync_names().is_err());
    }

    #[test]
    fn reserved_space_is_beyond_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Folder(folder.path().to_owned());
        let other = disk.open("other").unwrap();
        let is_able = rustix::fs::fallocate(&other, FallocateFlags::empty(), 0, 4096).is_ok();
        let is_reserved = disk.open("a").unwrap().reserve(0, 1 << 20).unwrap();
        let metadata = std::fs::metadata(folder.path().join("a")).unwrap();
        assert_eq!(is_reserved, is_able);
        assert_eq!((metadata.len(), metadata.blocks() * 512 >= 1 << 20), (0, is_able));
    }
}
