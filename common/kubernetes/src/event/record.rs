//! Events, and who takes them.

use tokio::sync::mpsc;

use crate::object::{Meta, Uid};

/// How many events may wait to be written. Further ones are dropped, as upstream does.
const WAITING: usize = 4096;

/// Normal or Warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Something happened as it should.
    Normal,
    /// Something needs attention.
    Warning,
}

impl Kind {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRef {
    /// Such as `v1`.
    pub api_version: &'static str,
    /// Such as `PersistentVolumeClaim`.
    pub kind: &'static str,
    /// Empty for cluster-wide kinds; their events lie in `default`.
    pub namespace: Box<str>,
    /// The object's name.
    pub name: Box<str>,
    /// The object's uid.
    pub uid: Uid,
    /// The object's resourceVersion; 0 when not known.
    pub version: u64,
}

impl ObjectRef {
    /// An object of the core group, such as a PersistentVolumeClaim.
    pub fn core(kind: &'static str, meta: &Meta) -> Self {
        Self {
            api_version: "v1",
            kind,
            namespace: meta.namespace().into(),
            name: meta.name().into(),
            uid: meta.uid.clone(),
            version: meta.version,
        }
    }
}

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    /// What it is about.
    pub object: ObjectRef,
    /// Normal or Warning.
    pub kind: Kind,
    /// Upstream's word for it.
    pub reason: &'static str,
    /// For people. Never contains secrets.
    pub message: String,
}

/// Takes events from anywhere, without waiting.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<(Box<str>, Event)>,
    source: Box<str>,
}

impl Recorder {
    /// Creates a recorder for events from component `source`, and the queue for [`deliver`].
    pub fn new(source: &str) -> (Self, mpsc::Receiver<(Box<str>, Event)>) {
        let (queue, events) = mpsc::channel(WAITING);
        (Self { queue, source: source.into() }, events)
    }

    /// The same queue, for events of another component.
    #[must_use]
    pub fn named(&self, source: &str) -> Self {
        Self { queue: self.queue.clone(), source: source.into() }
    }

    /// Records an event without waiting. If too many wait already, it is dropped and logged.
    pub fn record(&self, event: Event) {
        let object = &event.object;
        let place = if object.namespace.is_empty() { "" } else { "/" };
        base::info!("Event occurred"; "object" => format!("{}{place}{}", object.namespace, object.name),
            "kind" => object.kind, "apiVersion" => object.api_version, "type" => event.kind.as_str(), "reason" => event.reason, "message" => event.message);
        if self.queue.try_send((self.source.clone(), event)).is_err() {
            base::warn!("Event dropped: too many are waiting to be written"; "waiting" => WAITING);
        }
    }
}
