//! Volume and snapshot ids: what ceph-csi gives, byte for byte, and what in-tree migration makes.
//!
//! ```text
//! 0001-0009-rook-ceph-0000000000000002-50d53503-9da1-11ed-847e-bacf8f2f1297
//! │    │    │         │                └ uuid of the object
//! │    │    │         └ id of the image's pool, 16 hexadecimal digits
//! │    │    └ cluster id; it may hold dashes, so its length decides where it ends
//! │    └ length of the cluster id, 4 hexadecimal digits
//! └ version
//! ```

use std::fmt;

use crate::rbd::names::{Uuid, is_uuid};

/// The only version.
const VERSION: &str = "0001";
/// The longest id.
const MAX: usize = 128;
/// What in-tree migration begins its ids with.
const MIGRATED: &str = "mig_mons-";
/// In-tree provisioning named its images with this before a UUID.
pub(crate) const IN_TREE_IMAGE: &str = "kubernetes-dynamic-pvc-";

/// The id of a volume or a snapshot that a journal knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Handle {
    /// The key of the cluster in the configuration file.
    pub(crate) cluster: String,
    /// The pool of the image.
    pub(crate) pool: i64,
    /// What the journal's object and, by default, the image are named by.
    pub(crate) uuid: Uuid,
}

/// A volume that the in-tree plugin made: no journal knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Migrated {
    /// The MD5 of its monitors, which is the key of the cluster in the configuration file.
    pub(crate) cluster: String,
    /// The pool's name.
    pub(crate) pool: String,
    /// The image's name.
    pub(crate) image: String,
}

/// Any id of ours.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Id {
    /// In a journal.
    Journal(Handle),
    /// Of the in-tree plugin.
    Migrated(Migrated),
}

impl Handle {
    /// The id of an object; none if the cluster id is too long for one.
    pub(crate) fn new(cluster: &str, pool: i64, uuid: Uuid) -> Option<Self> {
        let handle = Self { cluster: cluster.to_owned(), pool, uuid };
        (!cluster.is_empty() && handle.to_string().len() <= MAX).then_some(handle)
    }

    /// Reads an id.
    pub(crate) fn parse(id: &str) -> Option<Self> {
        let rest = id.strip_prefix(VERSION)?.strip_prefix('-')?;
        let (length, rest) = (rest.get(..4)?, rest.get(4..)?.strip_prefix('-')?);
        let length = usize::try_from(hexadecimal(length)?).ok()?;
        let (cluster, rest) = (rest.get(..length)?, rest.get(length..)?.strip_prefix('-')?);
        let (pool, uuid) = (rest.get(..16)?, rest.get(16..)?.strip_prefix('-')?);
        let pool = i64::try_from(hexadecimal(pool)?).ok()?;
        let is_whole = !cluster.is_empty() && is_uuid(uuid) && id.len() <= MAX;
        is_whole.then(|| Self { cluster: cluster.to_owned(), pool, uuid: uuid.to_owned() })
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, pool, uuid } = self;
        write!(f, "{VERSION}-{:04x}-{cluster}-{pool:016x}-{uuid}", cluster.len())
    }
}

impl Migrated {
    /// Reads `mig_mons-<md5>_image-<uuid>_<pool's name in hexadecimal>`.
    pub(crate) fn parse(id: &str) -> Option<Self> {
        let (cluster, rest) = id.strip_prefix(MIGRATED)?.split_once("_image-")?;
        let (image, pool) = rest.rsplit_once('_')?;
        let pool = bytes(pool).and_then(|pool| String::from_utf8(pool).ok())?;
        let is_whole = !cluster.is_empty() && !image.is_empty() && !pool.is_empty();
        is_whole.then(|| Self { cluster: cluster.to_owned(), pool, image: format!("{IN_TREE_IMAGE}{image}") })
    }
}

impl Id {
    /// Reads an id of either kind.
    pub(crate) fn parse(id: &str) -> Option<Self> {
        Handle::parse(id).map(Self::Journal).or_else(|| Migrated::parse(id).map(Self::Migrated))
    }
}

/// A number of hexadecimal digits and nothing else: no sign, no space.
pub(crate) fn hexadecimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u64::from_str_radix(text, 16).ok())?
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2).and_then(hexadecimal))
        .map(|byte| byte.and_then(|byte| u8::try_from(byte).ok()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "50d53503-9da1-11ed-847e-bacf8f2f1297";

    #[test]
    fn handles_are_read_and_written_as_ceph_csi_does() {
        for (text, cluster, pool) in [
            // The sheet's example.
            ("0001-0009-rook-ceph-0000000000000002-50d53503-9da1-11ed-847e-bacf8f2f1297", "rook-ceph", 2),
            ("0001-0001-c-ffffffffff-0000000000000001-50d53503-9da1-11ed-847e-bacf8f2f1297", "", 0),
            (
                "0001-0024-b9127830-b0cc-4e34-aa47-9d1a2e9949a8-00000000000000ff-50d53503-9da1-11ed-847e-bacf8f2f1297",
                "b9127830-b0cc-4e34-aa47-9d1a2e9949a8",
                255,
            ),
            ("0001-0003-a-b-7fffffffffffffff-50d53503-9da1-11ed-847e-bacf8f2f1297", "a-b", i64::MAX),
        ] {
            let parsed = Handle::parse(text);
            if cluster.is_empty() {
                assert_eq!(parsed, None, "{text}");
                continue;
            }
            let expected = Handle { cluster: cluster.to_owned(), pool, uuid: UUID.to_owned() };
            assert_eq!(parsed.as_ref(), Some(&expected), "{text}");
            assert_eq!(expected.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_handle_is_refused() {
        let long = format!("0001-0041-{}-0000000000000002-{UUID}", "c".repeat(0x41));
        for text in [
            "",
            "reallyfakevolumeid",
            "0002-0009-rook-ceph-0000000000000002-50d53503-9da1-11ed-847e-bacf8f2f1297",
            "0001-0008-rook-ceph-0000000000000002-50d53503-9da1-11ed-847e-bacf8f2f1297",
            "0001-0009-rook-ceph-0000000000000002-50d53503-9da1-11ed-847e-bacf8f2f129",
            "0001-0009-rook-ceph-000000000000000g-50d53503-9da1-11ed-847e-bacf8f2f1297",
            "0001-0009-rook-ceph-ffffffffffffffff-50d53503-9da1-11ed-847e-bacf8f2f1297",
            "0001-+009-rook-ceph-0000000000000002-50d53503-9da1-11ed-847e-bacf8f2f1297",
            "0001-0000--0000000000000002-50d53503-9da1-11ed-847e-bacf8f2f1297",
            "0001-ffff-rook-ceph",
            "0001-0002-ü-0000000000000002-50d53503-9da1-11ed-847e-bacf8f2f129",
            &long,
        ] {
            assert_eq!(Id::parse(text), None, "{text}");
        }
        assert!(Handle::new(&"c".repeat(0x40), 1, UUID.to_owned()).is_some());
        assert!(Handle::new(&"c".repeat(0x41), 1, UUID.to_owned()).is_none());
    }

    #[test]
    fn migrated_handles_name_pool_and_image() {
        let md5 = "7982de6a23b77bce50b1ba9f2e879cce";
        let id = format!("mig_mons-{md5}_image-{UUID}_7265706c696361706f6f6c");
        let expected = Migrated {
            cluster: md5.to_owned(),
            pool: "replicapool".to_owned(),
            image: format!("kubernetes-dynamic-pvc-{UUID}"),
        };
        assert_eq!(Id::parse(&id), Some(Id::Migrated(expected)));
        for (image, pool) in [("", "72"), ("x", ""), ("x", "7"), ("x", "7g"), ("x", "ff")] {
            assert_eq!(Id::parse(&format!("mig_mons-{md5}_image-{image}_{pool}")), None, "{image} {pool}");
        }
    }
}
