//! The names of images, of the journal's objects and of their keys: ceph-csi's.

/// 36 characters of a UUID.
pub(crate) type Uuid = String;

/// What an image is: volume or snapshot. Each has its own journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A volume.
    Volume,
    /// A snapshot: an image too, so that it outlives its volume.
    Snapshot,
}

impl Kind {
    /// The object that maps names to UUIDs.
    pub(crate) fn directory(self, instance: &str) -> String {
        match self {
            Self::Volume => format!("csi.volumes.{instance}"),
            Self::Snapshot => format!("csi.snaps.{instance}"),
        }
    }

    /// The key of a name in the directory begins with this.
    pub(crate) fn key_prefix(self) -> &'static str {
        match self {
            Self::Volume => "csi.volume.",
            Self::Snapshot => "csi.snap.",
        }
    }

    /// The key of a name in the directory.
    pub(crate) fn key(self, name: &str) -> String {
        format!("{}{name}", self.key_prefix())
    }

    /// The object with an image's attributes.
    pub(crate) fn object(self, uuid: &str) -> String {
        format!("{}{uuid}", self.key_prefix())
    }

    /// The attribute that holds the caller's name.
    pub(crate) fn name_attribute(self) -> &'static str {
        match self {
            Self::Volume => "csi.volname",
            Self::Snapshot => "csi.snapname",
        }
    }

    /// What an image's name begins with unless the class says otherwise.
    pub(crate) fn image_prefix(self) -> &'static str {
        match self {
            Self::Volume => "csi-vol-",
            Self::Snapshot => "csi-snap-",
        }
    }

    /// `volume` or `snapshot`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Volume => "volume",
            Self::Snapshot => "snapshot",
        }
    }
}

/// The attribute with the image's name.
pub(crate) const IMAGE_NAME: &str = "csi.imagename";
/// The attribute with the image's id; the last that is written.
pub(crate) const IMAGE_ID: &str = "csi.imageid";
/// The attribute with the namespace of the claim.
pub(crate) const OWNER: &str = "csi.volume.owner";
/// The attribute with the id of the directory's pool, where that is not the image's.
pub(crate) const JOURNAL_POOL: &str = "csi.journalpool";
/// A snapshot's attribute with the name of the image that it was made of.
pub(crate) const SOURCE: &str = "csi.source";
/// The attribute of an image that is being undone; ceph-csi has no such, and passes it over.
pub(crate) const UNDOING: &str = "mooring.undoing";
/// An encrypted volume has this attribute.
pub(crate) const ENCRYPTED: &str = "csi.volume.encryptKMS";

/// What the name of the image between a volume and its clone ends with.
pub(crate) const INTERMEDIATE: &str = "-temp";

/// The image between a volume and its clone.
pub(crate) fn intermediate(image: &str) -> String {
    format!("{image}{INTERMEDIATE}")
}

/// The caller's name of a volume for which it gave none: also the image's name.
pub(crate) fn nameless(pool: &str, uuid: &str) -> String {
    format!("{pool}-dynamic-pvc-{uuid}")
}

/// A new UUID.
pub(crate) fn new_uuid() -> Uuid {
    uuid::Uuid::new_v4().to_string()
}

/// The UUID that a name ends with.
pub(crate) fn uuid_of(name: &str) -> Option<&str> {
    name.get(name.len().checked_sub(36)?..).filter(|end| is_uuid(end))
}

/// 8-4-4-4-12 hexadecimal digits.
pub(crate) fn is_uuid(text: &str) -> bool {
    let dashes = [8, 13, 18, 23];
    text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if dashes.contains(&at) { byte == b'-' } else { byte.is_ascii_hexdigit() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_and_keys_are_ceph_csis() {
        for (kind, directory, key, object, attribute) in [
            (Kind::Volume, "csi.volumes.default", "csi.volume.pvc-1", "csi.volume.u", "csi.volname"),
            (Kind::Snapshot, "csi.snaps.default", "csi.snap.pvc-1", "csi.snap.u", "csi.snapname"),
        ] {
            assert_eq!(kind.directory("default"), directory);
            assert_eq!(kind.key("pvc-1"), key);
            assert_eq!(kind.object("u"), object);
            assert_eq!(kind.name_attribute(), attribute);
        }
        assert_eq!(intermediate("csi-vol-u"), "csi-vol-u-temp");
        assert_eq!(nameless("rbd", "u"), "rbd-dynamic-pvc-u");
        let uuid = new_uuid();
        assert_eq!(uuid_of(&nameless("rbd", &uuid)), Some(uuid.as_str()));
        assert_eq!([uuid_of("pvc-1"), uuid_of(&"ü".repeat(36))], [None, None]);
        assert!(is_uuid(&new_uuid()) && !is_uuid("u"));
    }
}
