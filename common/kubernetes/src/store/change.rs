//! A change of a cache, as its subscribers see it.

use std::sync::Arc;

/// What happened to an object.
#[derive(Debug)]
pub enum Change<T> {
    /// First seen.
    Added(Arc<T>),
    /// Seen again, in a newer version.
    Updated {
        /// As it was.
        old: Arc<T>,
        /// As it is.
        new: Arc<T>,
    },
    /// Deleted.
    Removed(Arc<T>),
    /// It still exists, but this process no longer keeps it (see [`Object::slim`]). Its last state.
    Left(Arc<T>),
}

impl<T> Change<T> {
    /// The change for a subscriber that wants only objects for which `concerns` is true; `None` if it need not know.
    /// If an update makes `concerns` false, that is [`Change::Left`]. If it makes it true, that is [`Change::Added`].
    pub fn of(&self, concerns: impl Fn(&T) -> bool) -> Option<Change<T>> {
        match self {
            Change::Added(new) => concerns(new).then(|| Change::Added(new.clone())),
            Change::Removed(old) => concerns(old).then(|| Change::Removed(old.clone())),
            Change::Left(old) => concerns(old).then(|| Change::Left(old.clone())),
            Change::Updated { old, new } => match (concerns(old), concerns(new)) {
                (true, true) => Some(Change::Updated { old: old.clone(), new: new.clone() }),
                (true, false) => Some(Change::Left(old.clone())),
                (false, true) => Some(Change::Added(new.clone())),
                (false, false) => None,
            },
        }
    }
}
