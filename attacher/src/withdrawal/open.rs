//! Publications that no attachment records as attached yet, and that are not withdrawn.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kubernetes::object::{Key, Uid};
use kubernetes::secret::SecretRef;

use crate::attachment::in_flight::Pair;
use crate::volume::hold::Hold;

/// A volume that the driver may have published, and what unpublishing it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The attachment that it was published for.
    pub uid: Uid,
    /// The volume and the node, as the driver calls them.
    pub pair: Pair,
    /// The PersistentVolume, held so that it is not released; `None` for an inline volume.
    pub volume: Option<Hold>,
    /// The node's name.
    pub node: Arc<str>,
    /// Where the volume's secret is.
    pub secret: Option<SecretRef>,
    /// Whether the volume was translated from an in-tree plugin's.
    pub migrated: bool,
}

/// What may be published although no attachment records it, by attachment.
#[derive(Debug, Default)]
pub struct Open {
    publications: Mutex<HashMap<Key, Publication>>,
}

impl Open {
    /// The driver may have published this for the attachment called `key`.
    pub fn begin(&self, key: &Key, publication: Publication) {
        self.publications().insert(key.clone(), publication);
    }

    /// The publication is recorded, or withdrawn: forget it.
    pub fn settle(&self, key: &Key) {
        self.publications().remove(key);
    }

    /// The attachment called `key` now has this uid, or is gone. Returns what was published for an earlier
    /// one of that name.
    pub fn orphaned(&self, key: &Key, there: Option<&Uid>) -> Option<Publication> {
        let mut publications = self.publications();
        let orphaned = publications.get(key).is_some_and(|known| Some(&known.uid) != there);
        if orphaned { publications.remove(key) } else { None }
    }

    fn publications(&self) -> MutexGuard<'_, HashMap<Key, Publication>> {
        self.publications.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::publication;

    #[test]
    fn publication_is_orphaned_once_with_its_attachment() {
        let (open, key, made) = (Open::default(), Key::cluster("a"), publication());
        let other = Uid::from("another");
        assert_eq!(open.orphaned(&key, None), None);
        for there in [None, Some(&other)] {
            open.begin(&key, made.clone());
            assert_eq!(open.orphaned(&key, Some(&made.uid)), None, "it is there");
            assert_eq!(open.orphaned(&Key::cluster("b"), there), None);
            assert_eq!(open.orphaned(&key, there), Some(made.clone()));
            assert_eq!(open.orphaned(&key, there), None);
        }
        open.begin(&key, made);
        open.settle(&key);
        assert_eq!(open.orphaned(&key, None), None);
    }
}
