//! What is remembered of a staged volume, in its staging folder: ceph-csi's file, with one field more.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::mapper::{Kind, Spec};

/// The file's name.
const NAME: &str = "image-meta.json";
/// While it is written.
const NEW: &str = "image-meta.json.new";

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stash {
    #[serde(rename = "Version")]
    pub(super) version: u32,
    pub(super) pool: String,
    #[serde(rename = "radosNamespace", default)]
    pub(super) namespace: String,
    pub(super) image: String,
    #[serde(rename = "unmapOptions", default)]
    pub(super) unmap_options: String,
    /// Whether rbd-nbd maps it.
    #[serde(rename = "accessType", default)]
    pub(super) is_nbd: bool,
    #[serde(default)]
    pub(super) encrypted: bool,
    #[serde(default)]
    pub(super) device: String,
    /// How it is mapped; ceph-csi has no such field.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) mapper: String,
    /// The cluster's own id; ceph-csi has no such field.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) fsid: String,
}

impl Stash {
    pub(super) fn new(spec: &Spec, kind: Kind, unmap_options: String) -> Self {
        Self {
            version: 3,
            pool: spec.pool.clone(),
            namespace: spec.namespace.clone(),
            image: spec.image.clone(),
            unmap_options,
            is_nbd: kind == Kind::Nbd,
            encrypted: false,
            device: String::new(),
            mapper: kind.name().to_owned(),
            fsid: spec.cluster.clone(),
        }
    }

    /// The image.
    pub(super) fn spec(&self) -> Spec {
        Spec {
            cluster: self.fsid.clone(),
            pool: self.pool.clone(),
            namespace: self.namespace.clone(),
            image: self.image.clone(),
        }
    }

    /// How it is mapped.
    pub(super) fn kind(&self) -> Kind {
        Kind::named(&self.mapper).unwrap_or(if self.is_nbd { Kind::Nbd } else { Kind::Krbd })
    }

    /// Reads the file in a staging folder; none if there is none.
    ///
    /// # Errors
    /// The system's; that it is not readable as such a file.
    pub(super) fn read(staging: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(staging.join(NAME)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the file, whole or not at all, so that it outlives a power cut: the device may.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn write(&self, staging: &Path) -> io::Result<()> {
        let new = staging.join(NEW);
        let text = serde_json::to_vec(self)?;
        let put = || {
            let mut file = File::create(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&new, staging.join(NAME))?;
            File::open(staging)?.sync_all()
        };
        put().inspect_err(|_| {
            // Why it could not be written matters more.
            let _ = std::fs::remove_file(&new);
        })
    }

    /// Removes the file, and what a write that was killed left of it: the kubelet removes only a folder that is empty. Absent ones are
    /// fine.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn remove(staging: &Path) -> io::Result<()> {
        [NEW, NAME].into_iter().try_for_each(|name| match std::fs::remove_file(staging.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
    }
}

/// A staging folder's note, read and written again; none if it is no such.
pub fn stashed(text: &[u8]) -> Option<Vec<u8>> {
    let stash: Stash = serde_json::from_slice(text).ok()?;
    serde_json::to_vec(&stash).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceph_csis_stash_is_read_and_ours_is_as_its() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Stash::read(folder.path()).unwrap(), None);
        let text = r#"{"Version":3,"pool":"rbd","radosNamespace":"","image":"csi-vol-u","unmapOptions":"force",
            "accessType":true,"encrypted":false,"device":"/dev/nbd0","logDir":"/var/log/ceph","logFileStrategy":"remove"}"#;
        std::fs::write(folder.path().join(NAME), text).unwrap();
        let theirs = Stash::read(folder.path()).unwrap().unwrap();
        assert_eq!((theirs.kind(), theirs.spec().to_string().as_str()), (Kind::Nbd, "rbd/csi-vol-u"));
        let spec = Spec {
            cluster: "f".to_owned(),
            pool: "rbd".to_owned(),
            namespace: "n".to_owned(),
            image: "csi-vol-u".to_owned(),
        };
        for kind in [Kind::Krbd, Kind::Nbd, Kind::Fuse] {
            let ours = Stash::new(&spec, kind, String::new());
            ours.write(folder.path()).unwrap();
            let read = Stash::read(folder.path()).unwrap().unwrap();
            assert_eq!((read.kind(), read.spec()), (kind, spec.clone()));
        }
        // Of a write that was killed.
        std::fs::write(folder.path().join("image-meta.json.new"), "{").unwrap();
        Stash::remove(folder.path()).unwrap();
        Stash::remove(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
