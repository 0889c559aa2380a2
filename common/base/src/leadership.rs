//! Tells whether this process leads now.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Tells whether we lead. Cheap to clone; asked right before each write or driver call.
#[derive(Debug, Clone)]
pub struct Leadership {
    until: Option<Arc<watch::Sender<Option<Instant>>>>,
}

impl Leadership {
    /// Without leader election: we always lead.
    pub fn always() -> Self {
        Self { until: None }
    }

    /// With leader election, not leading yet.
    pub fn candidate() -> Self {
        Self { until: Some(Arc::new(watch::Sender::new(None))) }
    }

    /// Whether an effect may be sent at this moment.
    pub fn holds(&self) -> bool {
        match &self.until {
            None => true,
            Some(until) => (*until.borrow()).is_some_and(|until| Instant::now() < until),
        }
    }

    /// How long ago the deadline passed, if this process believes it leads and has not renewed in time.
    ///
    /// This is what `/healthz/leader-election` reports when it exceeds upstream's tolerance.
    pub fn overdue(&self) -> Option<Duration> {
        let until = (*self.until.as_ref()?.borrow())?;
        Instant::now().checked_duration_since(until)
    }

    /// Resolves when we lead.
    pub async fn acquired(&self) {
        let Some(until) = &self.until else { return };
        let mut changes = until.subscribe();
        // The sender lives in `self`: waiting cannot fail.
        let _ = changes.wait_for(|until| until.is_some_and(|until| Instant::now() < until)).await;
    }

    /// We lead until this moment. For the elector, and for tests.
    pub fn extend(&self, until: Instant) {
        if let Some(sender) = &self.until {
            sender.send_replace(Some(until));
        }
    }

    /// We lead no more. For the elector, and for tests.
    pub fn end(&self) {
        if let Some(sender) = &self.until {
            sender.send_replace(None);
        }
    }
}
