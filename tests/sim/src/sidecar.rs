//! One life of one of our sidecars in the world.

use base::leadership::Leadership;
use base::metrics::Metrics;
use csi::identity::DriverName;
use csi::{CallLog, Client};
use kubernetes::api::Objects;
use kubernetes::event::{Recorder, deliver};
use process::Process;
use tokio_util::sync::CancellationToken;

use crate::world::World;

impl World {
    /// Runs `work` on a process that is connected to this world as [`process::start`] connects one to a real
    /// one, for the driver called `driver`; its events are written beside it. Ends with `work`.
    ///
    /// # Panics
    /// When `driver` is no driver's name.
    #[allow(clippy::expect_used)]
    pub async fn sidecar<F>(
        &self,
        driver: &str,
        leadership: Leadership,
        stop: CancellationToken,
        work: impl FnOnce(Process) -> F,
    ) where
        F: Future<Output = ()>,
    {
        let metrics = Metrics::new();
        metrics.set_driver_name(driver);
        let (events, queue) = Recorder::new(&format!("{driver}_host_uuid"));
        let asking = Client::new(self.connection(), metrics.clone(), CallLog::default());
        // Events tell what has happened: they may be written when leadership has just ended.
        let delivery = deliver(Objects::new(self.client(), Leadership::always()), queue);
        let process = Process {
            driver: asking.guarded(leadership.clone()),
            driver_name: DriverName::new(driver).expect("a driver's name"),
            metrics,
            events,
            objects: Objects::new(self.client(), leadership.clone()),
            leadership,
            stop,
            streaming_lists: false,
        };
        tokio::select! {
            () = work(process) => {}
            () = async { delivery.await; std::future::pending().await } => {}
        }
    }
}
