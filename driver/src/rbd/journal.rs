//! The journal: which name and which id belong to which image. Objects with keys and values in the image's pool.
//!
//! [`crate::rbd::plan`] says what the states mean.
//!
//! Differs: ceph-csi makes the object of the UUID, then the name, then the attributes; if it ends after the first, an
//! object stays that nobody finds. Ours claims the name first and makes the object with all of its attributes at once.

use std::io;
use std::sync::Arc;

use rustix::io::Errno;

use crate::rbd::ceph::{self, Map, Pool, is};
use crate::rbd::error;
use crate::rbd::handle::Handle;
use crate::rbd::names::{self, IMAGE_ID, IMAGE_NAME, Kind, OWNER, SOURCE, UNDOING, Uuid};
use crate::rbd::plan::{self, Attributes, Change, Entry};
use crate::refusal::Refusal;

/// How many UUIDs are tried.
const TRIES: usize = 5;

/// The journal of volumes or of snapshots in one pool.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    /// Where the objects of the UUIDs and the images are.
    pub(crate) pool: Arc<Pool>,
    /// Where the directory is; mostly the same.
    directory_pool: Arc<Pool>,
    kind: Kind,
    directory: String,
}

/// What is put down before an image is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reservation<'a> {
    /// The caller's name.
    pub(crate) name: &'a str,
    /// What the image's name begins with; none if the caller's name is its name.
    pub(crate) prefix: Option<&'a str>,
    /// The claim's namespace.
    pub(crate) owner: Option<&'a str>,
    /// The image that a snapshot is made of.
    pub(crate) source: Option<&'a str>,
}

/// A part of a directory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Page {
    /// Where the names lead.
    pub(crate) entries: Vec<Entry>,
    /// The last name, if there are more.
    pub(crate) last: Option<String>,
}

impl Journal {
    /// The journal in a pool.
    pub(crate) fn new(pool: Arc<Pool>, kind: Kind, instance: &str) -> Self {
        Self { directory_pool: Arc::clone(&pool), pool, kind, directory: kind.directory(instance) }
    }

    /// The same journal for images that are in another pool than the directory.
    pub(crate) fn with_directory_in(self, directory_pool: Arc<Pool>) -> Self {
        Self { directory_pool, ..self }
    }

    /// The same journal for images in another pool.
    pub(crate) fn with_images_in(self, pool: Arc<Pool>) -> Self {
        Self { pool, ..self }
    }

    /// Where a name leads.
    ///
    /// # Errors
    /// Ceph's; INTERNAL when the directory has something else there.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Entry>, Refusal> {
        let value = self.directory_pool.value(&self.directory, &self.kind.key(name));
        let value = value.map_err(error::ceph(format!("cannot look for {name:?} in the journal")))?;
        value.map(|value| Entry::parse(&value).ok_or_else(|| self.damaged(name, &value))).transpose()
    }

    fn damaged(&self, name: &str, value: &str) -> Refusal {
        let what = format!("the journal {} has {value:?} for {name:?}, which is no UUID", self.directory);
        Refusal::System { what, source: io::Error::from(io::ErrorKind::InvalidData) }
    }

    /// The attributes of a UUID; none without its object.
    ///
    /// # Errors
    /// Ceph's.
    pub(crate) fn attributes(&self, uuid: &str) -> Result<Option<Attributes>, Refusal> {
        let map = self.pool.map(&self.kind.object(uuid));
        let map = map.map_err(error::ceph(format!("cannot read the journal about {uuid}")))?;
        Ok(map.map(|map| Attributes::read(self.kind, uuid, &map)))
    }

    /// Puts a name down for a new image. Gives its UUID and the image's name.
    ///
    /// # Errors
    /// ABORTED when somebody else does so at the same time; Ceph's.
    pub(crate) fn reserve(&self, wanted: &Reservation<'_>) -> Result<(Uuid, String), Refusal> {
        let failed = || error::ceph(format!("cannot reserve {:?} in the journal", wanted.name));
        for number in 0..TRIES {
            // By its UUID a call that has only the volume's id knows the image's name.
            let of_image = names::uuid_of(wanted.name).filter(|_| wanted.prefix.is_none() && number == 0);
            let uuid = of_image.map_or_else(names::new_uuid, str::to_owned);
            let image = wanted.prefix.map_or(wanted.name.to_owned(), |prefix| format!("{prefix}{uuid}"));
            self.directory_pool
                .claim(&self.directory, &self.kind.key(wanted.name), &uuid)
                .map_err(failed())?;
            let mut entries = vec![(self.kind.name_attribute(), wanted.name), (IMAGE_NAME, image.as_str())];
            entries.extend(wanted.owner.map(|owner| (OWNER, owner)));
            entries.extend(wanted.source.map(|source| (SOURCE, source)));
            match self.pool.create_object(&self.kind.object(&uuid), &entries) {
                Ok(()) => return Ok((uuid, image)),
                Err(taken) if is(&taken, Errno::EXIST) => {
                    self.release(wanted.name, &uuid).map_err(error::unfinished)?;
                }
                // The name leads to nothing then.
                Err(other) => {
                    return Err(error::undone(failed()(other), || self.release(wanted.name, &uuid)));
                }
            }
        }
        Err(failed()(Errno::EXIST.into()))
    }

    /// Notes that the image is whole.
    ///
    /// # Errors
    /// ABORTED when somebody else undoes it, or has; Ceph's.
    pub(crate) fn record(&self, uuid: &str, image_id: &str) -> Result<(), Refusal> {
        let set = self.pool.set_if(&self.kind.object(uuid), (UNDOING, ""), &[(IMAGE_ID, image_id)]);
        match ceph::found(set) {
            Ok(Some(())) => Ok(()),
            Ok(None) => Err(Refusal::Held(format!("somebody else undid the journal's entry {uuid}"))),
            Err(error) => {
                Err(error::ceph(format!("cannot record the image of {uuid} in the journal"))(error))
            }
        }
    }

    /// Notes that an image is about to be undone, before it is touched: whoever makes it, in another process, can then not take it for
    /// whole. `image_id` is what is recorded of it.
    ///
    /// # Errors
    /// ABORTED when somebody else recorded that it is whole; Ceph's.
    pub(crate) fn begin_undo(&self, uuid: &str, image_id: Option<&str>) -> Result<(), Refusal> {
        let known = (IMAGE_ID, image_id.unwrap_or_default());
        let set = self.pool.set_if(&self.kind.object(uuid), known, &[(UNDOING, "yes")]);
        // Without the object there is only a name.
        ceph::gone(set).map_err(error::ceph(format!("cannot begin to undo {uuid} in the journal")))
    }

    /// Forgets an image that is gone, in the order that its caller can repeat.
    ///
    /// # Errors
    /// Ceph's.
    pub(crate) fn forget(&self, name: Option<&str>, uuid: &str, is_delete: bool) -> Result<(), Refusal> {
        for change in plan::forgetting(is_delete) {
            match (change, name) {
                (Change::Name, Some(name)) => self.release(name, uuid)?,
                (Change::Name, None) => {}
                (Change::Object, _) => {
                    let removed = self.pool.remove_object(&self.kind.object(uuid));
                    removed.map_err(error::ceph(format!("cannot remove {uuid} from the journal")))?;
                }
            }
        }
        Ok(())
    }

    /// Removes a name, if it still leads to this UUID.
    ///
    /// # Errors
    /// Ceph's.
    pub(crate) fn release(&self, name: &str, uuid: &str) -> Result<(), Refusal> {
        let failed = || error::ceph(format!("cannot remove {name:?} from the journal"));
        let key = self.kind.key(name);
        let value = self.directory_pool.value(&self.directory, &key).map_err(failed())?;
        let Some(value) = value.filter(|value| Entry::parse(value).is_some_and(|entry| entry.uuid == uuid))
        else {
            return Ok(());
        };
        match self.directory_pool.release(&self.directory, &key, &value) {
            // Somebody else's by now.
            Err(changed) if is(&changed, Errno::CANCELED) => Ok(()),
            outcome => outcome.map_err(failed()),
        }
    }

    /// Up to `limit` names after one. What is no UUID is passed over.
    ///
    /// # Errors
    /// Ceph's.
    pub(crate) fn page(&self, after: &str, limit: u64) -> Result<Page, Refusal> {
        let prefix = self.kind.key_prefix();
        let after = if after.is_empty() { String::new() } else { self.kind.key(after) };
        let page = ceph::found(self.directory_pool.page(&self.directory, &after, prefix, limit));
        let page = page.map_err(error::ceph(format!("cannot read the journal {}", self.directory)))?;
        let (page, more): (Map, bool) = page.unwrap_or_default();
        let name = |key: &String| key.strip_prefix(prefix).map(str::to_owned);
        let last = page.keys().next_back().filter(|_| more).and_then(name);
        let entries = page.iter().filter_map(|(key, value)| {
            // Mirrored clusters also keep old handles here, each leading to a new handle.
            name(key).filter(|name| Handle::parse(name).is_none()).and_then(|_| Entry::parse(value))
        });
        Ok(Page { entries: entries.collect(), last })
    }
}
