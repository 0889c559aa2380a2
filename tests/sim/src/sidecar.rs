//! Lives of our sidecars in the world.

use base::leadership::Leadership;
use base::metrics::Metrics;
use csi::identity::DriverName;
use csi::{CallLog, Client};
use kubernetes::object::{Keep, Scope};
use process::{Caches, Duty, Host, Seat};
use tokio_util::sync::CancellationToken;
use translation::Plugin;

use crate::world::World;

impl World {
    /// A host that is connected to this world as [`process::start`] connects one to a real one, for the driver called
    /// `driver`; and the delivery of its events, which somebody must run.
    ///
    /// # Panics
    /// When `driver` is no driver's name.
    #[allow(clippy::expect_used)]
    pub fn host(
        &self,
        driver: &str,
        stop: CancellationToken,
    ) -> (Host, impl Future<Output = ()> + Send + 'static) {
        let metrics = Metrics::new();
        metrics.set_driver_name(driver);
        let asking = Client::new(self.connection(), metrics.clone(), CallLog::default());
        let name = DriverName::new(driver).expect("a driver's name");
        let (mut host, delivery) = Host::new(self.client(), asking, name, metrics);
        host.stop = stop;
        // As a server of this version does by default; see `ApiServer::refuse_streams`.
        host.streaming_lists = true;
        (host, delivery)
    }

    /// One life of a process with one sidecar, which `duty` makes on its seat. Ends with the sidecar's work.
    pub async fn sidecar(
        &self,
        (driver, keep): (&str, Keep),
        leadership: Leadership,
        stop: CancellationToken,
        duty: impl FnOnce(Seat, &mut Caches) -> Duty,
    ) {
        let (host, delivery) = self.host(driver, stop);
        let in_tree = Plugin::of_driver(driver).map(Plugin::name);
        let mut caches = Caches::new(Scope { driver: driver.into(), keep, in_tree: in_tree.map(Into::into) });
        let duty = duty(host.seat(leadership, &format!("{driver}_host_uuid")), &mut caches);
        tokio::select! {
            () = host.run_duties(caches, vec![duty]) => {}
            () = async { delivery.await; std::future::pending().await } => {}
        }
    }
}
