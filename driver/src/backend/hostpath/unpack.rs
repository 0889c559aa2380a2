//! Restoring an archive that the Go driver wrote (gzip tar of a folder's content).

use std::fs::File;
use std::io;
use std::path::Path;

use flate2::read::GzDecoder;

/// Unpacks into a folder that nobody else sees yet. Entries whose names or links would lead out of it
/// are refused by the archive reader.
pub(super) fn unpack(archive: File, folder: &Path) -> io::Result<()> {
    let mut archive = tar::Archive::new(GzDecoder::new(io::BufReader::new(archive)));
    let is_root = rustix::process::geteuid().is_root();
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(is_root);
    archive.set_overwrite(true);
    archive.unpack(folder)
}
