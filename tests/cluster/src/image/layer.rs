//! A file tree as a tar file that is the same for the same content.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use tar::{Builder, EntryType, Header};

use super::error::ImageError;

/// What stands at a path.
#[derive(Debug)]
enum Entry {
    Folder(u32),
    File(u32, Vec<u8>),
    Link(String),
}

/// Files, folders and links of one layer, all of root; paths have no leading slash.
#[derive(Debug, Default)]
pub struct Layer {
    entries: BTreeMap<String, Entry>,
}

impl Layer {
    /// Nothing.
    pub fn new() -> Layer {
        Layer::default()
    }

    /// And a folder.
    #[must_use]
    pub fn folder(mut self, path: &str, mode: u32) -> Layer {
        self.entries.insert(path.to_owned(), Entry::Folder(mode));
        self
    }

    /// And a file with this content.
    #[must_use]
    pub fn text(self, path: &str, content: &str) -> Layer {
        self.bytes(path, content.as_bytes().to_vec())
    }

    /// And a file with these bytes.
    #[must_use]
    pub(super) fn bytes(mut self, path: &str, content: Vec<u8>) -> Layer {
        self.entries.insert(path.to_owned(), Entry::File(0o644, content));
        self
    }

    /// And a copy of an executable of this machine.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn executable(mut self, path: &str, file: &Path) -> Result<Layer, ImageError> {
        let content = std::fs::read(file).map_err(ImageError::file(file))?;
        self.entries.insert(path.to_owned(), Entry::File(0o755, content));
        Ok(self)
    }

    /// And a symbolic link.
    #[must_use]
    pub fn link(mut self, path: &str, target: &str) -> Layer {
        self.entries.insert(path.to_owned(), Entry::Link(target.to_owned()));
        self
    }

    /// Writes the layer's tar file: a container tool unpacks it with `ADD`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, file: &Path) -> Result<(), ImageError> {
        std::fs::write(file, self.tar()?).map_err(ImageError::file(file))
    }

    /// The layer's tar file: sorted by path, nothing in it tells when or where it was made.
    ///
    /// # Errors
    /// A path is too long.
    pub(super) fn tar(&self) -> Result<Vec<u8>, ImageError> {
        let mut tar = Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            append(&mut tar, path, entry).map_err(ImageError::Layer)?;
        }
        tar.into_inner().map_err(ImageError::Layer)
    }
}

fn append(tar: &mut Builder<Vec<u8>>, path: &str, entry: &Entry) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    match entry {
        Entry::Folder(mode) => {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(*mode);
            tar.append_data(&mut header, format!("{path}/"), io::empty())
        }
        Entry::File(mode, content) => {
            header.set_entry_type(EntryType::Regular);
            header.set_mode(*mode);
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, path, content.as_slice())
        }
        Entry::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            tar.append_link(&mut header, path, target)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_content_in_any_order_is_the_same_bytes() {
        let one = Layer::new().text("etc/a", "1").link("b", "etc/a").folder("etc", 0o755);
        let other = Layer::new().folder("etc", 0o755).text("etc/a", "1").link("b", "etc/a");
        assert_eq!(one.tar().expect("a tar"), other.tar().expect("a tar"));
        let third = Layer::new().text("etc/a", "2");
        assert_ne!(one.tar().expect("a tar"), third.tar().expect("a tar"));
    }

    #[test]
    fn entries_belong_to_root_and_have_no_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("program");
        std::fs::write(&file, "#!/bin/sh\n").expect("written");
        let layer =
            Layer::new().executable("bin/program", &file).expect("read").link("program", "/bin/program");
        let bytes = layer.tar().expect("a tar");
        let mut archive = tar::Archive::new(bytes.as_slice());
        let seen: Vec<_> = archive
            .entries()
            .expect("entries")
            .map(|entry| {
                let entry = entry.expect("an entry");
                let header = entry.header();
                let path = entry.path().expect("a path").display().to_string();
                assert_eq!(
                    (header.uid().ok(), header.gid().ok(), header.mtime().ok()),
                    (Some(0), Some(0), Some(0))
                );
                (path, header.mode().expect("a mode"), header.size().expect("a size"))
            })
            .collect();
        assert_eq!(seen, [("bin/program".to_owned(), 0o755, 10), ("program".to_owned(), 0o777, 0)]);
    }
}
