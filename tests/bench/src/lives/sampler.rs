//! Looks at the processes all the while.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::figures::Sample;
use super::sets::usage;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// A look at the processes now and then.
pub(super) struct Sampler {
    stop: CancellationToken,
    task: JoinHandle<Vec<Sample>>,
}

impl Sampler {
    pub(super) fn begin(pids: Vec<u32>) -> Self {
        let stop = CancellationToken::new();
        let (stopped, begun) = (stop.clone(), Instant::now());
        let task = tokio::spawn(async move {
            let mut samples = Vec::new();
            while !stopped.is_cancelled() {
                let at = begun.elapsed().as_secs_f64();
                samples.extend(usage(&pids).ok().map(|usage| Sample { at, usage }));
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = stopped.cancelled() => {}
                }
            }
            samples
        });
        Self { stop, task }
    }

    pub(super) async fn end(self) -> Vec<Sample> {
        self.stop.cancel();
        self.task.await.unwrap_or_default()
    }
}
