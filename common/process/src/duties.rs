//! Doing the duties of all seats.

use base::leadership::Leadership;
use futures::future::{FutureExt, join_all, select_all};
use kubernetes::permission::{Need, review};

use crate::caches::Caches;
use crate::duty::Duty;
use crate::host::Host;

impl Host {
    /// Does the duties until `stop` is cancelled and what is in flight has ended. The watches begin when the first
    /// duty leads; each duty begins when it leads itself and the caches are complete.
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
        // A missing permission keeps a cache empty for ever: it is told without waiting for the caches.
        let reviewed = async {
            review(&self.client, "default", &needs).await;
            std::future::pending().await
        };
        tokio::select! {
            _ = work => {}
            // Watches never end by themselves.
            _ = join_all(watches) => {}
            () = reviewed => {}
        }
    }
}
