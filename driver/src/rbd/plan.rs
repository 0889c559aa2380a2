//! What to do next about a name or an id, from what the journal and the pool show. Plain functions.
//!
//! ```text
//! create:  object of the UUID → name in the directory → attributes → image → image id
//! undo:    mark in the object → image → object of the UUID → name in the directory         (whoever repeats a create has the name)
//! delete:  image → name in the directory → object of the UUID         (whoever repeats a delete has the UUID)
//! ```
//! A call that ends anywhere leaves a state that the next call for the same name or id finishes or undoes.
//!
//! Differs: ceph-csi removes the object of the UUID before the name when it deletes, too; if it ends in between,
//! the name stays, for nobody has it any more who would repeat the call.

use crate::rbd::ceph::Map;
use crate::rbd::handle::hexadecimal;
use crate::rbd::names::{
    ENCRYPTED, IMAGE_ID, IMAGE_NAME, INTERMEDIATE, JOURNAL_POOL, Kind, SOURCE, UNDOING, Uuid, is_uuid,
    uuid_of,
};

/// Where a name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The object's UUID.
    pub(crate) uuid: Uuid,
    /// The image's pool, where it is not the directory's.
    pub(crate) pool: Option<i64>,
}

impl Entry {
    /// Reads a value of a directory: a UUID, or `<pool id>/<UUID>`.
    pub(crate) fn parse(value: &str) -> Option<Self> {
        let (pool, uuid) = match value.split_once('/') {
            None => (None, value),
            Some((pool, uuid)) => {
                (Some(i64::try_from(hexadecimal(pool).filter(|_| pool.len() == 16)?).ok()?), uuid)
            }
        };
        is_uuid(uuid).then(|| Self { uuid: uuid.to_owned(), pool })
    }
}

/// The attributes of a volume or a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// The caller's name.
    pub(crate) name: Option<String>,
    /// The image's name.
    pub(crate) image: String,
    /// The image's id, once it is known to be whole.
    pub(crate) image_id: Option<String>,
    /// A snapshot's: the image that it was made of.
    pub(crate) source: Option<String>,
    /// The directory's pool, where it is not the image's.
    pub(crate) journal_pool: Option<i64>,
    /// The image is encrypted.
    pub(crate) is_encrypted: bool,
    /// Somebody began to undo it.
    pub(crate) is_undoing: bool,
}

impl Attributes {
    /// Reads an object's keys. If the image's name is missing it has the default one.
    pub(crate) fn read(kind: Kind, uuid: &str, map: &Map) -> Self {
        let value = |key: &str| map.get(key).filter(|value| !value.is_empty()).cloned();
        Self {
            name: value(kind.name_attribute()),
            image: value(IMAGE_NAME).unwrap_or_else(|| format!("{}{uuid}", kind.image_prefix())),
            image_id: value(IMAGE_ID),
            source: value(SOURCE),
            journal_pool: value(JOURNAL_POOL).and_then(|pool| i64::try_from(hexadecimal(&pool)?).ok()),
            is_encrypted: value(ENCRYPTED).is_some(),
            is_undoing: value(UNDOING).is_some(),
        }
    }
}

/// What a pool shows of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its id.
    pub(crate) id: String,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Whether it has all that its kind needs: a snapshot's image has a snapshot of its own.
    pub(crate) is_whole: bool,
}

/// What a call to create finds about its name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'a> {
    /// The name.
    pub(crate) name: &'a str,
    /// The attributes of the object that the name leads to, if there is the object.
    pub(crate) attributes: Option<&'a Attributes>,
    /// The image that they name, if it is there.
    pub(crate) image: Option<&'a Seen>,
    /// The image is to begin with what another one has.
    pub(crate) is_copy: bool,
}

/// What to do about a name that is in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Everything is there: answer.
    Answer,
    /// The image is whole and its id is not recorded: record it.
    Record,
    /// The image is there and a part of it is missing: add it.
    Complete,
    /// What is there is the beginning of something that ended: undo it, and begin anew.
    Undo,
    /// The object belongs to another name: the journal is damaged, and nothing is touched.
    Refuse,
}

/// Decides about a name that is in the directory.
///
/// A clone has its name before it has its parent, and its parent before the parent knows of it. So only the recorded id says that
/// a copy has what it was made of: one without it is undone, even if it looks whole.
///
/// Differs: ceph-csi takes such an image for whole, though it may be blank.
pub(crate) fn about_name(found: Found<'_>) -> Step {
    let Some(attributes) = found.attributes else { return Step::Undo };
    match &attributes.name {
        // The object is made before its attributes are.
        None => return Step::Undo,
        Some(name) if name != found.name => return Step::Refuse,
        // Parts of the image may be gone already, and this driver could not record it; ceph-csi may have finished it all the same.
        Some(_) if attributes.is_undoing && attributes.image_id.is_none() => return Step::Undo,
        Some(_) => {}
    }
    match found.image {
        None => Step::Undo,
        Some(image) if attributes.image_id.is_none() && (found.is_copy || !image.is_whole) => Step::Undo,
        Some(image) if !image.is_whole => Step::Complete,
        Some(image) if attributes.image_id.as_ref() == Some(&image.id) => Step::Answer,
        Some(_) => Step::Record,
    }
}

/// Whether a volume is made, so that its caller was or may be told of it: a clone is there before it has its parent, and looks then as
/// one that is blank.
pub(crate) fn is_made(attributes: &Attributes) -> bool {
    attributes.image_id.is_some()
}

/// Whose a volume's own snapshot is by its name: `<clone's image>-temp` a volume's that was to be a clone, another that ends with a
/// UUID a snapshot's.
pub(crate) fn cut_for(snapshot: &str) -> Option<(Kind, Uuid)> {
    let (kind, image) = match snapshot.strip_suffix(INTERMEDIATE) {
        Some(image) => (Kind::Volume, image),
        None => (Kind::Snapshot, snapshot),
    };
    uuid_of(image).filter(|uuid| image.len() > uuid.len()).map(|uuid| (kind, uuid.to_owned()))
}

/// Whether a volume's own snapshot is what a call left that was killed before its clone, or just after it: the journal knows whose it
/// is, and has no whole image of it. It is then no snapshot that anybody could have, and keeps its volume from being deleted.
pub(crate) fn is_left_behind(snapshot: &str, kind: Kind, attributes: Option<&Attributes>) -> bool {
    let image = match kind {
        Kind::Volume => snapshot.strip_suffix(INTERMEDIATE).unwrap_or(snapshot),
        Kind::Snapshot => snapshot,
    };
    attributes.is_some_and(|attributes| attributes.image == image && attributes.image_id.is_none())
}

/// One change of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Remove the name from the directory.
    Name,
    /// Remove the object of the UUID.
    Object,
}

/// How the journal forgets, the image being gone: when a create is undone, and when something is deleted.
pub(crate) fn forgetting(is_delete: bool) -> [Change; 2] {
    if is_delete { [Change::Name, Change::Object] } else { [Change::Object, Change::Name] }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "50d53503-9da1-11ed-847e-bacf8f2f1297";

    #[test]
    fn entries_lead_to_a_uuid_and_maybe_another_pool() {
        let entry = |pool| Some(Entry { uuid: UUID.to_owned(), pool });
        for (value, expected) in [
            (UUID.to_owned(), entry(None)),
            (format!("0000000000000002/{UUID}"), entry(Some(2))),
            (format!("2/{UUID}"), None),
            (format!("/{UUID}"), None),
            (String::new(), None),
            ("nonsense".to_owned(), None),
        ] {
            assert_eq!(Entry::parse(&value), expected, "{value}");
        }
    }

    #[test]
    fn attributes_are_read_and_a_missing_image_name_is_the_default() {
        let map = |entries: &[(&str, &str)]| -> Map {
            entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let text = |text: &str| Some(text.to_owned());
        let bare = Attributes { image: format!("csi-vol-{UUID}"), ..Attributes::default() };
        assert_eq!(Attributes::read(Kind::Volume, UUID, &Map::new()), bare);
        let volume = map(&[
            ("csi.volname", "pvc-1"),
            ("csi.imagename", "k8s-1"),
            ("csi.imageid", "10ab"),
            ("csi.volume.owner", "team"),
            ("csi.journalpool", "0000000000000003"),
            ("csi.volume.encryptKMS", "kms"),
        ]);
        let expected = Attributes {
            name: text("pvc-1"),
            image: "k8s-1".to_owned(),
            image_id: text("10ab"),
            source: None,
            journal_pool: Some(3),
            is_encrypted: true,
            is_undoing: false,
        };
        assert_eq!(Attributes::read(Kind::Volume, UUID, &volume), expected);
        let snapshot = map(&[("csi.snapname", "snap-1"), ("csi.source", "csi-vol-1")]);
        let expected = Attributes {
            name: text("snap-1"),
            image: format!("csi-snap-{UUID}"),
            source: text("csi-vol-1"),
            ..Attributes::default()
        };
        assert_eq!(Attributes::read(Kind::Snapshot, UUID, &snapshot), expected);
    }

    #[test]
    fn a_volume_is_listed_once_its_image_is_recorded() {
        for (image_id, is_undoing, expected) in [
            (None, false, false),
            (None, true, false),
            (Some("10ab"), false, true),
            (Some("10ab"), true, true),
        ] {
            let image_id = image_id.map(str::to_owned);
            assert_eq!(is_made(&Attributes { image_id, is_undoing, ..Attributes::default() }), expected);
        }
    }

    #[test]
    fn each_half_done_create_is_finished_or_undone() {
        let attributes = |name: Option<&str>, id: Option<&str>| Attributes {
            name: name.map(str::to_owned),
            image_id: id.map(str::to_owned),
            ..Attributes::default()
        };
        let image = |is_whole| Some(Seen { id: "10ab".to_owned(), size: 1, is_whole });
        let (named, whole) =
            (|| Some(attributes(Some("n"), None)), || Some(attributes(Some("n"), Some("10ab"))));
        for (what, attributes, image, expected, of_copy) in [
            ("only the name", None, None, Step::Undo, Step::Undo),
            ("the object without attributes", Some(attributes(None, None)), None, Step::Undo, Step::Undo),
            ("no image yet", named(), None, Step::Undo, Step::Undo),
            ("the image is gone", whole(), None, Step::Undo, Step::Undo),
            ("a part is missing", named(), image(false), Step::Undo, Step::Undo),
            ("a part went later", whole(), image(false), Step::Complete, Step::Complete),
            ("the id is not recorded", named(), image(true), Step::Record, Step::Undo),
            (
                "another id is recorded",
                Some(attributes(Some("n"), Some("1"))),
                image(true),
                Step::Record,
                Step::Record,
            ),
            ("all is there", whole(), image(true), Step::Answer, Step::Answer),
            ("it is another's", Some(attributes(Some("m"), None)), image(true), Step::Refuse, Step::Refuse),
        ] {
            for (is_copy, expected) in [(false, expected), (true, of_copy)] {
                let (attributes, image) = (attributes.as_ref(), image.as_ref());
                let found = Found { name: "n", attributes, image, is_copy };
                assert_eq!(about_name(found), expected, "{what}, copy: {is_copy}");
            }
        }
    }

    #[test]
    fn what_is_being_undone_is_undone_unless_it_is_recorded() {
        let image = Seen { id: "10ab".to_owned(), size: 1, is_whole: true };
        for (id, is_undoing, expected) in [
            (None, true, Step::Undo),
            (None, false, Step::Record),
            // By ceph-csi, which passes the mark over.
            (Some("10ab"), true, Step::Answer),
        ] {
            let mut map = Map::from([("csi.volname".to_owned(), "n".to_owned())]);
            map.extend(id.map(|id| (IMAGE_ID.to_owned(), id.to_owned())));
            map.extend(is_undoing.then(|| (UNDOING.to_owned(), "yes".to_owned())));
            let attributes = Attributes::read(Kind::Volume, UUID, &map);
            let found =
                Found { name: "n", attributes: Some(&attributes), image: Some(&image), is_copy: false };
            assert_eq!(about_name(found), expected, "{map:?}");
        }
    }

    #[test]
    fn a_snapshot_of_a_killed_call_is_known_by_the_journal() {
        let (cut, clone) = (format!("csi-snap-{UUID}"), format!("k8s-{UUID}-temp"));
        for (name, expected) in [
            (cut.as_str(), Some(Kind::Snapshot)),
            (&clone, Some(Kind::Volume)),
            // By hand; and what Ceph itself calls one that only clones keep.
            ("before-upgrade", None),
            ("", None),
            (UUID, None),
            ("-temp", None),
        ] {
            assert_eq!(cut_for(name), expected.map(|kind| (kind, UUID.to_owned())), "{name}");
        }
        let entry = |image: &str, id: Option<&str>| {
            let image_id = id.map(str::to_owned);
            Some(Attributes { image: image.to_owned(), image_id, ..Attributes::default() })
        };
        for (name, attributes, expected) in [
            (&cut, entry(&cut, None), true),
            (&cut, entry(&cut, Some("10ab")), false),
            (&cut, entry("another", None), false),
            (&cut, None, false),
            (&clone, entry(&format!("k8s-{UUID}"), None), true),
            (&clone, entry(&format!("k8s-{UUID}"), Some("10ab")), false),
        ] {
            let kind = cut_for(name).unwrap().0;
            assert_eq!(is_left_behind(name, kind, attributes.as_ref()), expected, "{name} {attributes:?}");
        }
    }

    #[test]
    fn a_delete_forgets_last_what_its_caller_has() {
        assert_eq!(forgetting(true).last(), Some(&Change::Object));
        assert_eq!(forgetting(false).last(), Some(&Change::Name));
    }
}
