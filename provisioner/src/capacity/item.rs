//! What capacities are published for: every segment, for every class.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use csi::topology::Term;
use kubernetes::object::{BindingMode, Capacity, Class};

/// A segment and a class.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Item {
    /// The segment as text, `key=value,key=value`; empty for all nodes.
    pub(super) segment: Arc<str>,
    /// The class's name.
    pub(super) class: Arc<str>,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.class, self.segment)
    }
}

impl Item {
    /// What the object is about, if it can be about an item.
    pub(super) fn of(object: &Capacity) -> Option<Self> {
        Some(Self { segment: object.segment.clone()?, class: object.class.clone() })
    }
}

/// All items: each segment with each class.
#[derive(Debug, Default)]
pub(super) struct Items {
    segments: BTreeMap<Arc<str>, Term>,
    classes: BTreeSet<Arc<str>>,
}

impl Items {
    /// The items of these segments and classes.
    pub(super) fn new(segments: impl IntoIterator<Item = Term>, classes: BTreeSet<Arc<str>>) -> Self {
        Self { segments: segments.into_iter().map(|term| (term.to_string().into(), term)).collect(), classes }
    }

    pub(super) fn has(&self, item: &Item) -> bool {
        self.segments.contains_key(&item.segment) && self.classes.contains(&item.class)
    }

    /// The segment of an item.
    pub(super) fn segment(&self, item: &Item) -> Option<&Term> {
        self.segments.get(&item.segment).filter(|_| self.classes.contains(&item.class))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.segments.len() * self.classes.len()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Item> {
        self.segments.keys().flat_map(|segment| self.of(segment))
    }

    /// Those of a segment, which must be known exactly so.
    pub(super) fn of_segment(&self, segment: &str) -> Vec<Item> {
        let known = self.segments.get_key_value(segment);
        known.map(|(segment, _)| self.of(segment).collect()).unwrap_or_default()
    }

    /// Those of a class.
    pub(super) fn of_class(&self, class: &str) -> Vec<Item> {
        let Some(class) = self.classes.get(class) else { return Vec::new() };
        let item = |segment: &Arc<str>| Item { segment: segment.clone(), class: class.clone() };
        self.segments.keys().map(item).collect()
    }

    fn of(&self, segment: &Arc<str>) -> impl Iterator<Item = Item> {
        let segment = segment.clone();
        self.classes.iter().map(move |class| Item { segment: segment.clone(), class: class.clone() })
    }
}

/// Whether capacities of the class are published.
pub(super) fn is_published(class: &Class, driver: &str, immediate: bool) -> bool {
    *class.provisioner == *driver && (immediate || class.binding == BindingMode::WaitForFirstConsumer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::class_from;
    use serde_json::json;

    fn items(segments: &[&[(&str, &str)]], classes: &[&str]) -> Items {
        let segments = segments.iter().map(|pairs| Term::new(pairs.iter().copied()));
        Items::new(segments, classes.iter().map(|class| Arc::from(*class)).collect())
    }

    fn texts(items: impl IntoIterator<Item = Item>) -> Vec<String> {
        items.into_iter().map(|item| item.to_string()).collect()
    }

    /// Upstream's TestRefresh.
    #[test]
    fn refreshed_items_are_of_the_class_or_the_exact_segment() {
        let all =
            items(&[&[("zone", "a")], &[("zone", "a"), ("rack", "1")], &[("zone", "b")]], &["slow", "fast"]);
        assert_eq!(all.len(), 6);
        assert_eq!(texts(all.of_class("fast")), ["fast [rack=1,zone=a]", "fast [zone=a]", "fast [zone=b]"]);
        assert_eq!(texts(all.of_segment("zone=b")), ["fast [zone=b]", "slow [zone=b]"]);
        assert_eq!(texts(all.of_segment("rack=1,zone=a")), ["fast [rack=1,zone=a]", "slow [rack=1,zone=a]"]);
        for (class, segment) in
            [("unknown", "zone=c"), ("", "rack=1"), ("fast ", ""), ("zone=a", "zone=a,rack=1")]
        {
            assert!(
                all.of_class(class).is_empty() && all.of_segment(segment).is_empty(),
                "{class} {segment}"
            );
        }
        assert_eq!(texts(items(&[&[]], &["fast"]).all()), ["fast []"], "one segment for all nodes");
        assert_eq!((items(&[], &["fast"]).len(), items(&[&[]], &[]).len()), (0, 0));
    }

    #[test]
    fn classes_with_immediate_binding_need_the_flag() {
        let late = class_from(json!({"volumeBindingMode": "WaitForFirstConsumer"}));
        let other = class_from(json!({"volumeBindingMode": "WaitForFirstConsumer", "provisioner": "other"}));
        for (class, immediate, expected) in [
            (&late, false, true),
            (&late, true, true),
            (&class_from(json!({"volumeBindingMode": "Immediate"})), false, false),
            (&class_from(json!({"volumeBindingMode": "Immediate"})), true, true),
            (&other, true, false),
        ] {
            assert_eq!(is_published(class, "test-driver", immediate), expected, "{class:?} {immediate}");
        }
    }
}
