//! What is known of the cluster, and what a decision asks for.
//!
//! A decision asks the view. What the view does not know yet is noted, and the decision goes on as if nothing could be said
//! of it. Whoever holds the view reads what was noted and decides again, until nothing new is asked. So a decision
//! needs no client, and the objects that an answer depends on are known: `--watch` watches these.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use crate::ask::{Ask, Kind};
use crate::field::{text, time};

/// What the API server said to one question.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Found {
    /// The object.
    Object(Box<Value>),
    /// The objects of a list.
    Objects(Vec<Value>),
    /// There is no such object.
    Nothing,
    /// It does not know the kind.
    NoKind,
    /// It does not let us see it: the rule that would.
    Refused(String),
    /// It could not answer, and said why.
    Failed(String),
}

/// What is known of one object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Look<'a> {
    /// It is there.
    There(&'a Value),
    /// It is not there.
    Absent,
    /// Nothing can be said.
    Unknown,
}

impl<'a> Look<'a> {
    /// The object, if it is known.
    pub(crate) fn object(self) -> Option<&'a Value> {
        match self {
            Self::There(object) => Some(object),
            Self::Absent | Self::Unknown => None,
        }
    }

    /// Whether it is known that there is none.
    pub(crate) fn is_absent(self) -> bool {
        self == Self::Absent
    }
}

/// What is known, and what was asked.
#[derive(Debug)]
pub(crate) struct View {
    /// The time of the decision.
    pub(crate) now: Timestamp,
    known: BTreeMap<Ask, Found>,
    asked: RefCell<BTreeSet<Ask>>,
    again: Cell<Option<Timestamp>>,
}

impl View {
    /// Nothing is known.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { now, known: BTreeMap::new(), asked: RefCell::default(), again: Cell::new(None) }
    }

    /// An answer came.
    pub(crate) fn learn(&mut self, ask: Ask, found: Found) {
        self.known.insert(ask, found);
    }

    /// What was known of it may have changed.
    pub(crate) fn forget(&mut self, ask: &Ask) {
        self.known.remove(ask);
    }

    /// All that was asked since the last call of this, known or not.
    pub(crate) fn asked(&self) -> BTreeSet<Ask> {
        self.asked.take()
    }

    /// From then on the answer may be another one, even if no object changes.
    pub(crate) fn changes_at(&self, at: Timestamp) {
        self.again.set(Some(self.again.get().map_or(at, |known| known.min(at))));
    }

    /// When time alone changes the answer; asked once, after a decision.
    pub(crate) fn again(&self) -> Option<Timestamp> {
        self.again.take()
    }

    /// Whether an answer to it is known.
    pub(crate) fn knows(&self, ask: &Ask) -> bool {
        self.known.contains_key(ask)
    }

    /// What the API server said to it.
    pub(crate) fn found(&self, ask: &Ask) -> Option<&Found> {
        self.asked.borrow_mut().insert(ask.clone());
        self.known.get(ask)
    }

    /// An object. A kind that the API server does not know has none.
    pub(crate) fn one(&self, kind: Kind, namespace: &str, name: &str) -> Look<'_> {
        if name.is_empty() {
            return Look::Absent;
        }
        match self.found(&Ask::one(kind, namespace, name)) {
            Some(Found::Object(object)) => Look::There(object),
            Some(Found::Nothing | Found::NoKind) => Look::Absent,
            Some(Found::Objects(_) | Found::Refused(_) | Found::Failed(_)) | None => Look::Unknown,
        }
    }

    /// An object of no namespace.
    pub(crate) fn global(&self, kind: Kind, name: &str) -> Look<'_> {
        self.one(kind, "", name)
    }

    /// Every object of a kind, in one namespace or in all; `None` if nothing can be said.
    pub(crate) fn all(&self, kind: Kind, namespace: &str) -> Option<&[Value]> {
        self.selected(kind, namespace, String::new())
    }

    /// Every object of this name, in all namespaces.
    pub(crate) fn named(&self, kind: Kind, name: &str) -> Option<&[Value]> {
        self.selected(kind, "", format!("metadata.name={name}"))
    }

    fn selected(&self, kind: Kind, namespace: &str, fields: String) -> Option<&[Value]> {
        match self.found(&Ask::list(kind, namespace, fields)) {
            Some(Found::Objects(objects)) => Some(objects),
            Some(Found::NoKind) => Some(&[]),
            Some(Found::Object(_) | Found::Nothing | Found::Refused(_) | Found::Failed(_)) | None => None,
        }
    }

    /// The events of an object, the latest last.
    pub(crate) fn events(&self, object: &Value) -> Vec<&Value> {
        let (namespace, uid) = (text(object, "/metadata/namespace"), text(object, "/metadata/uid"));
        // Events of objects without a namespace are in this one.
        let namespace = if namespace.is_empty() { "default" } else { namespace };
        let fields = format!("involvedObject.name={}", text(object, "/metadata/name"));
        let mut found: Vec<&Value> =
            self.selected(Kind::Event, namespace, fields).unwrap_or_default().iter().collect();
        found.retain(|event| text(event, "/involvedObject/uid") == uid);
        found.sort_by_key(|event| happened(event));
        found
    }
}

/// When an event came last.
pub(crate) fn happened(event: &Value) -> Option<Timestamp> {
    ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"]
        .iter()
        .find_map(|pointer| time(event, pointer))
}

/// When an event came first.
pub(crate) fn began(event: &Value) -> Option<Timestamp> {
    ["/firstTimestamp", "/eventTime", "/metadata/creationTimestamp"]
        .iter()
        .find_map(|pointer| time(event, pointer))
}
