//! Who takes events, and what gives them to delivery.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::record::Event;
use super::waiting::{self, FromSource, Waiting};

/// Takes events from anywhere, without waiting.
#[derive(Debug, Clone)]
pub struct Recorder {
    waiting: Arc<Waiting>,
    /// Says that there is an event.
    wake: mpsc::Sender<()>,
    source: Box<str>,
}

/// The recorded events, for [`super::deliver()`].
#[derive(Debug)]
pub struct Recorded {
    waiting: Arc<Waiting>,
    woken: mpsc::Receiver<()>,
}

impl Recorded {
    /// The oldest event, as soon as there is one; `None` when there is none and all recorders are gone.
    pub(super) async fn next(&mut self) -> Option<FromSource> {
        loop {
            if let Some(event) = self.waiting.pop() {
                return Some(event);
            }
            if self.woken.recv().await.is_none() {
                return self.waiting.pop();
            }
        }
    }
}

impl Recorder {
    /// Creates a recorder for events from component `source`, and the queue for [`super::deliver()`].
    pub fn new(source: &str) -> (Self, Recorded) {
        let waiting = Arc::<Waiting>::default();
        let (wake, woken) = mpsc::channel(1);
        (Self { waiting: waiting.clone(), wake, source: source.into() }, Recorded { waiting, woken })
    }

    /// The same queue, for events of another component.
    #[must_use]
    pub fn named(&self, source: &str) -> Self {
        Self { source: source.into(), ..self.clone() }
    }

    /// Records an event without waiting. If too many wait already, it is dropped and logged.
    pub fn record(&self, event: Event) {
        let object = &event.object;
        let place = if object.namespace.is_empty() { "" } else { "/" };
        base::info!("Event occurred"; "object" => format!("{}{place}{}", object.namespace, object.name),
            "kind" => object.kind, "apiVersion" => object.api_version, "type" => event.kind.as_str(), "reason" => event.reason, "message" => event.message);
        if self.waiting.push(&self.source, event).is_err() {
            base::warn!("Event dropped: too many are waiting to be written"; "waiting" => waiting::MOST);
        }
        // If it is full, delivery is to be woken already; if it is closed, nobody writes events any more.
        let _ = self.wake.try_send(());
    }
}
