//! Identity and version of a cached object.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::{Deserialize, Deserializer};

use super::uid::Uid;
use super::word::{Pair, Words, same, word, words};

/// Namespace and name; the namespace is empty for cluster-wide kinds. Clones share the text. The API server admits no
/// slash in either.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<str>);

impl Key {
    /// The key of `namespace/name`, or of `name` when `namespace` is empty.
    pub fn new(namespace: &str, name: &str) -> Self {
        if namespace.is_empty() {
            return Self(name.into());
        }
        Self(format!("{namespace}/{name}").into())
    }

    /// The key of a cluster-wide object.
    pub fn cluster(name: &str) -> Self {
        Self::new("", name)
    }

    /// As [`Key::cluster`], for names that objects of another kind hold as well: the text is kept once for all.
    pub(super) fn common(name: &str) -> Self {
        Self(word(name))
    }

    /// Empty for cluster-wide kinds.
    pub fn namespace(&self) -> &str {
        self.0.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, name)| name)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A small map, sorted by key, without the slack of a tree. Keys and short values are kept once for all maps: what one
/// volume or claim says, most of its driver's say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pairs(Arc<[Pair]>);

/// Longest value, in bytes, that is looked for among those of other objects.
const SHORT: usize = 64;

impl Pairs {
    /// The pairs of `map` whose key `keep` accepts.
    pub fn filtered(map: Option<BTreeMap<String, String>>, keep: impl Fn(&str) -> bool) -> Self {
        let map = map.unwrap_or_default();
        Self::of(map.iter().filter(|(key, _)| keep(key)).map(|(key, value)| pair(key, value)))
    }

    /// An empty map needs no memory of its own.
    fn of(mut pairs: impl Iterator<Item = Pair>) -> Self {
        let Some(first) = pairs.next() else { return Self::default() };
        Self(std::iter::once(first).chain(pairs).collect())
    }

    /// The same map, kept once for all objects that have it.
    pub(super) fn common(self) -> Self {
        Self(same(&self.0))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        let index = self.0.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
        self.0.get(index).map(|(_, value)| &**value)
    }

    /// All pairs in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<Box<str>, Box<str>>::deserialize(deserializer)?;
        Ok(Self::of(map.iter().map(|(key, value)| pair(key, value))))
    }
}

fn pair(key: &str, value: &str) -> Pair {
    (word(key), if value.len() <= SHORT { word(value) } else { value.into() })
}

/// Identity and version of an object.
#[derive(Debug, Clone)]
pub struct Meta {
    /// Namespace and name.
    pub key: Key,
    /// Unique over time: a re-created object has another.
    pub uid: Uid,
    /// resourceVersion as a number; versions of one object grow.
    pub version: u64,
    /// Whether deletion was asked for.
    pub deleting: bool,
    /// Finalizers, in the object's order.
    pub finalizers: Words,
    /// The annotations that this process reads.
    pub annotations: Pairs,
}

impl Meta {
    /// Cuts `metadata` to size, keeping the annotations that `keep` accepts.
    pub fn new(metadata: ObjectMeta, keep: impl Fn(&str) -> bool) -> Self {
        let namespace = metadata.namespace.unwrap_or_default();
        Self {
            key: Key::new(&namespace, &metadata.name.unwrap_or_default()),
            uid: metadata.uid.into(),
            version: version_number(metadata.resource_version.as_deref()),
            deleting: metadata.deletion_timestamp.is_some(),
            finalizers: words(metadata.finalizers.iter().flatten().map(String::as_str)),
            annotations: Pairs::filtered(metadata.annotations, keep),
        }
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        self.key.name()
    }

    /// The object's namespace, empty for cluster-wide kinds.
    pub fn namespace(&self) -> &str {
        self.key.namespace()
    }

    /// Whether `finalizer` is on the object.
    pub fn has_finalizer(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|known| &**known == finalizer)
    }
}

/// resourceVersion as a number. The API has promised comparable numbers since Kubernetes 1.35, and etcd's
/// have always been; anything else counts as 0, which never hides a later event.
pub(crate) fn version_number(version: Option<&str>) -> u64 {
    version.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Reads ObjectMeta without managedFields, which are larger than all the rest and never read here.
pub(crate) fn without_managed_fields<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<ObjectMeta, D::Error> {
    let wire = WireMeta::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name: wire.name,
        namespace: wire.namespace,
        uid: wire.uid,
        resource_version: wire.resource_version,
        deletion_timestamp: wire.deletion_timestamp,
        finalizers: wire.finalizers,
        annotations: wire.annotations,
        ..ObjectMeta::default()
    })
}

/// As [`without_managed_fields`], for the kinds whose labels and owners are read; without annotations and finalizers.
pub(crate) fn with_labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let wire = LabelledMeta::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name: wire.name,
        namespace: wire.namespace,
        uid: wire.uid,
        resource_version: wire.resource_version,
        deletion_timestamp: wire.deletion_timestamp,
        labels: wire.labels,
        owner_references: wire.owner_references,
        ..ObjectMeta::default()
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LabelledMeta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMeta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    deletion_timestamp: Option<Time>,
    finalizers: Option<Vec<String>>,
    annotations: Option<BTreeMap<String, String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_splits_where_it_was_joined() {
        let key = Key::new("ns", "claim");
        assert_eq!((key.namespace(), key.name(), key.to_string().as_str()), ("ns", "claim", "ns/claim"));
        let key = Key::cluster("pv");
        assert_eq!((key.namespace(), key.name(), key.to_string().as_str()), ("", "pv", "pv"));
    }

    #[test]
    fn pairs_find_what_they_keep() {
        let map = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
        let pairs = Pairs::filtered(Some(map), |key| key != "a");
        assert_eq!((pairs.get("a"), pairs.get("b")), (None, Some("2")));
    }
}
