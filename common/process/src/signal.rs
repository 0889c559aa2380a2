//! Signals: SIGTERM and SIGINT.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// If a signal ends us at once, the exit code is 128 plus the signal's number, as a shell shows for a process that a signal
/// killed.
const ENDED_BY_SIGNAL: i32 = 128;

/// What a signal does. Clones share it.
#[derive(Clone)]
pub(crate) struct OnSignal {
    stop: CancellationToken,
    finishes: Arc<AtomicBool>,
}

impl OnSignal {
    /// Listens from now on. Until [`OnSignal::finish_first`], a signal ends the process at once. Without this handler the
    /// kernel would drop SIGTERM, because the process is PID 1 of its container.
    pub(crate) fn listen(stop: CancellationToken) -> Self {
        let this = Self { stop, finishes: Arc::default() };
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(term), Ok(int)) => {
                tokio::spawn(this.clone().obey(term, int));
            }
            _ => base::warn!(
                "Cannot listen for signals: the process cannot finish its work before it is stopped"
            ),
        }
        this
    }

    /// From now on the first signal cancels `stop`, and only a second one ends the process at once.
    pub(crate) fn finish_first(&self) {
        self.finishes.store(true, Ordering::Relaxed);
    }

    async fn obey(self, mut term: Signal, mut int: Signal) {
        let mut next = async || {
            tokio::select! {
                _ = term.recv() => SignalKind::terminate(),
                _ = int.recv() => SignalKind::interrupt(),
            }
        };
        let signal = next().await;
        if !self.finishes.load(Ordering::Relaxed) {
            base::info!("Exiting on a signal");
            std::process::exit(ENDED_BY_SIGNAL + signal.as_raw_value());
        }
        base::info!("Shutting down: finishing the calls in flight");
        self.stop.cancel();
        next().await;
        base::warn!("Second signal: exiting at once");
        std::process::exit(1);
    }
}
