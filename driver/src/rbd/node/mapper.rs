//! How an image becomes a device of this node.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use base::secret::SecretValue;

/// An image. It is written as Ceph's programs name it, without its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spec {
    /// The cluster's own id (`fsid`); empty where nobody noted it: ceph-csi, and this driver in an earlier version.
    pub(crate) cluster: String,
    /// The pool.
    pub(crate) pool: String,
    /// Its namespace; empty: the default one.
    pub(crate) namespace: String,
    /// The image.
    pub(crate) image: String,
}

impl Spec {
    /// Whether both may be the same image: what is not known of the cluster does not count.
    pub(super) fn may_be(&self, other: &Self) -> bool {
        let is_one =
            (&self.pool, &self.namespace, &self.image) == (&other.pool, &other.namespace, &other.image);
        is_one && may_be_one(&self.cluster, &other.cluster)
    }
}

/// Whether two ids of clusters, each empty where it is not known, may be of one.
pub(super) fn may_be_one(one: &str, other: &str) -> bool {
    one.is_empty() || other.is_empty() || one == other
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pool, namespace, image, .. } = self;
        if namespace.is_empty() {
            write!(f, "{pool}/{image}")
        } else {
            write!(f, "{pool}/{namespace}/{image}")
        }
    }
}

/// What is to be mapped, and by whom.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) spec: &'a Spec,
    pub(super) monitors: &'a str,
    pub(super) user: &'a str,
    pub(super) key: &'a SecretValue,
    pub(super) readonly: bool,
    /// For the mapper, by comma; may be empty.
    pub(super) options: &'a str,
    /// The device that is noted of an earlier map; may be empty.
    pub(super) former: &'a str,
}

/// A way to map images.
pub(super) trait Mapper: Send + Sync + fmt::Debug {
    /// The device of an image, if it is mapped.
    ///
    /// # Errors
    /// The system's.
    fn find(&self, spec: &Spec) -> io::Result<Option<PathBuf>>;

    /// The devices that [`Self::unmap`] would take away.
    ///
    /// # Errors
    /// The system's.
    fn devices(&self, spec: &Spec, former: &str) -> io::Result<Vec<PathBuf>>;

    /// Whether this node has the image open, mapped or on the way there.
    ///
    /// # Errors
    /// The system's.
    fn is_open_here(&self, spec: &Spec) -> io::Result<bool> {
        Ok(self.find(spec)?.is_some())
    }

    /// Maps an image that is not mapped; gives its device.
    ///
    /// # Errors
    /// The system's.
    fn map(&self, request: &Request<'_>) -> io::Result<PathBuf>;

    /// Takes a device away; an image that is not mapped is fine. `former` is the device that is noted of it, or empty.
    ///
    /// # Errors
    /// The system's, such as EBUSY.
    fn unmap(&self, spec: &Spec, former: &str, options: &str) -> io::Result<()>;

    /// Lets the device see the image's present size.
    ///
    /// # Errors
    /// The system's.
    fn resized(&self, device: &Path) -> io::Result<()>;
}

/// The ways, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The kernel's own client.
    Krbd,
    /// rbd-nbd.
    Nbd,
    /// rbd-fuse and a loop device: where the kernel has neither.
    Fuse,
}

impl Kind {
    /// The name in the flag and in the stash.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Krbd => "krbd",
            Self::Nbd => "nbd",
            Self::Fuse => "fuse",
        }
    }

    /// The way of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Krbd, Self::Nbd, Self::Fuse].into_iter().find(|kind| kind.name() == name)
    }
}

/// The options for one way out of a class's `mapOptions` or `unmapOptions`: `krbd:a,b;nbd:c`; without a prefix they are krbd's.
pub(super) fn options_for(kind: Kind, text: &str) -> String {
    let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    let own = parts.filter_map(|part| match part.split_once(':') {
        Some((name, options)) if Kind::named(name).is_some() => (name == kind.name()).then_some(options),
        _ => (kind == Kind::Krbd).then_some(part),
    });
    own.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_gets_its_own_options() {
        for (text, kind, expected) in [
            ("", Kind::Krbd, ""),
            ("lock_on_read,queue_depth=64", Kind::Krbd, "lock_on_read,queue_depth=64"),
            ("lock_on_read", Kind::Nbd, ""),
            ("krbd:a,b;nbd:c", Kind::Krbd, "a,b"),
            ("krbd:a,b;nbd:c", Kind::Nbd, "c"),
            ("krbd:a,b;nbd:c", Kind::Fuse, ""),
            ("crush_location=zone:z1", Kind::Krbd, "crush_location=zone:z1"),
        ] {
            assert_eq!(options_for(kind, text), expected, "{text} {kind:?}");
        }
    }
}
