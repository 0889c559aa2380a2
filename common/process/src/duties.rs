//! Runs the duties of all sidecars of this process.

use std::time::Duration;

use base::leadership::Leadership;
use futures::future::{FutureExt, join_all, select_all};
use kubernetes::permission::{Need, review};
use tokio::time::sleep;

use crate::caches::Caches;
use crate::duty::Duty;
use crate::host::Host;

/// How long the calls in flight may go on after `stop`. A pod has 30 s by default from SIGTERM to SIGKILL: the lease
/// must be released before, or the next leader waits until it runs out.
const LAST_CALLS: Duration = Duration::from_secs(20);

impl Host {
    /// Runs the duties. Returns when `stop` is cancelled and the calls in flight have ended, at the latest 20 s after
    /// `stop`. The watches begin when the first duty leads. Each duty begins when it leads itself and all caches are
    /// complete.
    ///
    /// Differs: the Go sidecars abandon the calls in flight at SIGTERM. Ours get 20 s to end, while the lease is still
    /// renewed; what is under way after that is abandoned too, and the next leader repeats it.
    pub async fn work(&self, caches: Caches, duties: Vec<Duty>) {
        let leaders: Vec<Leadership> = duties.iter().map(|duty| duty.leadership.clone()).collect();
        if leaders.is_empty() {
            return self.stop.cancelled().await;
        }
        let first = select_all(leaders.iter().map(|leadership| leadership.acquired().boxed()));
        tokio::select! {
            _ = first => {}
            () = self.stop.cancelled() => return,
        }
        let (watches, synced) = caches.start(self);
        let needs: Vec<Need> = duties.iter().flat_map(|duty| duty.needs.clone()).collect();
        let synced = synced.shared();
        let work = join_all(duties.into_iter().map(|duty| {
            let synced = synced.clone();
            async move {
                tokio::select! {
                    ((), ()) = async { tokio::join!(duty.leadership.acquired(), synced) } => {}
                    () = self.stop.cancelled() => return,
                }
                duty.work.await;
            }
        }));
        // Without the permission to list, a cache never becomes complete. So this review does not wait for the caches.
        let reviewed = async {
            review(&self.client, "default", &needs).await;
            std::future::pending().await
        };
        tokio::select! {
            _ = work => {}
            // Watches never end by themselves.
            _ = join_all(watches) => {}
            () = reviewed => {}
            () = self.last_calls_overdue() => base::warn!("Abandoning calls that are still in flight"; "after" => format!("{LAST_CALLS:?}")),
        }
    }

    async fn last_calls_overdue(&self) {
        self.stop.cancelled().await;
        sleep(LAST_CALLS).await;
    }
}
