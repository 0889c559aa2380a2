//! How long each of many took, from asked to done.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// When each was asked for, and when it was seen done. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    asked: HashMap<String, Instant>,
    done: HashMap<String, Instant>,
}

impl Times {
    /// This one is asked for now.
    pub(crate) fn asked(&self, name: String) {
        self.inner().asked.insert(name, Instant::now());
    }

    /// This one is done now, or was before.
    pub(crate) fn done(&self, name: String) {
        self.inner().done.entry(name).or_insert_with(Instant::now);
    }

    /// Waits until so many are done.
    ///
    /// # Errors
    /// They are not after `patience`.
    pub(crate) async fn until_done(&self, count: usize, patience: Duration) -> Result<()> {
        let end = Instant::now() + patience;
        loop {
            let done = self.inner().done.len();
            if done == count {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("{done} of {count} are done after {patience:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Median, and what one in a hundred exceeds.
    pub(crate) fn quantiles(&self) -> [Duration; 2] {
        let inner = self.inner();
        let took =
            |(name, at): (&String, &Instant)| Some(at.saturating_duration_since(*inner.asked.get(name)?));
        let mut all: Vec<Duration> = inner.done.iter().filter_map(took).collect();
        all.sort();
        [0.5, 0.99].map(|share: f64| {
            let index = (share * all.len().saturating_sub(1) as f64).round() as usize;
            all.get(index).copied().unwrap_or_default()
        })
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
