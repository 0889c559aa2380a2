//! Watches: a position in the history, and what is left to send.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::path::{Query, Target};
use super::read::Shape;
use super::refusal::Refusal;
use super::selector::Selector;
use super::store::{Change, Kind, Store};

/// How often a quiet watch gets a bookmark, if it wants them.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long a watch lasts that does not say.
const DEFAULT_LENGTH: Duration = Duration::from_secs(45 * 60);

/// One watch.
#[derive(Debug)]
pub(crate) struct Watch {
    target: Target,
    selector: Selector,
    shape: Shape,
    /// Everything up to this resourceVersion was sent, or need not be.
    position: u64,
    ready: VecDeque<Bytes>,
    bookmarks: bool,
    next_bookmark: Instant,
    end: Instant,
    finished: bool,
}

/// What to do next.
pub(crate) enum Step {
    /// Send this line.
    Send(Bytes),
    /// Nothing before this instant or the next change.
    Wait(Instant),
    /// The watch is over.
    End,
}

/// How events are disturbed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Disturbance {
    /// Each event is seen this long after it happened.
    pub(crate) delay: Duration,
    /// Each event is sent twice.
    pub(crate) duplicate: bool,
}

impl Watch {
    /// Begins at the query's resourceVersion: 0 or none sends what exists first.
    pub(crate) fn begin(
        store: &Store,
        target: Target,
        query: &Query,
        shape: Shape,
    ) -> Result<Watch, Refusal> {
        let selector = Selector::parse(query.get("labelSelector"), query.get("fieldSelector"))?;
        let wanted = query.get("resourceVersion").unwrap_or_default();
        let seconds: Option<u64> = query.get("timeoutSeconds").and_then(|text| text.parse().ok());
        let initial = query.is_set("sendInitialEvents");
        if initial && query.get("resourceVersionMatch") != Some("NotOlderThan") {
            let message = "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            return Err(Refusal::new(422, "Invalid", message));
        }
        let mut watch = Watch {
            target,
            selector,
            shape,
            position: store.version,
            ready: VecDeque::new(),
            bookmarks: query.is_set("allowWatchBookmarks"),
            next_bookmark: Instant::now() + BOOKMARK_EVERY,
            end: Instant::now() + seconds.map_or(DEFAULT_LENGTH, Duration::from_secs),
            finished: false,
        };
        let from: u64 = match wanted {
            "" | "0" => 0,
            text => {
                text.parse().map_err(|_| Refusal::bad_request(format!("Invalid resource version: {text}")))?
            }
        };
        if initial || from == 0 {
            watch.send_existing(store);
            if initial {
                let mut bookmark = watch.bookmark();
                super::admission::set_at(
                    &mut bookmark,
                    &["metadata", "annotations"],
                    json!({ "k8s.io/initial-events-end": "true" }),
                );
                watch.ready.push_back(line("BOOKMARK", &bookmark));
            }
        } else if from < store.forgotten {
            let message = format!("too old resource version: {from} ({})", store.forgotten);
            watch.ready.push_back(line("ERROR", &Refusal::new(410, "Expired", message).body()));
            watch.finished = true;
        } else {
            // A version in the future is accepted. The watch is silent until the server gets there.
            watch.position = from;
        }
        Ok(watch)
    }

    fn send_existing(&mut self, store: &Store) {
        let existing: Vec<Arc<Value>> =
            store.listed(self.target.index, &self.target.namespace).cloned().collect();
        for object in existing.iter().filter(|object| self.selector.matches(object)) {
            self.ready.push_back(line("ADDED", &self.shape.cut(object)));
        }
    }

    /// An object with nothing but the position.
    fn bookmark(&self) -> Value {
        let resource = self.target.resource;
        let (kind, api_version) = match self.shape {
            Shape::Whole => (resource.kind.to_owned(), resource.api_version()),
            Shape::Metadata => ("PartialObjectMetadata".to_owned(), "meta.k8s.io/v1".to_owned()),
        };
        let metadata = json!({ "resourceVersion": self.position.to_string(), "creationTimestamp": null });
        json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata })
    }

    /// The next thing to do at `now`.
    pub(crate) fn step(&mut self, store: &Store, disturbance: Disturbance, now: Instant) -> Step {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Step::Send(bytes);
            }
            if self.finished {
                return Step::End;
            }
            match store.next_change(self.target.index, self.position) {
                Some(change) if change.at + disturbance.delay > now => {
                    return Step::Wait((change.at + disturbance.delay).min(self.end));
                }
                Some(change) => {
                    self.position = change.version;
                    if let Some(event) = self.event(change) {
                        if disturbance.duplicate {
                            self.ready.push_back(event.clone());
                        }
                        self.ready.push_back(event);
                    }
                }
                None if now >= self.end => {
                    self.finished = true;
                    self.send_bookmark(store);
                }
                None if self.bookmarks && now >= self.next_bookmark => self.send_bookmark(store),
                None if self.bookmarks => return Step::Wait(self.next_bookmark.min(self.end)),
                None => return Step::Wait(self.end),
            }
        }
    }

    fn send_bookmark(&mut self, store: &Store) {
        if self.bookmarks && self.position <= store.version {
            self.position = self.position.max(store.version);
            let bookmark = self.bookmark();
            self.ready.push_back(line("BOOKMARK", &bookmark));
        }
        self.next_bookmark += BOOKMARK_EVERY;
    }

    /// The object ceased to match: its last matching state, with the resourceVersion of the change.
    fn disappearance(&self, change: &Change) -> Option<Bytes> {
        let mut object = change.before.as_deref()?.clone();
        super::admission::set_at(
            &mut object,
            &["metadata", "resourceVersion"],
            json!(change.version.to_string()),
        );
        Some(line("DELETED", &self.shape.cut(&Arc::new(object))))
    }

    /// What this watch sees of a change: an object that begins or ceases to match appears or disappears.
    fn event(&self, change: &Change) -> Option<Bytes> {
        let namespace = self.target.namespace.as_str();
        let here = |object: &Value| {
            namespace.is_empty()
                || object.pointer("/metadata/namespace").is_some_and(|found| found == namespace)
        };
        let matches = |object: &Value| here(object) && self.selector.matches(object);
        let before = change.before.as_deref().is_some_and(&matches);
        let after = change.kind != Kind::Deleted && matches(&change.object);
        let kind = match (before, after) {
            (false, false) => return None,
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) if change.kind == Kind::Deleted => "DELETED",
            (true, false) => return self.disappearance(change),
        };
        Some(line(kind, &self.shape.cut(&change.object)))
    }
}

fn line(kind: &str, object: &Value) -> Bytes {
    // As the real server writes it: the type comes first, and clients may rely on that.
    Bytes::from(format!("{{\"type\":{},\"object\":{object}}}\n", json!(kind)))
}
