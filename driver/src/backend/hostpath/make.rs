//! Making content: new, or a copy. What is made is on the disk when it is done.

use std::fs::File;
use std::io;

use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{BENEATH, FILE_MODE, FOLDER_MODE, Hostpath, NEW, Space, copy, unpack};
use crate::backend::{Content, Kind};
use crate::loopdev;

impl Hostpath {
    pub(super) fn make_folder(&self, name: &str, content: Content<'_>) -> io::Result<()> {
        rustix::fs::mkdirat(&self.new, name, Mode::from_raw_mode(0o700))?;
        let folder = Self::open_folder(&self.new, name)?;
        match content {
            // Not by mkdirat, which obeys the umask. A copy keeps the mode of what it is a copy of: there are
            // programs that refuse to start in a folder that is open to all.
            Content::Empty => rustix::fs::fchmod(&folder, FOLDER_MODE)?,
            Content::CopyOf(source) if source.kind == Kind::Archive => {
                // An archive with an entry for the folder itself brings the folder's mode.
                rustix::fs::fchmod(&folder, FOLDER_MODE)?;
                let archive = Self::open_file(&self.root, &Self::file_name(source)?, OFlags::RDONLY)?;
                unpack::unpack(archive, &self.path.join(NEW).join(name))?;
            }
            Content::CopyOf(source) => {
                let from = Self::open_folder(&self.root, &Self::file_name(source)?)?;
                copy::copy_folder(&from, &folder)?;
            }
        }
        match content {
            Content::Empty => Ok(rustix::fs::fsync(&folder)?),
            // One call for all files of the copy; a sync of each would take far longer.
            Content::CopyOf(_) => Ok(rustix::fs::syncfs(&folder)?),
        }
    }

    pub(super) fn make_file(&self, name: &str, size: u64, content: Content<'_>) -> io::Result<()> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = File::from(rustix::fs::openat2(&self.new, name, flags, FILE_MODE, BENEATH)?);
        if let Content::CopyOf(source) = content {
            if source.kind == Kind::Volume {
                loopdev::flush(&self.path(source)?)?;
            }
            let from = Self::open_file(&self.root, &Self::file_name(source)?, OFlags::RDONLY)?;
            match self.space {
                Space::AtOnce => copy::copy_file_apart(&from, &file)?,
                Space::WhenWritten => copy::copy_file(&from, &file)?,
            }
        }
        if size > 0 {
            self.extend(&file, size)?;
        }
        // A snapshot that a power cut would empty is none.
        file.sync_all()
    }

    /// Makes a device's file at least this large. If the disk is too full for it, the file stays as it is.
    pub(super) fn extend(&self, file: &File, size: u64) -> io::Result<()> {
        let length = file.metadata()?.len();
        if self.space == Space::AtOnce {
            match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size.max(length)) {
                // This file system cannot promise space.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
                Ok(()) => return Ok(()),
                Err(error) => {
                    file.set_len(length)?;
                    return Err(error.into());
                }
            }
        }
        if length < size { file.set_len(size) } else { Ok(()) }
    }
}
